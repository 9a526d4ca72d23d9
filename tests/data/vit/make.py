"""Makes golden.json and, of the same model with layer scale, layer_scale.json: scores, loss and gradients of a small vision
transformer by PyTorch, for src/train/golden.rs.

    pip install torch==2.15.0
    python3 make.py

The model is DeiT's, written out below, with timm's names and layouts. Images and parameters come from `values`, which the
Rust test has too; they are rounded to float32 and everything after that is float64, so that the expected numbers carry no
rounding of their own. Parameters are listed in the order of their tensor numbers.
"""

import json
import math
import platform

import torch
import torch.nn.functional as F

DIM, DEPTH, HEADS, PATCH, HIDDEN, CLASSES, BAND = 8, 2, 2, 2, 16, 3, 6
SMOOTHING = 0.1
LABELS = [2, 0, 1, 2]
IMAGES = -1  # tensor number of the images


def values(number, shape, base=0.0, scale=0.5):
    """`base + scale sin(0.9 number + 1.7 i + 0.1 i^2)` for the flat index i. The square keeps matrices at full rank."""
    wave = [math.sin(0.9 * number + 1.7 * i + 0.1 * i * i) for i in range(math.prod(shape))]
    flat = torch.tensor([base + scale * w for w in wave], dtype=torch.float64)
    return flat.float().double().reshape(shape)


def parameters(layer_scale):
    shapes = {
        "cls_token": (1, 1, DIM),
        "pos_embed": (1, 1 + (BAND // PATCH) ** 2, DIM),
        "patch_embed.proj.weight": (DIM, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (DIM,),
    }
    for b in range(DEPTH):
        shapes |= {f"blocks.{b}.{name}": shape for name, shape in {
            "norm1.weight": (DIM,), "norm1.bias": (DIM,),
            "attn.qkv.weight": (3 * DIM, DIM), "attn.qkv.bias": (3 * DIM,),
            "attn.proj.weight": (DIM, DIM), "attn.proj.bias": (DIM,),
            "norm2.weight": (DIM,), "norm2.bias": (DIM,),
            "mlp.fc1.weight": (HIDDEN, DIM), "mlp.fc1.bias": (HIDDEN,),
            "mlp.fc2.weight": (DIM, HIDDEN), "mlp.fc2.bias": (DIM,),
            **({"ls1.gamma": (DIM,), "ls2.gamma": (DIM,)} if layer_scale else {}),
        }.items()}
    shapes |= {"norm.weight": (DIM,), "norm.bias": (DIM,), "head.weight": (CLASSES, DIM), "head.bias": (CLASSES,)}
    out = {}
    for number, (name, shape) in enumerate(shapes.items()):
        if "norm" in name and name.endswith("weight"):
            tensor = values(number, shape, base=1.0)
        elif number < 4:
            # Small tokens, so that what the first layer norm adds to the variance is felt.
            tensor = values(number, shape, scale=0.05)
        else:
            tensor = values(number, shape)
        out[name] = tensor.requires_grad_()
    return out


def layer_norm(x, p, name, epsilon):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + epsilon) * p[name + ".weight"] + p[name + ".bias"]


def linear(x, p, name):
    return F.linear(x, p[name + ".weight"], p[name + ".bias"])


def attention(x, p, name):
    n, t, d = x.shape
    qkv = linear(x, p, name + ".qkv").reshape(n, t, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(d // HEADS), dim=-1)
    return linear((weights @ v).transpose(1, 2).reshape(n, t, d), p, name + ".proj")


def forward(p, images, epsilon=1e-6, gelu="none"):
    x = F.conv2d(images, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], stride=PATCH)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([p["cls_token"].expand(len(images), -1, -1), x], dim=1) + p["pos_embed"]
    for b in range(DEPTH):
        block = f"blocks.{b}."
        x = x + attention(layer_norm(x, p, block + "norm1", epsilon), p, block + "attn") * p.get(block + "ls1.gamma", 1)
        hidden = linear(layer_norm(x, p, block + "norm2", epsilon), p, block + "mlp.fc1")
        x = x + linear(F.gelu(hidden, approximate=gelu), p, block + "mlp.fc2") * p.get(block + "ls2.gamma", 1)
    return linear(layer_norm(x, p, "norm", epsilon)[:, 0], p, "head")


def write(path, layer_scale):
    p = parameters(layer_scale)
    images = values(IMAGES, (len(LABELS), 3, BAND, BAND), scale=1.0)
    logits = forward(p, images)
    loss = F.cross_entropy(logits, torch.tensor(LABELS), label_smoothing=SMOOTHING)
    loss.backward()

    def numbers(tensor):
        return [float(f"{v:.9g}") for v in tensor.detach().flatten().tolist()]

    head = dict(
        versions=dict(torch=torch.__version__.split("+")[0], python=platform.python_version()),
        labels=LABELS, label_smoothing=SMOOTHING, loss=loss.item(), logits=numbers(logits),
    )
    rows = [json.dumps(dict(name=n, shape=list(t.shape), gradient=numbers(t.grad))) for n, t in p.items()]
    with open(path, "w") as f:
        f.write("{\n" + "".join(f"{json.dumps(k)}: {json.dumps(v)},\n" for k, v in head.items()))
        f.write('"parameters": [\n' + ",\n".join(rows) + "\n]}\n")


if __name__ == "__main__":
    write("golden.json", layer_scale=False)
    write("layer_scale.json", layer_scale=True)
