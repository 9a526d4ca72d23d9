"""The parts alone: what they take, what they give, and what they say of mistakes. Parity is in test_parity_*.py."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import png
from pictures import noise

import bandfeed
from bandfeed import ConfigError, Stage
from bandfeed import functional as parts

IMAGE = noise(40, 56)
DATA = png(56, 40, 3)


def test_a_png_is_decoded_whole_by_region_and_resized(tmp_path):
    whole = bandfeed.decode(DATA)
    assert (whole.shape, whole.dtype) == ((40, 56, 3), np.uint8)
    y, x = np.mgrid[0:40, 0:56]
    expected = np.stack([x * 5 + 33, y * 3 + 21, x + y + 39], axis=-1) % 256
    assert (whole == expected).all()
    assert (bandfeed.decode(DATA, region=(7, 3, 20, 30)) == whole[3:33, 7:27]).all()
    resized = bandfeed.decode(DATA, region=(7, 3, 20, 30), size=(12, 10))
    assert (resized == bandfeed.resized_crop(whole, (7, 3, 20, 30), (12, 10))).all()
    path = tmp_path / "image.jpg"
    path.write_bytes(DATA)
    for source in (path, str(path), bytearray(DATA), memoryview(DATA)):
        assert (bandfeed.decode(source) == whole).all()


def test_what_cannot_be_decoded_says_why(tmp_path):
    with pytest.raises(bandfeed.DecodeError) as refused:
        bandfeed.decode(b"nothing")
    assert (refused.value.name, refused.value.kind) == ("image in memory", "corrupt")
    with pytest.raises(bandfeed.DecodeError) as refused:
        bandfeed.decode(DATA, max_pixels=2000)
    assert refused.value.kind == "limit" and "56x40" in refused.value.reason
    path = tmp_path / "cut.png"
    path.write_bytes(DATA[:100])
    with pytest.raises(bandfeed.DecodeError) as refused:
        bandfeed.decode(path)
    assert refused.value.name == str(path)
    with pytest.raises(bandfeed.IoError) as absent:
        bandfeed.decode(tmp_path / "absent.jpg")
    assert isinstance(absent.value, OSError) and absent.value.errno == 2


def test_results_are_arrays_of_their_own():
    before = IMAGE.copy()
    results = [
        bandfeed.decode(DATA),
        bandfeed.resized_crop(IMAGE, (0, 0, 56, 40), (40, 56)),
        bandfeed.rand_augment(IMAGE, "rand-m0-n1-p0"),
        bandfeed.low_frequency_crop(IMAGE, 40, crop="lanczos"),
        parts.normalize(IMAGE),
    ]
    for result in results:
        result[:] = 0
    assert (before == IMAGE).all()


def test_any_layout_and_leading_axes_are_read_as_they_are():
    batch = np.stack([noise(12, 10, seed) for seed in range(6)]).reshape(2, 3, 12, 10, 3)
    planes = parts.normalize(batch)
    assert (planes.shape, planes.dtype) == ((2, 3, 3, 12, 10), np.float32)
    assert (planes[1, 2] == parts.normalize(batch[1, 2])).all()
    cut = bandfeed.low_frequency_crop(planes, 8)
    assert (cut.shape, cut.dtype) == ((2, 3, 3, 8, 8), np.float32)
    assert (cut[0, 1, 2] == bandfeed.low_frequency_crop(planes[0, 1, 2], 8)).all()
    assert bandfeed.low_frequency_crop(planes, (6, 4)).shape == (2, 3, 3, 6, 4)
    assert bandfeed.low_frequency_crop(batch, 8, crop="lanczos").shape == (2, 3, 8, 8, 3)
    mirrored = IMAGE[:, ::-1]
    assert not mirrored.flags.c_contiguous
    assert (parts.normalize(mirrored) == parts.normalize(mirrored.copy())).all()
    assert (parts.normalize(np.asfortranarray(IMAGE)) == parts.normalize(IMAGE)).all()
    swapped = planes.astype(planes.dtype.newbyteorder(">" if np.little_endian else "<"))
    assert (bandfeed.low_frequency_crop(swapped, 8) == cut).all()
    assert bandfeed.low_frequency_crop(planes[:0], 8).shape == (0, 3, 3, 8, 8)


def test_a_sample_has_its_own_draws_and_always_the_same():
    def drawn(**key):
        return [parts.draw_operations("rand-m9-mstd0.5-inc1", **{"seed": 7, "epoch": 1, "position": 5, **key})]

    assert drawn() == drawn()
    assert (bandfeed.rand_augment(IMAGE, seed=4) == bandfeed.rand_augment(IMAGE, seed=4)).all()
    for key in ("seed", "epoch", "position"):
        assert any(drawn() != drawn(**{key: value}) for value in range(20, 26))


def test_rand_augment_is_its_operations_in_order():
    for position in range(40):
        operations = parts.draw_operations(position=position, size=IMAGE.shape[:2], interpolation="random")
        expected = IMAGE
        for name, argument, interpolation in operations:
            expected = parts.apply_operation(expected, name, argument, interpolation=interpolation or "bicubic")
        result = bandfeed.rand_augment(IMAGE, position=position, interpolation="random")
        assert (result == expected).all(), operations
        assert (parts.apply_operations(IMAGE, operations) == expected).all()
        assert (parts.apply_operations(IMAGE, [tuple(operation) for operation in operations]) == expected).all()


def test_the_magnitude_from_outside_goes_before_the_policys_own():
    def bits(magnitude, policy):
        drawn = [parts.draw_operations(policy, magnitude=magnitude, position=position) for position in range(200)]
        return {operation.argument for sample in drawn for operation in sample if operation.name == "Posterize"}

    assert bits(None, "rand-m0-inc1") == {4.0}
    assert bits(8.0, "rand-m0-inc1") == bits(8.0, "rand-inc1") == {1.0}
    with pytest.raises(ConfigError) as refused:
        parts.draw_operations("rand-inc1")
    assert refused.value.what == "magnitude"
    assert parts.draw_operations("3a")[0].name in {"Grayscale", "Solarize", "GaussianBlur"}


def test_the_loaders_batches_are_what_the_parts_make_of_its_samples(samples):
    recipe = {
        "fidelity": "exact",
        "augment": "rand-mstd0.5-inc1",
        "erasing": {"probability": 0.5},
        "jitter": {"color": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.0}},
    }
    options = {"base": 32, "patch": 8, "batch_size": 8, "epochs": 2, "seed": 11, "workers": 1}
    for schedule in ("efficient_train_pp_deit", "efficient_train"):
        position = {}
        stages = set()
        with bandfeed.Loader(samples, recipe=recipe, schedule=schedule, **options) as loader:
            for batch in loader:
                stages.add((batch.stage.band, batch.stage.crop))
                for image, index in zip(np.asarray(batch.images), batch.indices.tolist()):
                    at = position.get(batch.epoch, 0)
                    position[batch.epoch] = at + 1
                    key = {"stage": batch.stage, "seed": 11, "epoch": batch.epoch, "position": at}
                    own = parts.training_transform(
                        bandfeed.decode(samples[index][0]), recipe=recipe, magnitude=batch.magnitude, **key
                    )
                    assert (own == image).all(), key
        assert len(stages) > 1


def test_an_evaluation_is_the_loaders(samples):
    for crop in ("lanczos", "fourier"):
        stage = Stage(base=32, band=24, batch_size=24, crop=crop)
        options = {"base": 32, "patch": 8, "batch_size": 24, "evaluation": True, "stage": stage}
        with bandfeed.Loader(samples, schedule="constant", **options) as loader:
            batch = next(iter(loader))
        for image, index in zip(np.asarray(batch.images), batch.indices.tolist()):
            pixels = bandfeed.decode(samples[index][0])
            assert (parts.evaluation_transform(pixels, stage=stage) == image).all()


def test_a_plan_is_run_by_the_transform():
    recipe = {"augment": "rand-m9-inc1", "fuse": False}
    for position in range(20):
        plan = parts.training_plan(IMAGE.shape[:2], recipe=recipe, position=position)
        x, y, width, height = plan.box
        assert 0 <= x and 0 <= y and x + width <= 56 and y + height <= 40
        image = bandfeed.resized_crop(IMAGE, plan.box, 224)
        image = parts.apply_operations(image[:, ::-1] if plan.flip else image, plan.operations)
        expected = parts.normalize(image)
        assert (parts.training_transform(IMAGE, recipe=recipe, position=position) == expected).all()


def argument_errors():
    """What, and a call that names it."""
    planes = np.zeros((3, 16, 16), np.float32)
    yield "region", lambda: bandfeed.decode(DATA, region=(50, 0, 7, 5))
    yield "region", lambda: bandfeed.decode(DATA, region=(-1, 0, 7, 5))
    yield "fidelity", lambda: bandfeed.decode(DATA, fidelity="best")
    yield "filter", lambda: bandfeed.decode(DATA, size=5, filter="cubic")
    yield "size", lambda: bandfeed.decode(DATA, size=0)
    yield "limits.max_pixels", lambda: bandfeed.decode(DATA, max_pixels=0)
    yield "box", lambda: bandfeed.resized_crop(IMAGE, (0, 0, 0, 4), 8)
    yield "box", lambda: bandfeed.resized_crop(IMAGE, (0, 37, 4, 4), 8)
    yield "size", lambda: bandfeed.resized_crop(IMAGE, (0, 0, 4, 4), (8, -1))
    yield "image", lambda: bandfeed.resized_crop(IMAGE.transpose(2, 0, 1), (0, 0, 4, 4), 8)
    yield "image", lambda: bandfeed.resized_crop(IMAGE[..., :1], (0, 0, 4, 4), 8)
    yield "image", lambda: bandfeed.rand_augment(IMAGE[:0])
    yield "image", lambda: bandfeed.rand_augment(IMAGE.astype(np.float32))
    yield "image", lambda: parts.evaluation_transform(np.stack([IMAGE, IMAGE]))
    yield "x", lambda: bandfeed.low_frequency_crop(planes[0, 0], 4)
    yield "x", lambda: bandfeed.low_frequency_crop(planes, 4, crop="lanczos")
    yield "low_frequency_crop", lambda: bandfeed.low_frequency_crop(planes.astype(np.float16), 4)
    yield "low_frequency_crop", lambda: bandfeed.low_frequency_crop(IMAGE, 2)
    yield "band crop", lambda: bandfeed.low_frequency_crop(planes, 4, crop="box")
    yield "band", lambda: bandfeed.low_frequency_crop(planes, 0)
    yield "band", lambda: bandfeed.low_frequency_crop(planes, (16, 17))
    yield "band", lambda: bandfeed.low_frequency_crop(IMAGE, (8, 9), crop="lanczos")
    yield "mean", lambda: parts.normalize(IMAGE, mean=(0.5,))
    yield "recipe.std", lambda: parts.normalize(IMAGE, std=(0.5, 0.0, 0.5))
    yield "augment", lambda: bandfeed.rand_augment(IMAGE, "randy-m9")
    yield "operation", lambda: parts.apply_operation(IMAGE, "Rotat", 3)
    yield "Rotate", lambda: parts.apply_operation(IMAGE, "Rotate")
    yield "Invert", lambda: parts.apply_operation(IMAGE, "Invert", 1)
    yield "Posterize", lambda: parts.apply_operation(IMAGE, "Posterize", 1.5)
    yield "Solarize", lambda: parts.apply_operation(IMAGE, "Solarize", 257)
    yield "augment", lambda: parts.apply_operation(IMAGE, "Hue", 0.6)
    yield "augment", lambda: parts.apply_operation(IMAGE, "Color", float("nan"))
    yield "interpolation", lambda: parts.apply_operation(IMAGE, "Rotate", 3, interpolation="area")
    yield "fill", lambda: parts.apply_operation(IMAGE, "Rotate", 3, fill=(0, 0, 256))
    for side in (0, 10_001, 2**31, 2**32 - 1):
        stage = Stage(base=side, band=side, batch_size=1)
        what = "stage" if side else "crop.window"
        yield what, lambda stage=stage: parts.evaluation_transform(IMAGE, stage=stage)
        yield what, lambda stage=stage: parts.training_transform(IMAGE, stage=stage)
    yield "band", lambda: parts.training_transform(IMAGE, stage=Stage(base=32, band=0, batch_size=1))
    yield "size", lambda: bandfeed.decode(DATA, size=2**31)
    yield "size", lambda: bandfeed.resized_crop(IMAGE, (0, 0, 4, 4), (1, 2**32 - 1))
    yield "band", lambda: bandfeed.resized_crop(IMAGE, (0, 0, 4, 4), 8, band=2**31)
    yield "band", lambda: bandfeed.low_frequency_crop(np.zeros((1, 200_000), np.float32), (1, 100_000))
    yield "band", lambda: bandfeed.low_frequency_crop(IMAGE, 2**31, crop="lanczos")
    yield "recipe", lambda: parts.evaluation_transform(IMAGE, recipe="plane")
    yield "recipe.scale", lambda: parts.training_plan(224, recipe={"scale": [0.5, 2.0]})


@pytest.mark.parametrize(("what", "call"), list(argument_errors()))
def test_mistakes_name_the_argument(what, call):
    with pytest.raises(ConfigError) as refused:
        call()
    assert refused.value.what == what
    assert refused.value.reason in str(refused.value)


@pytest.mark.torch
def test_torch_tensors_come_back_as_torch_tensors():
    import torch

    image = torch.from_numpy(IMAGE)
    planes = parts.normalize(image)
    assert isinstance(planes, torch.Tensor) and planes.dtype == torch.float32
    assert (planes.numpy() == parts.normalize(IMAGE)).all()
    weighted = planes.permute(0, 2, 1).requires_grad_()
    cut = bandfeed.low_frequency_crop(weighted, 24)
    assert isinstance(cut, torch.Tensor) and not cut.requires_grad
    assert (cut.numpy() == bandfeed.low_frequency_crop(planes.numpy().transpose(0, 2, 1), 24)).all()
    assert isinstance(bandfeed.resized_crop(image, (0, 0, 9, 9), 4), torch.Tensor)
    assert isinstance(bandfeed.rand_augment(image), torch.Tensor)
    assert isinstance(bandfeed.low_frequency_crop(planes.double(), 24), torch.Tensor)
    with pytest.raises(ConfigError, match=r"permute\(1, 2, 0\)"):
        parts.normalize(image.permute(2, 0, 1))
    for unfit in (planes.bfloat16(), planes.to("meta")):
        with pytest.raises(ConfigError) as refused:
            bandfeed.low_frequency_crop(unfit, 24)
        assert refused.value.what == "x"
