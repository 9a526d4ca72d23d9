"""The parts of the loader alone, on NumPy arrays and torch tensors, to check them against code of your own.

Images are ``(H, W, 3)`` uint8, red green blue, as ``numpy.asarray(image)`` has them of Pillow, and torch tensors in the
same order of axes. A result is a new array, of NumPy unless the argument was a torch tensor (on the CPU; gradients do
not pass). Everything runs on the CPU in one thread, without the interpreter's lock.

NumPy is imported at the first call. Arguments that cannot work raise :class:`bandfeed.ConfigError`, with their name in
``what``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bandfeed import _native
from bandfeed._arrays import Box, Size, box_of, color_of, config_error, from_bytes, pixels_of, sides_of, three, to_numpy
from bandfeed._native import Stage
from bandfeed.loader import Path, _recipe

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "IMAGENET_FILL",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Operation",
    "Plan",
    "apply_operation",
    "apply_operations",
    "decode",
    "draw_operations",
    "evaluation_transform",
    "low_frequency_crop",
    "normalize",
    "rand_augment",
    "resized_crop",
    "training_plan",
    "training_transform",
]

Crop = Literal["fourier", "fourier-half-pixel", "lanczos"]
Filter = Literal["bilinear", "bicubic", "lanczos3"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of ImageNet's pixels by channel, in 0 to 1."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's pixels by channel, in 0 to 1."""
IMAGENET_FILL = (124, 116, 104)
"""The mean in 8 bits: what geometric operations put where there is no image."""


class Operation(NamedTuple):
    """One augmentation with its final argument."""

    name: str
    """See :func:`apply_operation`."""
    argument: float | None = None
    """Degrees, factor, share, bits, threshold or radius."""
    interpolation: str | None = None
    """Of the geometric ones: ``"nearest"``, ``"bilinear"`` or ``"bicubic"``."""


class Plan(NamedTuple):
    """What the loader draws for a training sample."""

    box: Box
    """The random resized crop: x, y, width, height in pixels."""
    flip: bool
    """Whether it is mirrored left to right."""
    operations: list[Operation]
    """Augmentations in their order."""


def decode(
    data: bytes | Path,
    *,
    region: Box | None = None,
    size: Size | None = None,
    filter: Filter = "bicubic",
    fidelity: Literal["fast", "exact"] = "fast",
    strict: bool = False,
    max_pixels: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Decodes a JPEG, PNG, WebP, GIF, BMP, TIFF or packed record, upright (its EXIF orientation is applied).

    Args:
        data: the encoded bytes, or the path of a file.
        region: ``(x, y, width, height)`` of the upright image: only what it needs is decoded. ``None`` is the whole.
        size: side, or (height, width), that the region is resized to; no pixel outside of the region is looked at.
        filter: of the resize, antialiased.
        fidelity: with a ``size`` much smaller than the region, ``"fast"`` decodes a JPEG at M/8 (some 50 dB of the
            other). ``"exact"`` decodes all and resizes as Pillow does. Without a ``size`` both give libjpeg-turbo's
            pixels.
        strict: whether a damaged file that still gives an image is an error; else it is logged.
        max_pixels: more are refused before memory is taken; ``None`` is 100 megapixels.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        DecodeError: there is no image in the data, or a larger one than is allowed.
        IoError: the file cannot be read.
        ConfigError: the region does not lie in the image, or a size is 0.
    """
    given = bytes(data) if isinstance(data, (bytes, bytearray, memoryview)) else os.fspath(data)
    to = None if size is None else sides_of(size)
    part = None if region is None else box_of(region, "region")
    height, width, pixels = _native.decode(given, part, to, filter, fidelity, strict, max_pixels)
    array: npt.NDArray[np.uint8] = from_bytes(pixels, "uint8", (height, width, 3), False)
    return array


def resized_crop(image: Any, box: Box, size: Size, *, filter: Filter = "bicubic", band: int | None = None) -> Any:
    """Cuts a box out of an image and resizes it, byte by byte as Pillow does (``image.crop(...).resize(...)``).

    Args:
        image: ``(H, W, 3)`` uint8.
        box: ``(x, y, width, height)`` in pixels.
        size: side, or (height, width), that the box is resized to.
        filter: antialiased.
        band: side that the result is then cut to by a Lanczos-3 resize, as EfficientTrain++ does.

    Returns:
        ``(height, width, 3)`` uint8, or ``(band, band, 3)``.

    Raises:
        ConfigError: the box does not lie in the image, or a size is 0.
    """
    array, is_torch = to_numpy(image, "image")
    to = sides_of(size)
    out = _native.resized_crop(*pixels_of(array), box_of(box, "box"), to, filter, band)
    return from_bytes(out, "uint8", (*(to if band is None else (band, band)), 3), is_torch)


def low_frequency_crop(x: Any, band: Size, *, crop: Crop = "fourier") -> Any:
    """The band crop: an image reduced to its low frequencies.

    ``low_frequency_crop(x, stage.band, crop=stage.crop)`` is what the loader does in a stage. ``"fourier"`` is the
    papers' crop of the spectrum: the real part of the inverse transform of the frequencies ``-(B // 2)`` to
    ``(B - 1) // 2``, scaled so that means are kept. ``"fourier-half-pixel"`` is the same on the grid of resizers, where
    the first sample is half an output pixel from the border. Neither clamps. ``"lanczos"`` is an antialiased Lanczos-3
    resize of 8-bit pixels.

    Args:
        x: ``(..., H, W)`` float32 or float64, which is also what it is computed in; for ``"lanczos"``
            ``(..., H, W, 3)`` uint8.
        band: B, side of the result, at most H and W; or (height, width). Odd ones are honoured.
        crop: how it is cut.

    Returns:
        ``(..., B, B)`` of the type of ``x``; for ``"lanczos"`` ``(..., B, B, 3)``.

    Raises:
        ConfigError: the band is 0 or too large, or ``x`` is of another type or has too few axes.
    """
    array, is_torch = to_numpy(x, "x")
    channels = (3,) if crop == "lanczos" else ()
    lead = array.ndim - 2 - len(channels)
    if lead < 0 or array.shape[lead + 2 :] != channels:
        raise config_error("x", f"shape {array.shape}: expected (..., H, W{', 3' if channels else ''})")
    height, width = array.shape[lead : lead + 2]
    to = sides_of(band, "band")
    out = _native.low_frequency_crop(array.tobytes(), array.dtype.name, (height, width), to, crop)
    return from_bytes(out, array.dtype.name, (*array.shape[:lead], *to, *channels), is_torch)


def normalize(image: Any, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> Any:
    """``(image / 255 - mean) / std`` by channel, as planes.

    Args:
        image: ``(..., H, W, 3)`` uint8.
        mean: of values in 0 to 1, three numbers.
        std: likewise, above 0.

    Returns:
        ``(..., 3, H, W)`` float32.
    """
    array, is_torch = to_numpy(image, "image")
    pixels, (height, width) = pixels_of(array, batched=True)
    out = _native.normalize(pixels, (height, width), three(mean, "mean"), three(std, "std"))
    return from_bytes(out, "float32", (*array.shape[:-3], 3, height, width), is_torch)


def evaluation_transform(
    image: Any, size: int = 224, *, stage: Stage | None = None, recipe: Path | Mapping[str, Any] = "plain"
) -> Any:
    """Resize of the shorter side, centre crop and normalisation, as the loader evaluates: Pillow's pixels.

    Args:
        image: ``(H, W, 3)`` uint8.
        size: side of the result.
        stage: in place of ``size``. With a Lanczos band the image is resized straight to ``stage.band`` pixels; with a
            Fourier band that is cut from ``stage.base`` pixels.
        recipe: as of :class:`bandfeed.Loader`: ``eval_crop_ratio``, ``filter``, ``mean`` and ``std`` are used.

    Returns:
        ``(3, B, B)`` float32.
    """
    array, is_torch = to_numpy(image, "image")
    stage = _stage(size) if stage is None else stage
    out = _native.evaluation_transform(*pixels_of(array), stage, _recipe(recipe))
    return from_bytes(out, "float32", (3, stage.band, stage.band), is_torch)


def training_plan(
    size: Size,
    *,
    recipe: Path | Mapping[str, Any] = "plain",
    stage: Stage | None = None,
    seed: int = 0,
    epoch: int = 0,
    position: int = 0,
    magnitude: float | None = None,
) -> Plan:
    """What the loader draws for the sample at a position of an epoch: a pure function of its arguments.

    Args:
        size: side, or (height, width), of the decoded image.
        recipe: as of :class:`bandfeed.Loader`.
        stage: the stage; ``None`` is one of 224 pixels, not cut to a band.
        seed: of the run.
        epoch: pass over the data set, from 0.
        position: place in the epoch's order, from 0.
        magnitude: RandAugment's mean; ``None`` is the recipe's at the beginning of the stage.
    """
    sample = (seed, epoch, position)
    stage = _stage(224) if stage is None else stage
    box, flip, operations = _native.training_plan(sides_of(size), stage, _recipe(recipe), sample, magnitude)
    return Plan(box, flip, [Operation(*operation) for operation in operations])


def training_transform(
    image: Any,
    *,
    recipe: Path | Mapping[str, Any] = "plain",
    stage: Stage | None = None,
    seed: int = 0,
    epoch: int = 0,
    position: int = 0,
    magnitude: float | None = None,
) -> Any:
    """What the loader makes of a training sample: :func:`training_plan`, run on the image.

    The loader's values are the same where it decodes at full scale (``fidelity = "exact"`` in the recipe). Mixing and
    replay concern batches and are left out.

    Args:
        image: ``(H, W, 3)`` uint8.
        recipe: as the others, those of :func:`training_plan`.

    Returns:
        ``(3, B, B)`` float32, B = ``stage.band``.
    """
    array, is_torch = to_numpy(image, "image")
    stage = _stage(224) if stage is None else stage
    sample = (seed, epoch, position)
    out = _native.training_transform(*pixels_of(array), stage, _recipe(recipe), sample, magnitude)
    return from_bytes(out, "float32", (3, stage.band, stage.band), is_torch)


def draw_operations(
    policy: str = "rand-m9-mstd0.5-inc1",
    *,
    seed: int = 0,
    epoch: int = 0,
    position: int = 0,
    magnitude: float | None = None,
    interpolation: Interpolation | Literal["random"] = "bicubic",
    size: Size = 224,
) -> list[Operation]:
    """What an augmentation policy draws for the sample at a position of an epoch: a pure function of its arguments.

    Args:
        policy: in timm's form: ``rand-...``, ``original``, ``v0``, ``3a``, ``ta_wide`` and their like.
        seed: of the run.
        epoch: pass over the data set, from 0.
        position: place in the epoch's order, from 0.
        magnitude: RandAugment's mean; ``None`` is the policy's own ``m``.
        interpolation: of geometric operations; ``"random"`` draws bilinear or bicubic for each.
        size: side, or (height, width), of the image: ``ta_wide`` translates by pixels.
    """
    drawn = _native.draw_operations(policy, (seed, epoch, position), magnitude, interpolation, sides_of(size))
    return [Operation(*operation) for operation in drawn]


def apply_operations(image: Any, operations: Sequence[Operation], *, fill: tuple[int, int, int] = IMAGENET_FILL) -> Any:
    """Applies operations in their order.

    Args:
        image: ``(H, W, 3)`` uint8.
        operations: as of :func:`draw_operations`.
        fill: colour where geometric operations leave no image, three numbers in 0 to 255.

    Returns:
        ``(H, W, 3)`` uint8. Pillow's bytes, but for bilinear and bicubic geometry, where a value may be the next one.
    """
    array, is_torch = to_numpy(image, "image")
    checked = (Operation(*operation) for operation in operations)
    named = [(operation.name, operation.argument, operation.interpolation) for operation in checked]
    out = _native.apply_operations(*pixels_of(array), named, color_of(fill, "fill"))
    return from_bytes(out, "uint8", array.shape, is_torch)


def apply_operation(
    image: Any,
    name: str,
    argument: float | None = None,
    *,
    interpolation: Interpolation = "bicubic",
    fill: tuple[int, int, int] = IMAGENET_FILL,
) -> Any:
    """Applies one operation.

    ============================================= ===================================================================
    ``AutoContrast Equalize Invert Grayscale``    take no argument
    ``Posterize``                                 bits kept, 0 to 8
    ``Solarize``                                  least value that is inverted, 0 to 256
    ``SolarizeAdd``                               what is added to values below 128, 0 to 255
    ``Color Contrast Brightness Sharpness``       factor of the blend; 1 is the image
    ``Rotate``                                    degrees, counter-clockwise
    ``ShearX ShearY``                             pixels per pixel
    ``TranslateX TranslateY``                     share of the width or height; above 0 to the left, up
    ``GaussianBlur``                              standard deviation in pixels, as of Pillow's ``GaussianBlur``
    ``Hue``                                       share of a turn, -0.5 to 0.5
    ============================================= ===================================================================

    Args:
        image: ``(H, W, 3)`` uint8.
        name: of the table.
        argument: of the table.
        interpolation: of ``Rotate``, the shears and the translations.
        fill: colour where they leave no image.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    return apply_operations(image, [Operation(name, argument, interpolation)], fill=fill)


def rand_augment(
    image: Any,
    policy: str = "rand-m9-mstd0.5-inc1",
    *,
    seed: int = 0,
    epoch: int = 0,
    position: int = 0,
    magnitude: float | None = None,
    interpolation: Interpolation | Literal["random"] = "bicubic",
    fill: tuple[int, int, int] = IMAGENET_FILL,
) -> Any:
    """:func:`draw_operations` and :func:`apply_operations` in one.

    Args:
        image: ``(H, W, 3)`` uint8.
        policy: as the others, those of :func:`draw_operations`.
        fill: colour where geometric operations leave no image.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    array, is_torch = to_numpy(image, "image")
    pixels, sides = pixels_of(array)
    drawn = _native.draw_operations(policy, (seed, epoch, position), magnitude, interpolation, sides)
    return from_bytes(_native.apply_operations(pixels, sides, drawn, color_of(fill, "fill")), "uint8", array.shape, is_torch)


def _stage(size: int) -> Stage:
    """A stage that leaves images of this size as they are."""
    return Stage(base=size, band=size, batch_size=1)
