"""What ``bandfeed.torch`` and ``bandfeed.numpy`` share: a run handed out an epoch at a time, for loops that are written so."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bandfeed._native import Batch, Schedule, Stage
from bandfeed.errors import ConfigError
from bandfeed.loader import Loader, Source

__all__ = ["EpochLoader"]

T = TypeVar("T")

# Sums of costs end a few roundings beside an epoch's boundary.
_SAME_MOMENT = 1e-9


class _Samples:
    """Stands for ``DataLoader.dataset``: how many samples there are, and of which classes."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self.classes = loader.classes

    def __len__(self) -> int:
        return self._loader.samples


@dataclass
class _Pass:
    """An iteration over an epoch."""

    epoch: int
    handed_out: int = 0


class EpochLoader(Generic[T]):
    """Hands out a training run in epochs of equal compute, or an evaluation in passes.

    Every ``iter()`` gives the batches of the epoch at hand, and ``epochs`` of them are the whole run. An epoch is one
    equivalent epoch of the schedule: under ``"constant"`` a pass over the data set, and under a curriculum the compute of a
    pass at the base size, so that early epochs have more batches. ``len()`` is the number of batches of the epoch at hand.

    An ``iter()`` that was left early is gone on with by the next one, unless :meth:`set_epoch` says otherwise.
    """

    loader: Loader
    """The loader below."""
    batch: Batch | None
    """The last batch, with all that it holds; ``None`` before the first."""

    def __init__(
        self,
        source: Source,
        *,
        soft_targets: bool | None,
        smoothing: float | None,
        num_classes: int | None,
        options: Mapping[str, Any],
    ) -> None:
        self.loader = Loader(source, **options)
        self.batch = None
        recipe = self.loader.recipe
        is_mixed = not self._is_evaluation and recipe["transform"].get("mix") is not None
        self.soft_targets = is_mixed if soft_targets is None else soft_targets
        if is_mixed and not self.soft_targets:
            reason = "False, but the recipe mixes images, whose labels are soft; leave it out, or mix off"
            self.close()
            raise ConfigError(f"soft_targets: {reason}", "soft_targets", reason)
        own = 0.0 if self._is_evaluation else recipe["train"]["label_smoothing"]
        self.smoothing: float = own if smoothing is None else smoothing
        self.num_classes = len(self.loader.classes) if num_classes is None else num_classes
        # The iteration at hand, if there is one.
        self._pass: _Pass | None = None

    def _convert(self, batch: Batch) -> T:
        raise NotImplementedError

    @property
    def _is_evaluation(self) -> bool:
        return self.loader.is_evaluation

    @property
    def epochs(self) -> int:
        """Number of epochs of the run; the last one may be shorter. 1 of an evaluation."""
        return 1 if self._is_evaluation else math.ceil(self.schedule.epochs - _SAME_MOMENT)

    @property
    def epoch(self) -> int:
        """The epoch at hand, from 0; :attr:`epochs` when the run is over."""
        if self._is_evaluation:
            return 0
        return min(math.floor(self.loader.progress * self.schedule.epochs + _SAME_MOMENT), self.epochs)

    def set_epoch(self, epoch: int) -> None:
        """The next ``iter()`` gives this epoch, from its beginning, unless the loader is in the midst of it already.

        A loop that counts its epochs up from where it began does not need it, but may call it. Going to another epoch forgets
        stages that were set by hand.
        """
        if self._is_evaluation or epoch == self.epoch:
            return
        if not 0 <= epoch <= self.epochs:
            reason = f"{epoch}: the run has {self.epochs}"
            raise ConfigError(f"epoch: {reason}", "epoch", reason)
        self.loader.seek(epoch / self.schedule.epochs)
        self._pass = None

    def __len__(self) -> int:
        """Batches of the epoch at hand on this rank, the same on all ranks: what ``iter()`` gives, or has begun to give."""
        if self._is_evaluation:
            return len(self.loader)
        epoch, handed_out = (self.epoch, 0) if self._pass is None else (self._pass.epoch, self._pass.handed_out)
        return handed_out + self.loader.steps_before(self._end(epoch))

    def _end(self, epoch: int) -> float:
        """Share of the compute at which an epoch ends; the last one is open, for what rounding leaves."""
        return math.inf if epoch + 1 >= self.epochs else (epoch + 1) / self.schedule.epochs

    def __iter__(self) -> Iterator[T]:
        if self._is_evaluation:
            for batch in self.loader:
                self.batch = batch
                yield self._convert(batch)
            return
        own = self._pass = _Pass(self.epoch)
        end = self._end(own.epoch)
        try:
            # Whoever seeks or iterates anew ends this iteration.
            while self._pass is own and self.loader.progress < end - _SAME_MOMENT:
                try:
                    batch = next(self.loader)
                except StopIteration:
                    return
                self.batch = batch
                own.handed_out += 1
                yield self._convert(batch)
        finally:
            if self._pass is own:
                self._pass = None

    @property
    def stage(self) -> Stage:
        """The stage of the last batch; before the first, the one that it will have by the schedule."""
        return self.schedule.at(self.loader.progress) if self.batch is None else self.batch.stage

    @property
    def schedule(self) -> Schedule:
        """The schedule."""
        return self.loader.schedule

    @property
    def sampler(self) -> EpochLoader[T]:
        """This loader itself, for loops that call ``loader.sampler.set_epoch(epoch)``."""
        return self

    @property
    def dataset(self) -> _Samples:
        """For ``len(loader.dataset)`` and ``loader.dataset.classes``."""
        return _Samples(self.loader)

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands after the last batch handed out: a few integers, which JSON can hold."""
        return self.loader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``state`` was taken: the next ``iter()`` gives the rest of that epoch."""
        self.loader.load_state_dict(state)
        self._pass = None
        self.batch = None

    def close(self) -> None:
        """Ends the loader's threads."""
        self.loader.close()

    def __enter__(self) -> EpochLoader[T]:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
