"""The native part. What is public of it is exported by ``bandfeed``."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal, SupportsIndex, final

import numpy.typing as npt

__all__ = [
    "Batch",
    "Loader",
    "Mixing",
    "Schedule",
    "Stage",
    "Tensor",
    "__version__",
    "apply_operations",
    "decode",
    "draw_operations",
    "evaluation_transform",
    "low_frequency_crop",
    "normalize",
    "resized_crop",
    "training_plan",
    "training_transform",
]
__version__: str

@final
class Tensor:
    """A dense array in C order that other libraries take over without a copy, by DLPack.

    ``torch.from_dlpack(tensor)`` and ``numpy.from_dlpack(tensor)`` share its memory and may write to it. Batch memory goes back
    to its loader when the last of them lets go.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
    @property
    def dtype(self) -> Literal["float32", "float16", "bfloat16", "int64", "uint8"]:
        """What the values are."""
    @property
    def ndim(self) -> int:
        """Number of axes."""
    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
    @property
    def data_ptr(self) -> int:
        """Address of the first value."""
    def tolist(self) -> Any:
        """The values as nested lists of numbers."""
    def numpy(self) -> npt.NDArray[Any]:
        """The same memory as a NumPy array. There is none of bfloat16: ``TypeError``."""
    def torch(self) -> Any:
        """The same memory as a ``torch.Tensor``."""
    def __len__(self) -> int: ...
    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]: ...
    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule of the same memory: versioned where ``max_version`` allows it, else of the legacy form.

        Raises:
            BufferError: a stream or a device other than host memory is asked for.
        """
    def __dlpack_device__(self) -> tuple[int, int]:
        """``(1, 0)``: host memory."""

@final
class Stage:
    """One row of a schedule: what the loader makes while it holds, and what the model must be ready for. Immutable.

    Raises:
        ConfigError: ``crop`` is not known. The loader checks the other values.
    """

    __hash__: ClassVar[Any]
    def __new__(
        cls,
        *,
        base: int,
        band: int,
        batch_size: int,
        crop: str = "lanczos",
        magnitude: float = 9.0,
        accumulate: int = 1,
        replay: int = 1,
        replay_capacity: int = 1,
        rate_scale: float = 1.0,
    ) -> Stage: ...
    @property
    def index(self) -> int:
        """Place in the schedule, from 0."""
    @property
    def start(self) -> float:
        """Share of the run's compute at which it starts, 0 to 1."""
    @property
    def end(self) -> float:
        """Share of the run's compute at which it ends, 0 to 1."""
    @property
    def band(self) -> int:
        """Side of the batch's images in pixels: B."""
    @property
    def base(self) -> int:
        """Side of the image that the band is cut from, in pixels."""
    @property
    def crop(self) -> Literal["lanczos", "fourier", "fourier-half-pixel"]:
        """How the band is cut; nothing is cut where ``band == base``."""
    @property
    def magnitude(self) -> float:
        """RandAugment's mean magnitude, 0 to 10."""
    @property
    def batch_size(self) -> int:
        """Images in a batch, on each rank."""
    @property
    def accumulate(self) -> int:
        """Batches whose gradients are summed before an optimiser step."""
    @property
    def replay(self) -> int:
        """Mean uses of a decoded image; 1 is no replay."""
    @property
    def replay_capacity(self) -> int:
        """Capacity of the replay buffer, in batches' worth of new images."""
    @property
    def rate_scale(self) -> float:
        """The learning rate is multiplied by this."""
    @property
    def cost(self) -> float:
        """Compute of one image relative to one at the base size: ``(band / base) ** 2``."""
    def replace(self, **changes: Any) -> Stage:
        """The same stage with other values, by the constructor's keywords."""
    def to_dict(self) -> dict[str, Any]:
        """The fields as a dictionary that JSON can hold."""
    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Stage:
        """A stage from what :meth:`to_dict` gave."""

@final
class Schedule:
    """Share of compute consumed -> :class:`Stage`. A value: it holds no position.

    Args:
        name: one of :meth:`names`, or the path of a ``.toml`` table.
        base: side of the images at the end of training, in pixels.
        patch: every band is a multiple of this, in pixels.
        batch_size: images behind one optimiser step on each rank.
        epochs: the budget in equivalent epochs.
        crop: ``"lanczos"``, ``"fourier"`` or ``"fourier-half-pixel"``; ``None`` is the schedule's own.
        replay: ``"off"``, ``"twofold"`` or ``"fourfold"``.
        early_batch: ``"off"``, ``"root-rate"`` or ``"same-rate"``: larger batches where the band is small.
        step_batch: images behind a step, in batches as large as ``batch_size`` images of the base size allow.
        base_parts: batches of the base size are made in this many parts.

    Raises:
        ConfigError: a name is not known, or a value cannot work.
        IoError: the table cannot be read.
    """

    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __new__(
        cls,
        name: str = "efficient_train_pp_deit",
        *,
        base: int = 224,
        patch: int = 16,
        batch_size: int = 256,
        epochs: float = 200.0,
        crop: str | None = None,
        replay: str = "off",
        early_batch: str = "off",
        step_batch: int | None = None,
        base_parts: int = 1,
    ) -> Schedule: ...
    @staticmethod
    def names() -> list[str]:
        """Names that a schedule is made by, beside paths of tables."""
    @classmethod
    def from_toml(cls, text: str) -> Schedule:
        """A schedule from the text of a TOML table."""
    def to_toml(self) -> str:
        """The schedule as a TOML table that :meth:`from_toml` reads back to an equal one."""
    @property
    def name(self) -> str:
        """The name."""
    @property
    def base(self) -> int:
        """Side of the images at the base size, in pixels."""
    @property
    def patch(self) -> int:
        """What every band is a multiple of, in pixels."""
    @property
    def epochs(self) -> float:
        """The budget in equivalent epochs."""
    @property
    def image_epochs(self) -> float:
        """Passes over the data set in the whole run, by the images trained on."""
    @property
    def stages(self) -> list[Stage]:
        """The stages in order."""
    def at(self, progress: float) -> Stage:
        """The stage that holds after this share of the run's compute, 0 to 1."""
    def images(self, samples: int) -> list[int]:
        """Images that each stage trains on over a data set of ``samples`` images, over all ranks."""
    def with_epochs(self, epochs: float) -> Schedule:
        """The same stages with another budget, in equivalent epochs."""
    def __len__(self) -> int: ...

@final
class Mixing:
    """What Mixup and CutMix did to each image of a batch; image ``i`` meets image ``N - 1 - i``."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of each image that is its own (lambda), N values in 0 to 1."""
    @property
    def partners(self) -> tuple[int, ...]:
        """Index in the batch of each image's partner, N values."""
    @property
    def boxes(self) -> tuple[tuple[int, int, int, int] | None, ...]:
        """Of each image the pixels that are its partner's: ``(x, y, width, height)``; ``None`` where none were pasted."""
    def __len__(self) -> int: ...

@final
class Batch:
    """N images at one size with their labels, and the stage that made them. Unpacks as ``images, labels, stage``."""

    @property
    def images(self) -> Tensor:
        """``(N, 3, B, B)``, red green blue, normalised by the recipe's mean and standard deviation; the loader's dtype."""
    @property
    def labels(self) -> Tensor:
        """Class index of each image, ``(N,)`` int64; of a mixed image that of its own part (see :meth:`targets`)."""
    @property
    def stage(self) -> Stage:
        """The stage that made the batch."""
    @property
    def indices(self) -> Tensor:
        """Place of each image in the source, ``(N,)`` int64."""
    @property
    def epoch(self) -> int:
        """Pass over the data set that the batch belongs to, from 0."""
    @property
    def step(self) -> int:
        """Number of the batch in the run, from 0, on every rank the same."""
    @property
    def progress(self) -> float:
        """Share of the run's compute consumed before this batch, 0 to 1: the schedule's clock."""
    @property
    def fresh(self) -> int:
        """How many of the images, the first ones, were made for this batch; the others come from the replay buffer."""
    @property
    def magnitude(self) -> float:
        """RandAugment's mean magnitude in this batch, 0 to 10."""
    @property
    def mixing(self) -> Mixing | None:
        """How images were mixed by Mixup and CutMix; ``None`` where they were not."""
    def targets(self, classes: int | None = None, smoothing: float = 0.0) -> Tensor:
        """What to train towards with a soft cross-entropy: ``(N, classes)`` float32, rows that sum to 1.

        Args:
            classes: columns; ``None`` is the number of the source's classes.
            smoothing: share spread evenly over all classes, 0 to 1.

        Raises:
            ConfigError: a label is no class, or ``smoothing`` is out of range.
        """
    def __iter__(self) -> Iterator[Any]: ...

@final
class Loader:
    def __new__(cls, source: str | list[tuple[bytes, int]], settings: dict[str, Any]) -> Loader: ...
    def next(self) -> Batch | None: ...
    def state(self) -> dict[str, Any]: ...
    def go_to(self, state: dict[str, Any]) -> None: ...
    def seek(self, progress: float) -> None: ...
    def restart(self) -> None: ...
    def steps_before(self, progress: float) -> int: ...
    def steps_of_pass(self) -> int: ...
    def progress(self) -> float: ...
    def set_stage(self, stage: Stage | None, pending: str) -> None: ...
    def counters(self) -> dict[str, float]: ...
    def bad_files(self) -> list[dict[str, Any]]: ...
    def damaged_files(self) -> list[dict[str, Any]]: ...
    def memory(self) -> dict[str, int]: ...
    def engine(self) -> str: ...
    def close(self) -> None: ...
    def describe(self) -> str: ...
    def sample_name(self, index: SupportsIndex) -> str: ...
    @property
    def workers(self) -> int: ...
    @property
    def schedule(self) -> Schedule: ...
    @property
    def recipe(self) -> dict[str, Any]: ...
    @property
    def classes(self) -> list[str]: ...
    @property
    def samples(self) -> int: ...
    @property
    def is_evaluation(self) -> bool: ...

# What `bandfeed.functional` calls: arrays are bytes in C order; sides are (height, width), boxes (x, y, width, height),
# samples (seed, epoch, position), operations (name, argument, interpolation).
def decode(
    data: bytes | str,
    region: tuple[int, int, int, int] | None,
    size: tuple[int, int] | None,
    filter: str,
    fidelity: str,
    strict: bool,
    max_pixels: int | None,
) -> tuple[int, int, bytearray]: ...
def resized_crop(
    pixels: bytes,
    sides: tuple[int, int],
    part: tuple[int, int, int, int],
    to: tuple[int, int],
    filter: str,
    band: int | None,
) -> bytearray: ...
def low_frequency_crop(bytes: bytes, dtype: str, sides: tuple[int, int], band: tuple[int, int], crop: str) -> bytearray: ...
def normalize(
    pixels: bytes,
    sides: tuple[int, int],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> bytearray: ...
def evaluation_transform(pixels: bytes, sides: tuple[int, int], stage: Stage, recipe: str | dict[str, Any]) -> bytearray: ...
def draw_operations(
    policy: str,
    sample: tuple[int, int, int],
    magnitude: float | None,
    interpolation: str,
    sides: tuple[int, int],
) -> list[tuple[str, float | None, str | None]]: ...
def apply_operations(
    pixels: bytes,
    sides: tuple[int, int],
    operations: list[tuple[str, float | None, str | None]],
    fill: tuple[int, int, int],
) -> bytearray: ...
def training_plan(
    sides: tuple[int, int],
    stage: Stage,
    recipe: str | dict[str, Any],
    sample: tuple[int, int, int],
    magnitude: float | None,
) -> tuple[tuple[int, int, int, int], bool, list[tuple[str, float | None, str | None]]]: ...
def training_transform(
    pixels: bytes,
    sides: tuple[int, int],
    stage: Stage,
    recipe: str | dict[str, Any],
    sample: tuple[int, int, int],
    magnitude: float | None,
) -> bytearray: ...
