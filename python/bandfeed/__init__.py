"""bandfeed: a training-data loader for vision whose cost falls with the frequency band.

>>> import bandfeed
>>> loader = bandfeed.Loader("data/train", recipe="plain", epochs=20, batch_size=128, seed=1)  # doctest: +SKIP
>>> for batch in loader:  # doctest: +SKIP
...     images, labels, stage = batch  # (N, 3, B, B) float32, (N,) int64, stage.band == B
...     images = torch.from_dlpack(images)  # no copy

``bandfeed.torch.DataLoader`` gives torch tensors an epoch at a time, ``bandfeed.numpy.DataLoader`` NumPy arrays.
``bandfeed.functional`` has the parts alone: what happens to an image, to be checked against code of your own.
"""

from bandfeed._native import Batch, Mixing, Schedule, Stage, Tensor, __version__
from bandfeed.errors import (
    CheckpointError,
    ConfigError,
    DecodeError,
    DeviceError,
    Error,
    ForkError,
    IoError,
    NoDeviceError,
    SourceError,
    TrainingError,
    WorkerError,
)
from bandfeed.functional import decode, low_frequency_crop, rand_augment, resized_crop
from bandfeed.loader import BadFile, Controller, Loader

__all__ = [
    "BadFile",
    "Batch",
    "CheckpointError",
    "ConfigError",
    "Controller",
    "DecodeError",
    "DeviceError",
    "Error",
    "ForkError",
    "IoError",
    "Loader",
    "Mixing",
    "NoDeviceError",
    "Schedule",
    "SourceError",
    "Stage",
    "Tensor",
    "TrainingError",
    "WorkerError",
    "__version__",
    "decode",
    "low_frequency_crop",
    "rand_augment",
    "resized_crop",
]
