"""The low-frequency crop in pictures: what a model sees at each band, its spectrum, and what tells the two grids apart.

    python low_frequency_crop.py [IMAGE]        writes low_frequency_crop.png

The cells can be run one by one in an editor or as a notebook (``jupytext --to ipynb``). Needs NumPy and Pillow.
"""

# %% [markdown]
# # The low-frequency crop
#
# EfficientTrain shows a model the low frequencies of an image first. The middle B x B of the image's spectrum, transformed
# back, is an image of B x B pixels: everything up to the edge of the square is kept, nothing beyond. A step of training costs
# (B / 224)^2 of one at the base size.

# %%
from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

import bandfeed
from bandfeed import functional as parts

IMAGE = sys.argv[1] if len(sys.argv) == 2 and "ipykernel" not in sys.modules else None  # or the path of a picture
OUT = "low_frequency_crop.png"
BASE = 224
BANDS = (224, 160, 96, 48)

Values = npt.NDArray[np.float64]


# %% [markdown]
# ## An image
#
# A photograph of yours, or waves of all directions whose frequency grows from the middle to the border: an image with every
# frequency at a place of its own.


# %%
def rings() -> Values:
    """(3, BASE, BASE), 0 to 1: the frequency at a distance r from the middle is r / BASE of the highest."""
    y, x = np.mgrid[0:BASE, 0:BASE] - (BASE - 1) / 2
    phase = np.pi * (x**2 + y**2) / BASE
    return np.stack([0.5 + 0.5 * np.cos(phase + shift) for shift in (0.0, 2.1, 4.2)])


def photograph(path: str) -> Values:
    """The picture's middle, as evaluation sees it."""
    pixels = parts.evaluation_transform(bandfeed.decode(path), BASE, recipe={"mean": [0, 0, 0], "std": [1, 1, 1]})
    return np.asarray(pixels, np.float64)


image = rings() if IMAGE is None else photograph(IMAGE)
print(image.shape, image.dtype)

# %% [markdown]
# ## Its bands
#
# `low_frequency_crop` takes `(..., H, W)` and gives `(..., B, B)`. Means are kept, and so are frequencies: a wave that goes
# up and down k times across the image does so k times across the band.

# %%
bands = {band: bandfeed.low_frequency_crop(image, band) for band in BANDS}
for band, values in bands.items():
    print(f"B = {band:3}: {values.shape}, mean {values.mean():.6f}, {values.min():+.3f} to {values.max():+.3f}")

# %% [markdown]
# The definition in NumPy gives the same to the last digits:

# %%
band = 96
middle = slice(BASE // 2 - band // 2, BASE // 2 - band // 2 + band)
spectrum = np.fft.fftshift(np.fft.fft2(image), axes=(-2, -1))[..., middle, middle]
defined = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(-2, -1))).real * (band / BASE) ** 2
difference = float(np.abs(defined - bands[band]).max())
print(f"largest difference from numpy.fft at B = {band}: {difference:.1e}")
assert difference < 1e-12

# %% [markdown]
# ## Grids
#
# The papers' samples sit at `i N / B`, a resizer's at `(i + 1/2) N / B - 1/2`. The half-pixel grid is the same band moved by the
# difference, and the one to compare with a resize:

# %%
lanczos = bandfeed.low_frequency_crop((image.transpose(1, 2, 0) * 255).round().clip(0, 255).astype(np.uint8), 96, crop="lanczos")
for crop in ("fourier", "fourier-half-pixel"):
    values = bandfeed.low_frequency_crop(image, 96, crop=crop)
    error = float(np.sqrt(np.mean((values - lanczos.transpose(2, 0, 1) / 255) ** 2)))
    print(f"{crop} against a Lanczos resize: {-20 * np.log10(error):.1f} dB")

# %% [markdown]
# ## In a picture
#
# Above: the bands, enlarged pixel by pixel to the same size. Below: their spectra, logarithmic, as far as that of the base
# reaches; what is black has been cut away.


# %%
def pixels(values: Values) -> Image.Image:
    """Planes of 0 to 1 as an image of the base size."""
    bytes_ = (values.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(bytes_)).resize((BASE, BASE), Image.Resampling.NEAREST)


def power(values: Values) -> Image.Image:
    """The spectrum's magnitudes, mean of the channels, in the place that they have in that of the base."""
    side = values.shape[-1]
    magnitude = np.abs(np.fft.fftshift(np.fft.fft2(values), axes=(-2, -1))).mean(0) / side**2
    canvas = np.zeros((BASE, BASE))
    start = BASE // 2 - side // 2
    canvas[start : start + side, start : start + side] = np.log10(1 + 1e5 * magnitude) / 5
    return pixels(np.broadcast_to(canvas, (3, BASE, BASE)))


gap, head = 8, 20
sheet = Image.new("RGB", (gap + len(BANDS) * (BASE + gap), head + 2 * (BASE + gap)), "white")
draw = ImageDraw.Draw(sheet)
for column, (band, values) in enumerate(bands.items()):
    left = gap + column * (BASE + gap)
    draw.text((left, 4), f"B = {band}: {(band / BASE) ** 2:.0%} of the cost", fill="black")
    sheet.paste(pixels(values), (left, head))
    sheet.paste(power(values), (left, head + BASE + gap))
sheet.save(OUT)
print(f"{OUT}: {sheet.width} x {sheet.height}")
sheet  # noqa: B018 (a notebook shows it)
