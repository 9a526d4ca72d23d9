"""The examples run, at tiny sizes, and do what they say."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import as_png, noise

EXAMPLES = Path(__file__).parents[1] / "examples"

TINY = ["--base", "32", "--patch", "8", "--batch-size", "8", "--schedule", "efficient_train_pp_deit"]
MODEL = [*TINY, "--dim", "32", "--depth", "2", "--heads", "2", "--device", "cpu", "--workers", "1"]


def run(*command, folder):
    # So small a model is slower with threads than without.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, command)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def colors(tmp_path_factory):
    """Four classes that a mean colour tells apart."""
    root = tmp_path_factory.mktemp("colors")
    for label, color in enumerate([(230, 20, 20), (20, 230, 20), (20, 20, 230), (120, 120, 120)]):
        place = root / f"class_{label}"
        place.mkdir()
        for i in range(10):
            image = (noise(40, 36, 100 * label + i) // 4 + np.array(color) // 4 * 3).astype(np.uint8)
            (place / f"{i:02}.png").write_bytes(as_png(image))
    return root


@pytest.mark.pillow
def test_the_low_frequency_crop_is_drawn(tmp_path):
    import PIL.Image

    told = run(EXAMPLES / "low_frequency_crop.py", folder=tmp_path)
    assert "B =  96: (3, 96, 96), mean 0.500006" in told
    sheet = PIL.Image.open(tmp_path / "low_frequency_crop.png")
    assert f"{sheet.width} x {sheet.height}" in told
    colors = sheet.getcolors(1 << 20)
    assert colors is not None and len(colors) > 1000, "it is not an empty sheet"
    own = run(EXAMPLES / "low_frequency_crop.py", tmp_path / "low_frequency_crop.png", folder=tmp_path)
    assert "B =  48: (3, 48, 48)" in own


@pytest.mark.torch
def test_a_vision_transformer_learns_and_a_resumed_run_is_the_same(colors, tmp_path):
    import torch

    command = [EXAMPLES / "train_timm_vit.py", colors, colors, *MODEL, "--epochs", 5, "--lr", "5e-3"]
    told = run(*command, "--out", "whole", folder=tmp_path)
    rows = re.findall(r"^ +(\d+) +(\d+) +([\d.]+) +\d+ +([\d.]+)", told, re.MULTILINE)
    assert [int(stage) for stage, *_ in rows] == list(range(1, 11))
    assert {int(band) for _, band, *_ in rows} == {16, 24, 32}
    losses = [float(loss) for *_, loss in rows]
    assert losses[-1] < 0.7 * losses[0], losses
    scores = [float(score) for score in re.findall(r"top-1 ([\d.]+) %", told)]
    assert len(scores) == 5 and scores[-1] > 60, scores

    run(*command, "--out", "parts", "--stop-after", 2, folder=tmp_path)
    run(*command, "--out", "parts", "--resume", folder=tmp_path)
    whole, parts = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "parts"))
    assert whole["loader"] == parts["loader"]
    assert all(torch.equal(parts["model"][name], value) for name, value in whole["model"].items())


@pytest.mark.torch
def test_mixed_labels_and_half_precision_train_too(colors, tmp_path):
    command = [EXAMPLES / "train_timm_vit.py", colors, *MODEL, "--epochs", 1, "--amp", "bfloat16"]
    told = run(*command, "--recipe", "efficienttrain_pp_deit_small", folder=tmp_path)
    losses = [float(loss) for loss in re.findall(r"loss of the stage ([\d.]+)", told)]
    assert len(losses) == 1 and 0.5 < losses[0] < 3


@pytest.mark.torch
def test_a_resized_embedding_takes_its_moments_along():
    import timm
    import torch
    from timm.layers import resample_abs_pos_embed

    spec = importlib.util.spec_from_file_location("train_timm_vit", EXAMPLES / "train_timm_vit.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    # A dataclass asks for its module.
    sys.modules["train_timm_vit"] = example
    spec.loader.exec_module(example)

    options = {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2, "num_classes": 4}
    torch.manual_seed(1)
    model = timm.create_model("vit_tiny_patch16_224", **options)
    # timm begins with so small a head that hardly a gradient comes through.
    torch.nn.init.normal_(model.head.weight)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    def step(side):
        model(torch.randn(3, 3, side, side)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step(16)
    old = model.pos_embed
    values, state = old.detach().clone(), dict(optimizer.state[old])
    example.resize_model(model, optimizer, 32)
    new = model.pos_embed
    assert torch.equal(new.detach(), resample_abs_pos_embed(values, (4, 4), (2, 2)))
    assert old not in optimizer.state
    assert any(parameter is new for group in optimizer.param_groups for parameter in group["params"])
    assert not any(parameter is old for group in optimizer.param_groups for parameter in group["params"])
    assert optimizer.state[new]["step"] == state["step"]
    for name in ("exp_avg", "exp_avg_sq"):
        moment = optimizer.state[new][name]
        assert moment.shape == new.shape
        assert torch.equal(moment[:, 0], state[name][:, 0]), "the class token's"
        # The mean over the grid stays, and it is not that of zeros.
        mean = state[name][:, 1:].mean(1)
        assert mean.abs().max() > 1e-6
        assert torch.allclose(moment[:, 1:].mean(1), mean, rtol=1e-3, atol=1e-8)
    assert (optimizer.state[new]["exp_avg_sq"] >= 0).all()
    before = new.detach().clone()
    step(32)
    assert (new != before).any()
    example.resize_model(model, optimizer, 32)
    assert model.pos_embed is new


@pytest.mark.torch
def test_two_processes_train_together(colors, tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, EXAMPLES / "ddp.py"]
    options = [*TINY[:4], "--batch-size", 4, "--dim", 16, "--epochs", 3, "--lr", "1e-2"]
    told = run(*torchrun, colors, *options, folder=tmp_path)
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", told)]
    assert len(losses) == 3 and losses[-1] < losses[0]
    assert told.count("batches on each of 2 ranks") == 3
    assert {"16", "24", "32"} <= set(re.findall(r"(\d+) px", told))
