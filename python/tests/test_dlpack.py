"""Memory is handed over without a copy, and comes back when the last consumer lets go."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import bandfeed

TINY = {"schedule": "constant", "base": 16, "patch": 8, "batch_size": 4, "epochs": 50, "workers": 1, "prefetch": 1}


@pytest.fixture
def loader(samples):
    with bandfeed.Loader(samples, **TINY) as loader:
        yield loader


def address(array):
    return array.__array_interface__["data"][0]


def test_numpy_sees_the_batchs_own_memory(loader):
    images = next(loader).images
    array = np.from_dlpack(images)
    assert address(array) == images.data_ptr
    assert address(np.asarray(images)) == images.data_ptr
    assert (array.shape, array.dtype, images.dtype) == ((4, 3, 16, 16), np.float32, "float32")
    assert array.flags.c_contiguous
    assert images.nbytes == array.nbytes
    assert array.tolist() == images.tolist()


def test_writes_are_seen_by_the_other_consumers(loader):
    images = next(loader).images
    first, second = np.from_dlpack(images), np.from_dlpack(images)
    if not first.flags.writeable:
        pytest.skip(f"NumPy {np.__version__} takes DLPack memory as read-only")
    first[1, 2, 3, 4] = 7.0
    assert second[1, 2, 3, 4] == 7.0


def test_a_copy_is_made_only_when_it_is_asked_for(loader):
    images = next(loader).images
    copy = np.array(images, copy=True)
    assert address(copy) != images.data_ptr
    assert (copy == np.asarray(images)).all()
    assert np.asarray(images, dtype=np.float64).dtype == np.float64
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        asked = np.from_dlpack(images, copy=True)
        assert address(asked) != images.data_ptr
        assert (asked == copy).all()
    with pytest.raises(ValueError, match="without a copy"):
        images.__array__(np.dtype("float64"), copy=False)


def test_capsules_are_versioned_for_those_who_know_them(loader):
    images = next(loader).images
    assert "dltensor_versioned" in repr(images.__dlpack__(max_version=(1, 0)))
    assert "dltensor_versioned" in repr(images.__dlpack__(max_version=(2, 0), dl_device=(1, 0), copy=False))
    for old in (images.__dlpack__(), images.__dlpack__(max_version=(0, 8))):
        assert '"dltensor"' in repr(old)
    assert images.__dlpack_device__() == (1, 0)


def test_streams_and_other_devices_are_refused(loader):
    images = next(loader).images
    assert images.__dlpack__(stream=None) is not None
    with pytest.raises(BufferError, match="no streams"):
        images.__dlpack__(stream=1)
    with pytest.raises(BufferError, match="host memory"):
        images.__dlpack__(dl_device=(2, 0))


@pytest.mark.parametrize("hold", ["array", "versioned capsule", "legacy capsule", "view of an array"])
def test_memory_is_used_again_only_after_the_last_consumer_let_go(loader, hold):
    batch = next(loader)
    start = batch.images.data_ptr
    before = np.array(batch.images, copy=True)
    holds = {
        "array": lambda images: np.from_dlpack(images),
        "versioned capsule": lambda images: images.__dlpack__(max_version=(1, 0)),
        "legacy capsule": lambda images: images.__dlpack__(),
        "view of an array": lambda images: np.from_dlpack(images)[1:, ::2, 3],
    }
    held = [holds[hold](batch.images)]
    del batch
    # These are held, too, so that no other buffer is free.
    later = [next(loader) for _ in range(4)]
    assert start not in [batch.images.data_ptr for batch in later]
    if hold == "array":
        assert (held[0] == before).all()
    held.clear()
    gc.collect()
    later += [next(loader) for _ in range(2)]
    assert start in [batch.images.data_ptr for batch in later]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_memory_of_half_floats_is_used_again_too(samples, dtype):
    with bandfeed.Loader(samples, dtype=dtype, **TINY) as loader:
        batch = next(loader)
        start = batch.images.data_ptr
        capsule = batch.images.__dlpack__()
        del batch
        later = [next(loader) for _ in range(4)]
        assert start not in [batch.images.data_ptr for batch in later]
        del capsule
        later.append(next(loader))
        assert later[-1].images.data_ptr == start


def test_half_floats_are_the_rounded_values(samples):
    batches = {}
    for dtype in ("float32", "float16", "bfloat16"):
        with bandfeed.Loader(samples, dtype=dtype, **TINY) as loader:
            batches[dtype] = next(loader).images
    exact = np.asarray(batches["float32"])
    half = np.asarray(batches["float16"])
    assert half.dtype == np.float16
    assert (half == exact.astype(np.float16)).all()
    # bfloat16 is the upper half of a float32, rounded to the nearest, ties to even.
    bits = exact.view(np.uint32).astype(np.uint64)
    bits = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32)
    assert (np.array(batches["bfloat16"].tolist(), np.float32) == bits.view(np.float32)).all()
    with pytest.raises(TypeError, match="no bfloat16"):
        batches["bfloat16"].numpy()


def test_arrays_outlive_batch_and_loader(samples):
    with bandfeed.Loader(samples, **TINY) as loader:
        array = np.asarray(next(loader).images)
    before = array.copy()
    del loader
    gc.collect()
    assert (array == before).all()


def test_labels_and_indices_are_int64(loader):
    batch = next(loader)
    for tensor in (batch.labels, batch.indices):
        array = np.from_dlpack(tensor)
        assert (array.shape, array.dtype) == ((4,), np.int64)
        assert array.tolist() == tensor.tolist()
    assert len(batch.labels) == 4
    assert repr(batch.labels) == "Tensor(shape=(4,), dtype=int64)"
