"""Exceptions: their bases, their fields, and their way through pickle."""

from __future__ import annotations

import pickle

import pytest

from bandfeed import errors

MADE = [
    (errors.IoError("a.jpg: gone", "a.jpg", "gone", 2), OSError, {"path": "a.jpg", "errno": 2, "filename": "a.jpg"}),
    (errors.DecodeError("m", "a.jpg", "corrupt", "cut"), ValueError, {"name": "a.jpg", "kind": "corrupt", "reason": "cut"}),
    (errors.SourceError("m", "train", "empty"), ValueError, {"path": "train", "reason": "empty"}),
    (errors.ConfigError("m", "workers", "0"), ValueError, {"what": "workers", "reason": "0"}),
    (errors.CheckpointError("m", "run", "other"), ValueError, {"path": "run", "reason": "other"}),
    (errors.TrainingError("m", 3, "nan"), RuntimeError, {"step": 3, "reason": "nan"}),
    (errors.NoDeviceError("m", "wgpu", "none"), RuntimeError, {"device": "wgpu", "reason": "none"}),
    (errors.DeviceError("m", "wgpu", "lost"), RuntimeError, {"device": "wgpu", "reason": "lost"}),
    (errors.WorkerError("m", "oh"), RuntimeError, {"reason": "oh"}),
    (errors.ForkError("m", "spawn"), RuntimeError, {"reason": "spawn"}),
]


@pytest.mark.parametrize(("error", "base", "fields"), MADE, ids=lambda value: type(value).__name__)
def test_fields_and_bases_survive_pickle(error, base, fields):
    for one in (error, pickle.loads(pickle.dumps(error))):
        assert type(one) is type(error)
        assert isinstance(one, errors.Error) and isinstance(one, base)
        assert str(one) == str(error)
        assert {name: getattr(one, name) for name in fields} == fields


def test_all_of_them_are_here():
    assert {type(error).__name__ for error, _, _ in MADE} | {"Error"} == set(errors.__all__)
