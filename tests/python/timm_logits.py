"""Compares bandfeed's scores with timm's, for tests/train_weights.rs.

    timm_logits.py make FILE KWARGS [NAME]            write a timm model with random weights to FILE, as safetensors
    timm_logits.py score FILE KWARGS LOGITS [NAME]    read that FILE into timm, and compare its scores with LOGITS
    timm_logits.py compare FILE LOGITS [NAME]         the same of a FILE of `bandfeed export`, which tells KWARGS itself

`KWARGS` is JSON for `timm.models.VisionTransformer`, or with NAME for `timm.create_model(NAME)`; its `save_as` is the type of
the file's tensors. LOGITS is what `bandfeed eval --logits` wrote of PNGs of the model's own size. Weights are loaded strictly.
Nothing is downloaded.
"""

import json
import sys

import numpy as np
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from timm.models import VisionTransformer


def build(name, kwargs):
    return timm.create_model(name, pretrained=False, **kwargs) if name else VisionTransformer(**kwargs)


def make(path, kwargs, name=None):
    kwargs = json.loads(kwargs)
    dtype = getattr(torch, kwargs.pop("save_as", "float32"))
    torch.manual_seed(5)
    model = build(name, kwargs)
    with torch.no_grad():
        for parameter in model.parameters():
            # Timm begins with zeros and ones, in which exchanged tensors would not show.
            parameter += 0.05 * torch.randn_like(parameter)
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, path, metadata={"timm": json.dumps({"num_heads": model.blocks[0].attn.num_heads})})


def compare(path, logits, name=None):
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key).float() for key in file.keys()}
    kwargs = json.loads(metadata["timm"])
    config = json.loads(metadata["pretrained_cfg"])
    if name:
        kwargs = {key: kwargs[key] for key in ("num_classes", "img_size")}
    model = build(name, kwargs).eval()
    model.load_state_dict(tensors, strict=True)
    score(model, config, logits)


def score(model, config, logits):
    mean = torch.tensor(config.get("mean", [0.485, 0.456, 0.406])).reshape(3, 1, 1)
    std = torch.tensor(config.get("std", [0.229, 0.224, 0.225])).reshape(3, 1, 1)
    lines = [json.loads(line) for line in open(logits)]
    assert lines, "no scores"
    images = [torch.from_numpy(np.array(Image.open(line["name"]).convert("RGB"))).permute(2, 0, 1) for line in lines]
    images = torch.stack([(image.float() / 255 - mean) / std for image in images])
    with torch.no_grad():
        expected = model(images)
    found = torch.tensor([line["logits"] for line in lines])
    difference = (found - expected).abs().max().item()
    spread = expected.std().item()
    print(f"timm {timm.__version__}: {len(lines)} images, scores spread {spread:.4f}, largest difference {difference:.2e}")
    assert spread > 0.01, "scores too alike to tell models apart"
    assert difference <= 1e-4, difference


def score_made(path, kwargs, logits, name=None):
    kwargs = json.loads(kwargs)
    kwargs.pop("save_as", None)
    model = build(name, kwargs).eval()
    with safe_open(path, "pt") as file:
        model.load_state_dict({key: file.get_tensor(key).float() for key in file.keys()}, strict=True)
    score(model, {}, logits)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    {"make": make, "compare": compare, "score": score_made}[command](*rest)
