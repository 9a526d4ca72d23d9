"""Against what a training script uses now: torch.fft, torchvision and timm, by their own code."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest
from pictures import PICTURES, distance, photograph

import bandfeed
from bandfeed import Stage
from bandfeed import functional as parts

pytestmark = pytest.mark.torch

# Samples that distributions are compared by.
DRAWS = 4000


@pytest.fixture(scope="module")
def torch():
    import torch

    return torch


@pytest.fixture(scope="module")
def auto_augment():
    import timm.data.auto_augment

    return timm.data.auto_augment


@pytest.fixture(scope="module")
def transforms():
    import torchvision.transforms

    return torchvision.transforms


@pytest.fixture(scope="module")
def from_array():
    import PIL.Image

    return PIL.Image.fromarray


# ---------------------------------------------------------------- band crop


def low_freq_crop(torch, images, band):
    """EfficientTrain's form: the centred spectrum's middle, transformed back."""
    height, width = images.shape[-2:]
    spectrum = torch.fft.fftshift(torch.fft.fft2(images), dim=(-2, -1))
    top, left = height // 2 - band // 2, width // 2 - band // 2
    kept = spectrum[..., top : top + band, left : left + band]
    cropped = torch.fft.ifft2(torch.fft.ifftshift(kept, dim=(-2, -1))).real
    return cropped * (band * band) / (height * width)


@pytest.mark.parametrize("band", [96, 128, 160, 192, 224, 95])
def test_the_band_crop_is_the_papers(torch, band):
    generator = torch.Generator().manual_seed(band)
    images = torch.randn(2, 3, 224, 224, generator=generator)
    expected = low_freq_crop(torch, images.double(), band)
    assert (bandfeed.low_frequency_crop(images.double(), band) - expected).abs().max() <= 1e-12
    ours = bandfeed.low_frequency_crop(images, band)
    assert (ours - expected).abs().max() <= 2e-5
    # As near to the exact values as torch's own f32.
    theirs = low_freq_crop(torch, images, band)
    assert (ours - theirs).abs().max() <= 2e-5


def test_a_fourier_evaluation_is_the_papers(torch):
    image = photograph(375, 500)
    base = torch.from_numpy(parts.evaluation_transform(image, 224))
    for band in (96, 160, 192):
        stage = Stage(base=224, band=band, batch_size=1, crop="fourier")
        ours = parts.evaluation_transform(torch.from_numpy(image), stage=stage)
        assert (ours - low_freq_crop(torch, base.double(), band)).abs().max() <= 2e-5


# ---------------------------------------------------------------- crop, flip, evaluation


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 333), (256, 256), (300, 100)])
def test_random_resized_crops_are_distributed_as_torchvisions(torch, transforms, height, width):
    torch.manual_seed(5)
    image = torch.empty(3, height, width)
    theirs = [transforms.RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(DRAWS)]
    plans = [parts.training_plan((height, width), seed=1, position=position) for position in range(DRAWS)]
    theirs = np.array(theirs, float)[:, [1, 0, 3, 2]]
    ours = np.array([plan.box for plan in plans], float)
    measures = {
        "area": lambda box: box[:, 2] * box[:, 3],
        "aspect": lambda box: np.log(box[:, 2] / box[:, 3]),
        "left": lambda box: box[:, 0],
        "top": lambda box: box[:, 1],
        "right": lambda box: width - box[:, 0] - box[:, 2],
        "bottom": lambda box: height - box[:, 1] - box[:, 3],
    }
    for name, measure in measures.items():
        assert distance(measure(ours), measure(theirs)) < 1, name
    flips = sum(plan.flip for plan in plans)
    assert abs(flips - DRAWS / 2) < 5 * math.sqrt(DRAWS / 4)
    # The comparison tells other ranges apart.
    other = [parts.training_plan((height, width), recipe={"scale": [0.2, 1.0]}, position=i).box for i in range(DRAWS)]
    assert distance(measures["area"](np.array(other, float)), measures["area"](theirs)) > 1


@pytest.mark.parametrize(("height", "width"), [(90, 1000), (1000, 90), (50, 200)])
def test_images_too_long_for_a_crop_get_torchvisions_central_one(torch, transforms, height, width):
    image = torch.empty(3, height, width)
    top, left, h, w = transforms.RandomResizedCrop.get_params(image, [1.0, 1.0], [3 / 4, 4 / 3])
    assert parts.training_plan((height, width), recipe={"scale": [1.0, 1.0]}).box == (left, top, w, h)


def test_a_training_crop_is_torchvisions_resized_crop(transforms, from_array):
    functional = transforms.functional
    image = photograph(200, 260)
    for position in range(20):
        plan = parts.training_plan((200, 260), position=position)
        x, y, width, height = plan.box
        bicubic = transforms.InterpolationMode.BICUBIC
        expected = functional.resized_crop(from_array(image), y, x, height, width, [224, 224], bicubic)
        expected = functional.hflip(expected) if plan.flip else expected
        expected = functional.normalize(functional.to_tensor(expected), parts.IMAGENET_MEAN, parts.IMAGENET_STD)
        ours = parts.training_transform(image, recipe={"fuse": False}, position=position)
        assert np.abs(ours - expected.numpy()).max() <= 1e-6


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 375), (300, 301), (301, 300), (97, 100), (61, 500)])
@pytest.mark.parametrize("size", [96, 160, 224])
def test_evaluation_is_torchvisions_and_timms(transforms, from_array, height, width, size):
    import timm.data

    image = photograph(height, width)
    bicubic = transforms.InterpolationMode.BICUBIC
    torchvisions = transforms.Compose(
        [
            transforms.Resize(int(size / 0.875), bicubic),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(parts.IMAGENET_MEAN, parts.IMAGENET_STD),
        ]
    )
    timms = timm.data.create_transform(size, is_training=False, interpolation="bicubic", crop_pct=0.875)
    ours = parts.evaluation_transform(image, size)
    for theirs in (torchvisions, timms):
        assert np.abs(ours - theirs(from_array(image)).numpy()).max() <= 1e-6


def test_normalisation_is_torchvisions_and_timms(torch, transforms):
    import timm.data.constants

    assert parts.IMAGENET_MEAN == timm.data.constants.IMAGENET_DEFAULT_MEAN
    assert parts.IMAGENET_STD == timm.data.constants.IMAGENET_DEFAULT_STD
    for image in PICTURES.values():
        values = torch.from_numpy(image).permute(2, 0, 1) / 255
        expected = transforms.functional.normalize(values, parts.IMAGENET_MEAN, parts.IMAGENET_STD)
        assert (parts.normalize(torch.from_numpy(image)) - expected).abs().max() <= 1e-6


# ---------------------------------------------------------------- RandAugment

NAMES = {
    "PosterizeIncreasing": "Posterize",
    "SolarizeIncreasing": "Solarize",
    "ColorIncreasing": "Color",
    "ContrastIncreasing": "Contrast",
    "BrightnessIncreasing": "Brightness",
    "SharpnessIncreasing": "Sharpness",
    "TranslateXRel": "TranslateX",
    "TranslateYRel": "TranslateY",
}


def argument_of(arguments):
    """timm's arguments of an operation, of which SolarizeAdd has a second that is always 128."""
    return float(arguments[0]) if arguments else None


def rounded(operation):
    argument = operation[1]
    return operation[0], None if argument is None else round(argument, 5)


def timms(auto_augment, name, magnitude, sign):
    """timm's argument at a magnitude, on one side."""
    level = auto_augment.LEVEL_TO_ARG[name]
    held = random.random
    random.random = lambda: 1.0 if sign > 0 else 0.0
    try:
        return () if level is None else level(magnitude, {})
    finally:
        random.random = held


@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("magnitude", range(11))
def test_operations_and_their_arguments_are_timms(auto_augment, magnitude, increasing):
    names = auto_augment._RAND_INCREASING_TRANSFORMS if increasing else auto_augment._RAND_TRANSFORMS
    expected = {
        rounded((NAMES.get(name, name), argument_of(timms(auto_augment, name, magnitude, sign))))
        for name in names
        for sign in (1, -1)
    }
    policy = f"rand-m{magnitude}-n1-p1" + ("-inc1" if increasing else "")
    drawn = {rounded(parts.draw_operations(policy, position=position)[0][:2]) for position in range(800)}
    # A factor is held in f32, and 0 and -0 are one number.
    assert {name for name, _ in drawn} == {name for name, _ in expected}
    for mine, theirs in zip(sorted(drawn, key=str), sorted(expected, key=str)):
        assert mine[0] == theirs[0] and mine[1] == pytest.approx(theirs[1], abs=1e-5)
    assert len(drawn) == len(expected)


@pytest.mark.parametrize("magnitude", [1, 4, 9, 10])
@pytest.mark.parametrize("picture", PICTURES)
def test_operations_are_timms_pixel_by_pixel(auto_augment, from_array, picture, magnitude):
    import PIL.Image

    image = from_array(PICTURES[picture])
    samplings = {"bilinear": PIL.Image.Resampling.BILINEAR, "bicubic": PIL.Image.Resampling.BICUBIC}
    geometry = {"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"}
    for name in auto_augment._RAND_INCREASING_TRANSFORMS:
        for sign in (1, -1):
            arguments = timms(auto_augment, name, magnitude, sign)
            if NAMES.get(name) == "Posterize" and arguments[0] == 0:
                continue  # Pillow 13 refuses it.
            for interpolation in samplings if name in geometry else ("bicubic",):
                expected = auto_augment.NAME_TO_OP[name](
                    image, *arguments, fillcolor=parts.IMAGENET_FILL, resample=samplings[interpolation]
                )
                ours = parts.apply_operation(
                    PICTURES[picture], NAMES.get(name, name), argument_of(arguments), interpolation=interpolation
                )
                difference = np.abs(ours.astype(int) - np.asarray(expected)).max()
                assert difference <= (1 if name in geometry else 0), (name, arguments, interpolation)


def test_noisy_magnitudes_are_distributed_as_timms(auto_augment):
    random.seed(3)
    rotate = auto_augment.AugmentOp("Rotate", prob=1.0, magnitude=9, hparams={"magnitude_std": 0.5})
    rotate.aug_fn = lambda image, degrees, **_: degrees
    theirs = [rotate(None) for _ in range(DRAWS)]

    def degrees(policy):
        drawn = (parts.draw_operations(policy, position=position) for position in range(16 * DRAWS))
        return [operation.argument for sample in drawn for operation in sample if operation.name == "Rotate"]

    ours = degrees("rand-m9-mstd0.5-inc1-n1-p1")
    assert len(ours) > DRAWS / 2
    assert distance(ours, theirs) < 1
    assert distance(degrees("rand-m9-mstd1-inc1-n1-p1"), theirs) > 1


def test_choices_are_uniform_and_applied_as_often_as_timms(auto_augment):
    count = 8 * DRAWS
    samples = [parts.draw_operations("rand-m9-mstd0.5-inc1", position=position) for position in range(count)]
    lengths = Counter(len(sample) for sample in samples)
    for length, share in {0: 0.25, 1: 0.5, 2: 0.25}.items():
        assert abs(lengths[length] - share * count) < 5 * math.sqrt(count * share * (1 - share))
    names = Counter(operation.name for sample in samples for operation in sample)
    own = auto_augment.rand_augment_transform("rand-m9-mstd0.5-inc1", {})
    assert set(names) == {NAMES.get(op.name, op.name) for op in own.ops}
    assert own.num_layers == 2 and {op.prob for op in own.ops} == {0.5} and own.choice_weights is None
    for name, times in names.items():
        assert abs(times - count / 15) < 5 * math.sqrt(count / 15), name
