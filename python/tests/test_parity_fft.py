"""The band crop and normalisation against NumPy. Needs nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import PICTURES

from bandfeed import functional as parts
from bandfeed import low_frequency_crop

SIZES = [(224, 96), (224, 160), (224, 192), (224, 224), (224, 95), (97, 64), (33, 16), (64, 63), (9, 1)]


def spectrum_crop(x, band, grid):
    """The definition, in f64: the low frequencies of the spectrum, transformed back."""
    sizes = x.shape[-2:]
    kept = np.fft.fft2(x.astype(np.float64))
    for axis, (size, side) in zip((-2, -1), zip(sizes, band)):
        frequencies = np.arange(side) - side // 2
        kept = np.take(kept, frequencies % size, axis)
        if grid == "half-pixel":
            # Output i moves from N i / B to N (i + 1/2) / B - 1/2.
            turn = np.exp(1j * np.pi * frequencies * (1 / side - 1 / size))
            kept = kept * (turn[:, None] if axis == -2 else turn)
        kept = np.fft.ifftshift(kept, axes=axis)
    return np.fft.ifft2(kept).real * (band[0] * band[1]) / (sizes[0] * sizes[1])


@pytest.mark.parametrize("grid", ["paper", "half-pixel"])
@pytest.mark.parametrize(("size", "band"), SIZES)
def test_the_band_crop_is_the_cropped_spectrum(size, band, grid):
    crop = "fourier" if grid == "paper" else "fourier-half-pixel"
    x = np.random.default_rng(size + band).standard_normal((2, 3, size, size))
    expected = spectrum_crop(x, (band, band), grid)
    assert np.abs(low_frequency_crop(x, band, crop=crop) - expected).max() <= 1e-12
    single = low_frequency_crop(x.astype(np.float32), band, crop=crop)
    assert single.dtype == np.float32
    assert np.abs(single - expected).max() <= 2e-5


@pytest.mark.parametrize("grid", ["paper", "half-pixel"])
@pytest.mark.parametrize(("size", "band"), [((10, 14), (6, 5)), ((9, 14), (4, 6)), ((224, 192), (96, 128)), ((1, 5), (1, 3))])
def test_the_axes_may_differ(size, band, grid):
    crop = "fourier" if grid == "paper" else "fourier-half-pixel"
    x = np.random.default_rng(8).standard_normal(size)
    assert np.abs(low_frequency_crop(x, band, crop=crop) - spectrum_crop(x, band, grid)).max() <= 1e-12


def test_what_the_papers_say_of_it_holds():
    x = np.random.default_rng(3).standard_normal((224, 224))
    assert np.abs(low_frequency_crop(x, 224) - x).max() <= 1e-12
    assert abs(low_frequency_crop(x, 96).mean() - x.mean()) <= 1e-12
    assert np.abs(low_frequency_crop(np.full((64, 64), 7.0), 24) - 7.0).max() <= 1e-12
    n, b = np.arange(224), np.arange(96)
    for frequency, kept in ((0, 1), (17, 1), (47, 1), (49, 0), (100, 0)):
        wave = np.cos(2 * np.pi * frequency * n / 224)[None, :].repeat(224, 0)
        expected = kept * np.cos(2 * np.pi * frequency * b / 96)
        assert np.abs(low_frequency_crop(wave, 96) - expected).max() <= 1e-12, frequency
    edge = np.zeros((224, 224))
    edge[:, 112:] = 1.0
    cut = low_frequency_crop(edge, 96)
    assert cut.min() < -0.05 and cut.max() > 1.05, "overshoot is kept"


def test_the_two_grids_are_not_the_same():
    x = np.random.default_rng(4).standard_normal((64, 64))
    difference = low_frequency_crop(x, 24) - low_frequency_crop(x, 24, crop="fourier-half-pixel")
    assert np.abs(difference).max() > 0.1


def test_it_commutes_with_normalisation_and_mixup():
    image = PICTURES["noise"]
    mean, std = np.array(parts.IMAGENET_MEAN)[:, None, None], np.array(parts.IMAGENET_STD)[:, None, None]
    planes = image.transpose(2, 0, 1) / 255
    first = low_frequency_crop((planes - mean) / std, 32)
    after = (low_frequency_crop(planes, 32) - mean) / std
    assert np.abs(first - after).max() <= 1e-12
    other = planes[:, ::-1]
    mixed = low_frequency_crop(0.3 * planes + 0.7 * other, 32)
    assert np.abs(mixed - 0.3 * low_frequency_crop(planes, 32) - 0.7 * low_frequency_crop(other, 32)).max() <= 1e-12


@pytest.mark.parametrize("name", PICTURES)
def test_normalisation_is_the_formula(name):
    image = PICTURES[name]
    for mean, std in ((parts.IMAGENET_MEAN, parts.IMAGENET_STD), ((0.5, 0.5, 0.5), (0.5, 0.25, 1.0))):
        expected = ((image / 255 - np.array(mean)) / np.array(std)).transpose(2, 0, 1)
        assert np.abs(parts.normalize(image, mean, std) - expected).max() <= 5e-7
