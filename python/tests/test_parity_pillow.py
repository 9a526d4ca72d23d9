"""Decoding, resizes, evaluation and operations against Pillow's."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pictures import PICTURES, noise, photograph

import bandfeed
from bandfeed import Stage
from bandfeed import functional as parts

pytestmark = pytest.mark.pillow

FACTORS = (0.0, 0.1, 0.19, 0.5, 0.73, 1.0, 1.3, 1.81, 2.5)
GEOMETRY = {
    "Rotate": (0.0, 0.3, -3.7, 17.5, -27.0, 30.0, 90.0, 135.5, 180.0, 400.0),
    "ShearX": (0.0, 0.013, -0.09, 0.27, -0.3, 0.99),
    "ShearY": (0.0, 0.013, -0.09, 0.27, -0.3, 0.99),
    "TranslateX": (0.0, 0.001, -0.0314, 0.125, 0.405, -0.45, 1.0),
    "TranslateY": (0.0, 0.001, -0.0314, 0.125, 0.405, -0.45, 1.0),
}


@pytest.fixture(scope="module")
def pillow():
    import PIL.Image
    import PIL.ImageEnhance
    import PIL.ImageFilter
    import PIL.ImageOps

    return PIL


def encoded(pillow, image, **options):
    file = io.BytesIO()
    pillow.Image.fromarray(image).save(file, **options)
    return file.getvalue()


def opened(pillow, data):
    image = pillow.Image.open(io.BytesIO(data))
    return np.asarray(pillow.ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_are_decoded_to_pillows_pixels(pillow, subsampling, progressive):
    for height, width in ((48, 64), (33, 17), (1, 1), (101, 203)):
        data = encoded(
            pillow,
            photograph(height, width, width),
            format="JPEG",
            quality=85,
            subsampling=subsampling,
            progressive=progressive,
        )
        expected = opened(pillow, data)
        assert (bandfeed.decode(data) == expected).all()
        box = (width // 3, height // 4, max(1, width // 2), max(1, height // 2))
        x, y, w, h = box
        assert (bandfeed.decode(data, region=box) == expected[y : y + h, x : x + w]).all()


def test_other_formats_and_colours_too(pillow):
    image = photograph(40, 31)
    for options in ({"format": "PNG"}, {"format": "BMP"}, {"format": "TIFF"}, {"format": "WEBP", "lossless": True}):
        data = encoded(pillow, image, **options)
        assert (bandfeed.decode(data) == opened(pillow, data)).all(), options
    for mode in ("L", "CMYK"):
        file = io.BytesIO()
        pillow.Image.fromarray(image).convert(mode).save(file, "JPEG")
        assert (bandfeed.decode(file.getvalue()) == opened(pillow, file.getvalue())).all(), mode


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_applied(pillow, orientation):
    exif = pillow.Image.Exif()
    exif[0x0112] = orientation
    data = encoded(pillow, photograph(24, 40), format="JPEG", exif=exif)
    assert (bandfeed.decode(data) == opened(pillow, data)).all()


def test_exact_fidelity_is_decode_crop_and_resize(pillow):
    data = encoded(pillow, photograph(300, 400), format="JPEG", quality=90)
    whole = pillow.Image.fromarray(opened(pillow, data))
    box = (20, 10, 330, 280)
    resized = whole.crop((20, 10, 350, 290)).resize((40, 32), pillow.Image.Resampling.BICUBIC)
    exact = bandfeed.decode(data, region=box, size=(32, 40), fidelity="exact")
    assert (exact == np.asarray(resized)).all()
    fast = bandfeed.decode(data, region=box, size=(32, 40))
    assert (fast != exact).any(), "it is decoded at a reduced scale"
    error = np.mean((fast.astype(float) - exact) ** 2)
    assert 10 * np.log10(255**2 / error) > 35


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "lanczos3"])
def test_resized_crops_are_pillows_byte_by_byte(pillow, name):
    resampling = {"bilinear": "BILINEAR", "bicubic": "BICUBIC", "lanczos3": "LANCZOS"}[name]
    resampling = pillow.Image.Resampling[resampling]
    rng = np.random.default_rng(1)
    for picture in (photograph(120, 160), noise(120, 160)):
        for _ in range(20):
            width, height = int(rng.integers(1, 161)), int(rng.integers(1, 121))
            x, y = int(rng.integers(0, 161 - width)), int(rng.integers(0, 121 - height))
            size = int(rng.integers(1, 100)), int(rng.integers(1, 100))
            expected = pillow.Image.fromarray(picture).crop((x, y, x + width, y + height)).resize(size[::-1], resampling)
            ours = bandfeed.resized_crop(picture, (x, y, width, height), size, filter=name)
            assert (ours == np.asarray(expected)).all(), (x, y, width, height, size)


def test_the_lanczos_band_is_a_lanczos_resize(pillow):
    batch = np.stack([photograph(224, 224), noise(224, 224)])
    for band in (96, 128, 160, 192, 97, 224):
        expected = [pillow.Image.fromarray(image).resize((band, band), pillow.Image.Resampling.LANCZOS) for image in batch]
        assert (bandfeed.low_frequency_crop(batch, band, crop="lanczos") == np.stack(expected)).all()
    image = photograph(300, 400)
    cropped = bandfeed.resized_crop(image, (50, 40, 200, 150), 224)
    band = bandfeed.resized_crop(image, (50, 40, 200, 150), 224, band=96)
    assert (band == bandfeed.low_frequency_crop(cropped, 96, crop="lanczos")).all()


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 375), (224, 224), (256, 256), (100, 90), (61, 1000)])
def test_evaluation_is_resize_and_centre_crop(pillow, height, width):
    image = photograph(height, width)
    for size in (96, 160, 192, 224):
        shorter = int(size / 0.875)
        scaled = (shorter, shorter * height // width) if width <= height else (shorter * width // height, shorter)
        resized = pillow.Image.fromarray(image).resize(scaled, pillow.Image.Resampling.BICUBIC)
        left, top = round((scaled[0] - size) / 2), round((scaled[1] - size) / 2)
        expected = parts.normalize(np.asarray(resized.crop((left, top, left + size, top + size))))
        assert (parts.evaluation_transform(image, size) == expected).all()
        lanczos = Stage(base=224, band=size, batch_size=1, crop="lanczos")
        assert (parts.evaluation_transform(image, stage=lanczos) == expected).all()


def operations(pillow, image):
    """Name, argument and Pillow's own, of every operation on the values."""
    ops, enhance = pillow.ImageOps, pillow.ImageEnhance
    yield "AutoContrast", None, lambda: ops.autocontrast(image)
    yield "Equalize", None, lambda: ops.equalize(image)
    yield "Invert", None, lambda: ops.invert(image)
    yield "Grayscale", None, lambda: image.convert("L").convert("RGB")
    # 0 bits are black here, and refused by Pillow from 13 on.
    for bits in range(1, 9):
        yield "Posterize", bits, lambda bits=bits: ops.posterize(image, bits)
    for threshold in (0, 1, 26, 128, 255, 256):
        yield "Solarize", threshold, lambda threshold=threshold: ops.solarize(image, threshold)
    for add in (0, 1, 55, 110, 128):
        table = [min(255, value + add) if value < 128 else value for value in range(256)]
        yield "SolarizeAdd", add, lambda table=table: image.point(table * 3)
    for name in ("Color", "Contrast", "Brightness", "Sharpness"):
        for factor in FACTORS:
            yield name, factor, lambda name=name, factor=factor: getattr(enhance, name)(image).enhance(factor)
    for radius in (0.1, 0.3, 0.8, 1.0, 1.37, 2.0, 5.5):
        yield "GaussianBlur", radius, lambda radius=radius: image.filter(pillow.ImageFilter.GaussianBlur(radius))


@pytest.mark.parametrize("picture", PICTURES)
def test_operations_on_values_are_pillows_byte_by_byte(pillow, picture):
    source = PICTURES[picture]
    seen = set()
    for name, argument, expected in operations(pillow, pillow.Image.fromarray(source)):
        seen.add(name)
        ours = parts.apply_operation(source, name, argument)
        assert (ours == np.asarray(expected())).all(), (name, argument)
    assert len(seen) == 12


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("picture", PICTURES)
def test_geometry_is_pillows_within_one_grey_level(pillow, picture, interpolation):
    source = PICTURES[picture]
    image = pillow.Image.fromarray(source)
    width, height = image.size
    resampling = pillow.Image.Resampling[interpolation.upper()]
    matrices = {
        "ShearX": lambda share: (1, share, 0, 0, 1, 0),
        "ShearY": lambda share: (1, 0, 0, share, 1, 0),
        "TranslateX": lambda share: (1, 0, share * width, 0, 1, 0),
        "TranslateY": lambda share: (1, 0, 0, 0, 1, share * height),
    }
    for name, values in GEOMETRY.items():
        for value in values:
            if name == "Rotate":
                expected = image.rotate(value, resampling, fillcolor=parts.IMAGENET_FILL)
            else:
                affine = pillow.Image.Transform.AFFINE
                expected = image.transform(image.size, affine, matrices[name](value), resampling, fillcolor=parts.IMAGENET_FILL)
            ours = parts.apply_operation(source, name, value, interpolation=interpolation)
            difference = np.abs(ours.astype(int) - np.asarray(expected)).max()
            assert difference <= (0 if interpolation == "nearest" else 1), (name, value)


def test_no_bits_are_black():
    assert (parts.apply_operation(PICTURES["scene"], "Posterize", 0) == 0).all()
