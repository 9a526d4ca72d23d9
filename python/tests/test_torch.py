"""Torch tensors, epochs of a training loop, soft targets, and ranks. Needs torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bandfeed

try:
    import torch

    from bandfeed.torch import DataLoader
except ImportError:  # Every test fails then, unless `-m "not torch"` leaves them out.
    torch = DataLoader = None

pytestmark = pytest.mark.torch

SMALL = {"base": 32, "patch": 8, "epochs": 2, "seed": 2, "num_workers": 2}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_torch_sees_the_batchs_own_memory(samples, dtype):
    with bandfeed.Loader(samples, base=32, patch=8, batch_size=8, epochs=1, dtype=dtype) as loader:
        batch = next(loader)
    tensor = torch.from_dlpack(batch.images)
    assert tensor.data_ptr() == batch.images.data_ptr == batch.images.torch().data_ptr()
    assert tensor.dtype == getattr(torch, dtype)
    assert tuple(tensor.shape) == batch.images.shape
    assert tensor.is_contiguous()
    assert torch.from_dlpack(batch.labels).dtype == torch.int64
    tensor[0, 0, 0, 0] = 5.0
    assert batch.images.tolist()[0][0][0][0] == 5.0
    # The older protocol, by which torch is handed a capsule.
    assert torch.utils.dlpack.from_dlpack(batch.images.__dlpack__()).data_ptr() == tensor.data_ptr()


def test_a_tensor_that_a_thread_of_torch_lets_go_of_gives_its_memory_back(samples):
    options = {"schedule": "constant", "base": 16, "patch": 8, "batch_size": 4, "epochs": 50, "workers": 1, "prefetch": 1}
    with bandfeed.Loader(samples, **options) as loader:
        batch = next(loader)
        start = batch.images.data_ptr
        weight = torch.ones(1, requires_grad=True)
        # Autograd saves the images, and drops them in backward.
        loss = (torch.from_dlpack(batch.images) * weight).sum()
        del batch
        later = [next(loader) for _ in range(4)]
        assert start not in [batch.images.data_ptr for batch in later]
        loss.backward()
        del loss
        later += [next(loader) for _ in range(2)]
        assert start in [batch.images.data_ptr for batch in later]


def test_a_training_loop_is_a_dataloaders(samples):
    loader = DataLoader(samples, 8, **SMALL)
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    bands, losses = set(), []
    for epoch in range(loader.epochs):
        loader.sampler.set_epoch(epoch)
        length = len(loader)
        for i, (images, targets) in enumerate(loader):
            assert (images.dtype, targets.dtype, images.shape[0]) == (torch.float32, torch.int64, 8)
            assert images.shape[-1] == loader.stage.band
            loss = torch.nn.functional.cross_entropy(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            bands.add(loader.stage.band)
            assert i < len(loader)
        assert i + 1 == length
    assert len(bands) > 1
    assert np.isfinite(losses).all()


def test_options_of_torch(samples):
    with DataLoader(samples, 8, dtype=torch.bfloat16, to="cpu", **SMALL) as loader:
        images, targets = next(iter(loader))
        assert (images.dtype, images.device.type, targets.device.type) == (torch.bfloat16, "cpu", "cpu")
        assert loader.loader.workers == 2
    with DataLoader(samples, 8, to="meta", **SMALL) as loader:
        images, targets = next(iter(loader))
        assert images.device.type == targets.device.type == "meta"
    with pytest.raises(bandfeed.ConfigError, match="to=`cuda:1`"):
        DataLoader(samples, 8, device="cuda:1", **SMALL)


def test_soft_targets_are_those_that_timms_loss_takes(samples):
    recipe = {"transform": {"mix": {}}, "train": {"label_smoothing": 0.1}}
    with DataLoader(samples, 8, recipe=recipe, num_classes=10, **SMALL) as loader:
        for images, targets in loader:
            assert (targets.shape, targets.dtype) == ((8, 10), torch.float32)
            assert torch.allclose(targets.sum(1), torch.ones(8))
            logits = images.mean((2, 3)) @ torch.linspace(-1, 1, 30).reshape(3, 10)
            # timm.loss.SoftTargetCrossEntropy.
            expected = torch.sum(-targets * torch.nn.functional.log_softmax(logits, -1), -1).mean()
            assert torch.allclose(torch.nn.functional.cross_entropy(logits, targets), expected)


def test_soft_targets_are_timms_own_for_the_same_mixture(samples):
    from timm.data import mixup

    recipe = {"flip": 0.0, "scale": [1.0, 1.0], "mix": {"mixup": 0.8, "cutmix": 0.0}}
    alone = DataLoader(samples, 8, schedule="constant", recipe={**recipe, "mix": None}, **SMALL)
    mixed = DataLoader(samples, 8, schedule="constant", recipe=recipe, num_classes=10, smoothing=0.1, **SMALL)
    for (images, labels), (blended, targets) in zip(alone, mixed):
        lam = mixed.batch.mixing.shares[0] if mixed.batch.mixing else 1.0
        own = mixup.mixup_target(labels, 10, lam, 0.1)
        assert torch.allclose(targets, own, atol=1e-6)
        # timm mixes in place: x * lam + x.flip(0) * (1 - lam).
        assert torch.allclose(blended, images * lam + images.flip(0) * (1 - lam), atol=1e-5)


WORKER = Path(__file__).parent / "ddp_worker.py"


def test_two_processes_under_torchrun_see_the_same_stages_and_batches(folder, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d"]
    command += ["--rdzv-endpoint=localhost:0", str(WORKER), str(folder), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert [first["rank"], second["rank"]] == [0, 1]
    assert first["lengths"] == second["lengths"]
    assert len(first["lengths"]) == 2
    assert sum(first["lengths"]) == len(first["steps"])
    for one, other in zip(first["steps"], second["steps"]):
        # Stage, band, epoch and step are the same; the images are not.
        assert one[:-1] == other[:-1]
        assert not set(one[-1]) & set(other[-1])
    assert len({step[1] for step in first["steps"]}) > 1
    # Gradients were averaged over the ranks, so the models stayed equal.
    assert first["weights"] == second["weights"]
    assert first["workers"] == second["workers"] == max(1, len(os.sched_getaffinity(0)) // 2)
