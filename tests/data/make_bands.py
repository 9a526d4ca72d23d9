"""Makes bands.json: Fourier band crops by numpy's FFT, from the definition, for tests/band_crop.rs.

    pip install numpy==2.4.6
    python3 make_bands.py

Each vector: `input` (H, W) of integers in -9..=9, `expected` (bh, bw) in float64.
"""

import json
import numpy as np


def band_crop(x, bh, bw, grid):
    h, w = x.shape
    spectrum = np.fft.fftshift(np.fft.fft2(x))
    top, left = h // 2 - bh // 2, w // 2 - bw // 2
    kept = np.fft.ifftshift(spectrum[top:top + bh, left:left + bw])
    if grid == "half_pixel":
        # Output i of B moves from N i / B to N (i + 1/2) / B - 1/2: frequency k turns by pi k (1/B - 1/N).
        def turn(b, n):
            k = np.fft.ifftshift(np.arange(b) - b // 2)
            return np.exp(1j * np.pi * k * (1 / b - 1 / n))
        kept = kept * turn(bh, h)[:, None] * turn(bw, w)[None, :]
    return np.real(np.fft.ifft2(kept)) * (bh * bw) / (h * w)


vectors = []
for seed, (h, w, bh, bw) in enumerate([
    (8, 8, 4, 4), (9, 9, 4, 4), (9, 9, 5, 5), (10, 8, 6, 4), (10, 12, 5, 6), (7, 10, 4, 5), (8, 8, 8, 8), (6, 7, 1, 2), (1, 5, 1, 3),
]):
    for grid in ("paper", "half_pixel"):
        x = np.random.default_rng(7000 + seed).integers(-9, 10, size=(h, w)).astype(float)
        y = band_crop(x, bh, bw, grid)
        vectors.append(dict(grid=grid, size=[h, w], band=[bh, bw], input=x.astype(int).ravel().tolist(), expected=y.ravel().tolist()))
with open("bands.json", "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(v) for v in vectors) + "\n]\n")
