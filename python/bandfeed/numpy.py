"""NumPy arrays an epoch at a time.

>>> from bandfeed.numpy import DataLoader
>>> loader = DataLoader("data/train", 128, epochs=20)  # doctest: +SKIP
>>> for epoch in range(loader.epochs):  # doctest: +SKIP
...     for images, targets in loader:
...         ...
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bandfeed._native import Batch
from bandfeed.epochs import EpochLoader
from bandfeed.loader import Source

__all__ = ["DataLoader"]


class DataLoader(EpochLoader["tuple[npt.NDArray[Any], npt.NDArray[Any]]"]):
    """Yields ``(images, targets)``, an epoch for each ``iter()`` (see :class:`bandfeed.epochs.EpochLoader`).

    Images are ``(N, 3, B, B)`` float32 or float16, the loader's own memory. Targets are class indices, ``(N,)`` int64, or
    where the recipe mixes images ``(N, num_classes)`` float32, whose rows sum to 1.

    Args:
        source: as of :class:`bandfeed.Loader`.
        batch_size: images behind one optimiser step on each rank; ``None`` is the recipe's own.
        soft_targets: whether targets are rows; ``None`` if the recipe mixes images.
        smoothing: of soft targets, 0 to 1; ``None`` is the recipe's own.
        num_classes: columns of soft targets; ``None`` is the number of the source's classes.
        **options: as of :class:`bandfeed.Loader`.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int | None = None,
        *,
        soft_targets: bool | None = None,
        smoothing: float | None = None,
        num_classes: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            source,
            soft_targets=soft_targets,
            smoothing=smoothing,
            num_classes=num_classes,
            options={"batch_size": batch_size, **options},
        )

    def _convert(self, batch: Batch) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        targets = batch.targets(self.num_classes, self.smoothing) if self.soft_targets else batch.labels
        return np.asarray(batch.images), np.asarray(targets)
