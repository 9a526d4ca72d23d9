"""Torch tensors an epoch at a time, in place of ``torch.utils.data.DataLoader``.

>>> from bandfeed.torch import DataLoader
>>> loader = DataLoader("data/train", 128, epochs=20, num_workers=8, to="cuda")  # doctest: +SKIP
>>> for epoch in range(loader.epochs):  # doctest: +SKIP
...     for images, targets in loader:  # (N, 3, B, B); B is loader.stage.band
...         loss = criterion(model(images), targets)

The rank and the number of processes are taken from ``torch.distributed``, or from torchrun's environment before it is
initialised.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed
from torch.utils.dlpack import from_dlpack

from bandfeed._native import Batch
from bandfeed.epochs import EpochLoader
from bandfeed.errors import ConfigError
from bandfeed.loader import Source

__all__ = ["DataLoader"]


class DataLoader(EpochLoader["tuple[torch.Tensor, torch.Tensor]"]):
    """Yields ``(images, targets)``, an epoch for each ``iter()`` (see :class:`bandfeed.epochs.EpochLoader`).

    Images are ``(N, 3, B, B)`` in ``dtype``, normalised, in the loader's own memory unless ``to`` says otherwise. Targets are
    class indices, ``(N,)`` int64, or where the recipe mixes images ``(N, num_classes)`` float32 whose rows sum to 1: what timm's
    ``SoftTargetCrossEntropy`` and ``torch.nn.CrossEntropyLoss`` take.

    Args:
        source: as of :class:`bandfeed.Loader`.
        batch_size: images behind one optimiser step on each rank; ``None`` is the recipe's own.
        num_workers: threads that make images; ``None`` is this process's share of the machine's cores.
        to: where tensors are handed out: ``"cuda"``, ``"cuda:1"``, a ``torch.device``. To a CUDA device they are copied from
            pinned memory, without waiting for the copy. ``None`` leaves them in host memory.
        pin_memory: whether tensors that stay in host memory are copied to pinned memory.
        dtype: of the images: ``torch.float32``, ``float16`` or ``bfloat16``.
        soft_targets: whether targets are rows; ``None`` if the recipe mixes images.
        smoothing: of soft targets, 0 to 1; ``None`` is the recipe's own.
        num_classes: columns of soft targets; ``None`` is the number of the source's classes.
        rank: this process; ``None`` asks ``torch.distributed``.
        world_size: number of processes; ``None`` asks ``torch.distributed``.
        **options: as of :class:`bandfeed.Loader`. There ``device`` is what makes the batches.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int | None = None,
        *,
        num_workers: int | None = None,
        to: str | torch.device | None = None,
        pin_memory: bool = False,
        dtype: torch.dtype = torch.float32,
        soft_targets: bool | None = None,
        smoothing: float | None = None,
        num_classes: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        **options: Any,
    ) -> None:
        own_rank, own_world_size = _ranks()
        device = str(options.get("device", "cpu"))
        if device.startswith("cuda"):
            reason = f"`{device}` makes no batches; to get them there use to=`{device}`"
            raise ConfigError(f"device: {reason}", "device", reason)
        self.to = None if to is None else torch.device(to)
        self.pin_memory = pin_memory
        super().__init__(
            source,
            soft_targets=soft_targets,
            smoothing=smoothing,
            num_classes=num_classes,
            options={
                "batch_size": batch_size,
                "workers": _workers() if num_workers is None else num_workers,
                "dtype": str(dtype).rpartition(".")[2],
                "rank": own_rank if rank is None else rank,
                "world_size": own_world_size if world_size is None else world_size,
                **options,
            },
        )

    def _convert(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        targets = batch.targets(self.num_classes, self.smoothing) if self.soft_targets else batch.labels
        return self._place(from_dlpack(batch.images)), self._place(from_dlpack(targets))

    def _place(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.pin_memory or (self.to is not None and self.to.type == "cuda"):
            # Only from pinned memory does a copy to the device run by itself.
            tensor = tensor.pin_memory()
        return tensor if self.to is None else tensor.to(self.to, non_blocking=True)


def _ranks() -> tuple[int, int]:
    """This process and the number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _workers() -> int:
    """This process's share of the cores that it may run on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
