"""The loader: an iterator of batches, made ahead by threads, each with the stage that made it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Union

from bandfeed import _native
from bandfeed._native import Batch, Schedule, Stage
from bandfeed.errors import ConfigError

__all__ = ["BadFile", "Controller", "Loader"]

Path = Union[str, "os.PathLike[str]"]
Source = Union[Path, "Sequence[tuple[bytes, int]]"]

# The tables of a recipe's file; a dictionary with none of them is the first one.
_TABLES = {"transform", "schedule", "train"}


@dataclass(frozen=True)
class BadFile:
    """A file that gave no image, or a damaged one."""

    index: int
    """Place in the source."""
    name: str
    """A path, or ``shard.tar#key.jpg``."""
    reason: str
    """Why, of its last try."""
    times: int
    """How often it was met."""


class Controller(Protocol):
    """Decides the stage while training, from what is reported to it."""

    def report(self, stage: Stage, progress: float, loss: float, time: float) -> Stage | None:
        """Takes the loss of a step under ``stage`` and the seconds it took, at a share ``progress`` of the run's compute.

        Returns the stage to go on with, or ``None`` to leave it as it is.
        """
        ...


class Loader:
    """An iterator of :class:`Batch` under a schedule, made ahead of the consumer by threads.

    The sequence of batches follows from seed, schedule, recipe, data set and ranks alone: any number of workers gives the same
    bytes. The interpreter's lock is not held while a batch is waited for, and Ctrl-C works meanwhile.

    Args:
        source: a folder of class folders (torchvision's ``ImageFolder``), WebDataset shards (``train-{000..099}.tar``), packed
            records, or ``(encoded image, class index)`` pairs in memory.
        recipe: the image transform: ``"plain"``, ``"deit_tiny"``, ``"deit_small"``, ``"efficienttrain_pp_deit_small"``,
            ``"auto_prog_deit_small"``, the path of a ``.toml`` file, or a dictionary in such a file's form, or of its
            ``transform`` table alone.
        schedule: a name (``"constant"``, ``"efficient_train_pp_deit"`` ...), the path of a ``.toml`` table, or a
            :class:`Schedule`. ``None`` is the recipe's own.
        batch_size: images behind one optimiser step on each rank. ``None``, as for the next three, is the recipe's own.
        epochs: the budget in equivalent epochs: passes over the data set at the base size that would cost the same compute.
        base: side of the images at the end of training, in pixels.
        patch: every band is a multiple of this, in pixels.
        evaluation: one pass over the source in its order, with the evaluation transform; each ``iter()`` is a new pass. The
            last batch may be smaller.
        stage: of an evaluation, in place of the schedule's last one.
        workers: threads that make images. ``None`` is as many as the process may run at once.
        prefetch: batches made ahead.
        seed: of the samples' order and of every augmentation.
        rank: this process, ``0..world_size``.
        world_size: number of processes. All of them make as many batches, with the same stages.
        device: what makes the batches: ``"cpu"``, ``"wgpu"`` (a GPU by Vulkan, Metal or DX12), ``"wgpu:NAME"`` or ``"auto"``.
            Batches are handed over in host memory.
        fallback: whether the CPU goes on if a GPU fails at work. ``"auto"`` always does.
        dtype: of the images: ``"float32"``, ``"float16"`` or ``"bfloat16"``.
        on_bad_file: a file that cannot be decoded: ``"fail"`` raises, ``"skip"`` leaves it out, ``"substitute"`` takes another.
        epoch_end: samples that do not fill a batch on every rank: ``"drop"`` leaves them out of this epoch, ``"pad"`` makes
            the last batch smaller. ``None`` drops in training and pads in evaluation.
        memory_limit: bytes that batches and replay may take (see :meth:`memory`); more is refused before it is taken.
        max_pixels: images that declare more are bad files. ``None`` is 100 megapixels.
        strict: whether damaged files that still give an image are bad files.
        classes: class names for images in memory. ``None`` names them by number.
        index: a side index in another place than beside the files.
        indices: the samples of the source to use, in this order; ``None`` is all.
        controller: decides stages from what :meth:`report` is told.

    Raises:
        SourceError: ``source`` holds no data set of a known form.
        ConfigError: an option cannot work; ``what`` names it.
        NoDeviceError: the device is not there.
        IoError: a file cannot be read.
    """

    def __init__(
        self,
        source: Source,
        *,
        recipe: Path | Mapping[str, Any] = "plain",
        schedule: Path | Schedule | None = None,
        batch_size: int | None = None,
        epochs: float | None = None,
        base: int | None = None,
        patch: int | None = None,
        evaluation: bool = False,
        stage: Stage | None = None,
        workers: int | None = None,
        prefetch: int = 4,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: str = "cpu",
        fallback: bool = False,
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
        on_bad_file: Literal["fail", "skip", "substitute"] = "fail",
        epoch_end: Literal["drop", "pad"] | None = None,
        memory_limit: int | None = None,
        max_pixels: int | None = None,
        strict: bool = False,
        classes: Sequence[str] | None = None,
        index: Path | None = None,
        indices: Sequence[int] | None = None,
        controller: Controller | None = None,
    ) -> None:
        settings = {
            "recipe": _recipe(recipe),
            "schedule": schedule if schedule is None or isinstance(schedule, Schedule) else _path("schedule", schedule),
            "batch_size": batch_size,
            "epochs": epochs,
            "base": base,
            "patch": patch,
            "evaluation": evaluation,
            "stage": stage,
            "workers": workers,
            "prefetch": prefetch,
            "seed": seed,
            "rank": rank,
            "world_size": world_size,
            "device": device,
            "fallback": fallback,
            "dtype": str(dtype),
            "on_bad_file": on_bad_file,
            "epoch_end": epoch_end,
            "memory_limit": memory_limit,
            "max_pixels": max_pixels,
            "strict": strict,
            "classes": None if classes is None else list(classes),
            "index": None if index is None else _path("index", index),
            "indices": None if indices is None else [int(i) for i in indices],
        }
        self._native = _native.Loader(_source(source), settings)
        self.controller = controller
        # Of the last batch: its stage, and the progress before it.
        self._last: tuple[Stage, float] | None = None

    def __iter__(self) -> Iterator[Batch]:
        """Goes on where the loader stands; an evaluation begins a new pass."""
        if self._native.is_evaluation:
            self._native.restart()
        return self

    def __next__(self) -> Batch:
        batch = self._native.next()
        if batch is None:
            raise StopIteration
        self._last = batch.stage, batch.progress
        return batch

    def __len__(self) -> int:
        """Batches still to come on this rank; of an evaluation, batches of a pass."""
        if self._native.is_evaluation:
            return self._native.steps_of_pass()
        return self._native.steps_before(float("inf"))

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands after the last batch handed out: a few integers, which JSON can hold."""
        return self._native.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``state`` was taken, with the same batches. Batches made ahead are thrown away.

        Raises:
            ConfigError: the state is of another seed or data set.
        """
        self._native.go_to(dict(state))

    def steps_before(self, progress: float) -> int:
        """Batches still to come on this rank that begin before this share of the run's compute."""
        return self._native.steps_before(progress)

    def seek(self, progress: float) -> None:
        """Goes to the first batch that begins at or after this share of the run's compute, 0 to 1, with no stage set by hand."""
        self._native.seek(progress)

    def set_stage(self, stage: Stage | None, *, pending: Literal["use_up", "drop"] = "use_up") -> None:
        """Sets the stage by hand; ``None`` gives the choice back to the schedule.

        The sequence of samples stays the one that the seed defines, with none lost or repeated.

        Args:
            stage: what to make from now on.
            pending: batches made ahead are handed out first (``"use_up"``), or thrown away and their samples made again under
                the new stage (``"drop"``).
        """
        self._native.set_stage(stage, pending)

    def report(self, loss: float, time: float) -> Stage | None:
        """Tells the controller how the step with the last batch went; sets the stage that it answers with, and returns it.

        Args:
            loss: the step's training loss.
            time: seconds that it took.

        Raises:
            ConfigError: the loader has no controller, or no batch was handed out yet.
        """
        if self.controller is None:
            raise _config("controller", "there is none to report to; give one to Loader, or call set_stage")
        if self._last is None:
            raise _config("report", "no batch was handed out yet")
        stage = self.controller.report(*self._last, loss, time)
        if stage is not None:
            self.set_stage(stage)
        return stage

    def counters(self) -> dict[str, float]:
        """What was done since the loader was made: images, bytes, and seconds by part, summed over the workers.

        ``wait_for_producer`` is the time that the consumer waited for batches: the input was the bottleneck.
        """
        return self._native.counters()

    def bad_files(self) -> list[BadFile]:
        """Files that gave no image so far."""
        return [BadFile(**file) for file in self._native.bad_files()]

    def damaged_files(self) -> list[BadFile]:
        """Files that are damaged but gave an image all the same, with the decoder's remark."""
        return [BadFile(**file) for file in self._native.damaged_files()]

    def memory(self) -> dict[str, int]:
        """The bound on the memory of batches and replay, in bytes: ``batch``, ``batches`` (a number), ``replay``, ``total``."""
        return self._native.memory()

    @property
    def progress(self) -> float:
        """Share of the run's compute consumed by the batches handed out, 0 to 1."""
        return self._native.progress()

    @property
    def is_evaluation(self) -> bool:
        """Whether it makes single passes with the evaluation transform."""
        return self._native.is_evaluation

    @property
    def schedule(self) -> Schedule:
        """The schedule."""
        return self._native.schedule

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe as a dictionary in the form of its file: ``transform``, ``schedule``, ``train``."""
        return self._native.recipe

    @property
    def classes(self) -> list[str]:
        """Class names by class index."""
        return self._native.classes

    @property
    def samples(self) -> int:
        """Number of images in the source."""
        return self._native.samples

    @property
    def workers(self) -> int:
        """Threads that make images."""
        return self._native.workers

    @property
    def device(self) -> str:
        """Name of the engine that makes the batches: ``"cpu"``, or the GPU's."""
        return self._native.engine()

    def sample_name(self, index: int) -> str:
        """A name that a person can find a sample by: a path, or ``shard.tar#key.jpg``."""
        return self._native.sample_name(index)

    def close(self) -> None:
        """Ends the threads. Batches that were handed out stay as they are."""
        self._native.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Loader: {self._native.describe()}; {self.schedule!r}>"


def _config(what: str, reason: str) -> ConfigError:
    return ConfigError(f"{what}: {reason}", what, reason)


def _path(what: str, path: Path) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{what}: expected a name or a path, got {type(path).__name__}")
    return os.fspath(path)


def _source(source: Source) -> str | list[tuple[bytes, int]]:
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    if isinstance(source, (bytes, bytearray)) or not isinstance(source, Iterable):
        raise TypeError(f"source: expected a path, or pairs of bytes and class index, got {type(source).__name__}")
    return list(source)


def _recipe(recipe: Path | Mapping[str, Any]) -> str | dict[str, Any]:
    if not isinstance(recipe, Mapping):
        return _path("recipe", recipe)
    return dict(recipe) if _TABLES & recipe.keys() else {"transform": dict(recipe)}
