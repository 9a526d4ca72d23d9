"""Images that the parity tests compare on, and how two distributions are compared."""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


def noise(height: int, width: int, seed: int = 0) -> Image:
    """Every byte at random: filters overshoot, histograms are flat."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def scene(height: int, width: int, seed: int = 0) -> Image:
    """Slopes, edges and a little noise: uneven histograms, not all of 0 to 255."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    phases = rng.uniform(0, 2 * math.pi, 3)
    slopes = np.stack([np.sin(x * 0.11 + y * 0.05 * (c + 1) + phases[c]) for c in range(3)], axis=-1)
    edges = 60.0 * ((x // 9 + y // 7) % 2)[..., None]
    values = 20 + 70 * (slopes + 1) + edges + rng.normal(0, 3, (height, width, 3))
    return values.clip(0, 240).astype(np.uint8)


PICTURES = {
    "noise": noise(64, 80, 1),
    "scene": scene(75, 50, 2),
    "dark": (scene(40, 40, 3) // 4).astype(np.uint8),
    "flat": np.full((16, 24, 3), (9, 128, 250), np.uint8),
    "row": noise(1, 33, 4),
    "column": noise(29, 1, 5),
    "pixel": noise(1, 1, 6),
}


def photograph(height: int, width: int, seed: int = 0) -> Image:
    """A scene large enough for crops."""
    return scene(height, width, seed)


def as_png(image: Image) -> bytes:
    """The image as a file, without an image library."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = image.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def distance(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Kolmogorov and Smirnov's distance of two samples, over the one that two samples of one distribution exceed once in a
    million times (by the asymptotic law): below 1 they may well be of one."""
    a, b = np.sort(np.asarray(first, float)), np.sort(np.asarray(second, float))
    everywhere = np.concatenate([a, b])
    shares = np.searchsorted(a, everywhere, side="right") / len(a), np.searchsorted(b, everywhere, side="right") / len(b)
    limit = math.sqrt(-math.log(1e-6 / 2) / 2 * (len(a) + len(b)) / (len(a) * len(b)))
    return float(np.abs(shares[0] - shares[1]).max()) / limit
