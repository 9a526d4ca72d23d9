"""What can go wrong: one class for each thing that a caller can do about it, each with the fields of its message."""

from __future__ import annotations

import os
from typing import Any

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DecodeError",
    "DeviceError",
    "Error",
    "ForkError",
    "IoError",
    "NoDeviceError",
    "SourceError",
    "TrainingError",
    "WorkerError",
]


class Error(Exception):
    """Base of all errors that bandfeed raises of its own."""

    def __reduce__(self) -> tuple[Any, ...]:
        # By the message and the fields, since the constructors of the subclasses differ.
        return _rebuild, (type(self), str(self), dict(self.__dict__))


def _rebuild(kind: type[Error], message: str, fields: dict[str, Any]) -> Error:
    error = kind.__new__(kind, message)
    error.args = (message,)
    error.__dict__.update(fields)
    return error


class IoError(Error, OSError):
    """The operating system refused a file: check the path, the rights, the disk.

    Attributes:
        path: the file or folder.
        reason: the system's words.
        errno: the system's number of it, or ``None``.
    """

    path: str
    reason: str

    def __init__(self, message: str, path: str, reason: str, errno: int | None) -> None:
        super().__init__(message)
        self.path = path
        self.reason = reason
        self.errno = errno
        self.filename = path
        self.strerror = reason if errno is None else os.strerror(errno)

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return IoError, (str(self), self.path, self.reason, self.errno)


class DecodeError(Error, ValueError):
    """An image could not be decoded. A loader may skip or replace it (``on_bad_file``).

    Attributes:
        name: the sample: a path, or ``shard.tar#key.jpg``.
        kind: ``"corrupt"`` (truncated, damaged or no image at all), ``"unsupported"`` (a valid file of a kind that is not
            read, for example a 12-bit JPEG) or ``"limit"`` (it declares more pixels or memory than is allowed).
        reason: what the decoder found.
    """

    name: str
    kind: str
    reason: str

    def __init__(self, message: str, name: str, kind: str, reason: str) -> None:
        super().__init__(message)
        self.name = name
        self.kind = kind
        self.reason = reason


class SourceError(Error, ValueError):
    """A folder, shard or archive does not hold a data set in the expected form.

    Attributes:
        path: the folder, shard or pattern.
        reason: what was found, what was expected, and what to do.
    """

    path: str
    reason: str

    def __init__(self, message: str, path: str, reason: str) -> None:
        super().__init__(message)
        self.path = path
        self.reason = reason


class ConfigError(Error, ValueError):
    """A schedule, recipe or option that cannot work. Change it.

    Attributes:
        what: the setting, for example ``schedule.band``.
        reason: what was given and what is allowed.
    """

    what: str
    reason: str

    def __init__(self, message: str, what: str, reason: str) -> None:
        super().__init__(message)
        self.what = what
        self.reason = reason


class CheckpointError(Error, ValueError):
    """A checkpoint or saved state that does not fit this run.

    Attributes:
        path: the checkpoint's file or folder.
        reason: what does not fit.
    """

    path: str
    reason: str

    def __init__(self, message: str, path: str, reason: str) -> None:
        super().__init__(message)
        self.path = path
        self.reason = reason


class TrainingError(Error, RuntimeError):
    """Training cannot go on.

    Attributes:
        step: the optimiser step, from 0.
        reason: why.
    """

    step: int
    reason: str

    def __init__(self, message: str, step: int, reason: str) -> None:
        super().__init__(message)
        self.step = step
        self.reason = reason


class NoDeviceError(Error, RuntimeError):
    """The device that was asked for is not there, or cannot be used. Another one may do, or the CPU.

    Attributes:
        device: what was asked for, for example ``wgpu:llvmpipe``.
        reason: what there is instead.
    """

    device: str
    reason: str

    def __init__(self, message: str, device: str, reason: str) -> None:
        super().__init__(message)
        self.device = device
        self.reason = reason


class DeviceError(Error, RuntimeError):
    """A device failed at work: it was lost, or is out of memory.

    Attributes:
        device: the device's name.
        reason: the driver's words, and what may help.
    """

    device: str
    reason: str

    def __init__(self, message: str, device: str, reason: str) -> None:
        super().__init__(message)
        self.device = device
        self.reason = reason


class WorkerError(Error, RuntimeError):
    """A worker thread ended by a panic: a defect of bandfeed.

    Attributes:
        reason: the panic's message.
    """

    reason: str

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ForkError(Error, RuntimeError):
    """A loader was used in a process forked from the one that made it: its threads are not there.

    Attributes:
        reason: what to do.
    """

    reason: str

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
