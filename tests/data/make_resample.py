"""Makes scene.png and the Pillow goldens that tests/resample.rs compares with.

    pip install pillow==12.3.0 numpy==2.4.6
    python3 make_resample.py

The scene is drawn here from formulas: soft gradients, 1/f noise, hard black and white edges that make filters overshoot,
saturated colours. It is dedicated to the public domain (CC0), as are the goldens.
"""

import json
import numpy as np
from PIL import Image

W, H = 61, 47
rng = np.random.default_rng(20240611)


def cloud(w, h):
    fy, fx = np.meshgrid(np.fft.fftfreq(h), np.fft.fftfreq(w), indexing="ij")
    spectrum = np.fft.fft2(rng.standard_normal((h, w))) / np.maximum(np.hypot(fx, fy), 1 / w)
    out = np.real(np.fft.ifft2(spectrum))
    return out / out.std()


y, x = np.mgrid[0:H, 0:W]
scene = np.stack([128 + 45 * cloud(W, H) + 40 * np.sin(x / 9 + c) * np.cos(y / (5 + c)) for c in range(3)], axis=2)
scene[(x - 17) ** 2 + (y - 15) ** 2 < 90] = (255, 255, 255)
scene[(x - 20) ** 2 + (y - 17) ** 2 < 22] = (0, 0, 0)
scene[(x + y) % 13 == 0] += 60
scene[30:42, 35:52] = (250, 10, 30)
scene[33:39, 38:49:2] = (0, 0, 255)
image = Image.fromarray(np.clip(np.round(scene), 0, 255).astype(np.uint8))
image.save("scene.png", optimize=True)

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "lanczos3": Image.Resampling.LANCZOS}
# name, box in the scene (x, y, width, height), grid (width, height), window in the grid (x, y, width, height)
CASES = [
    ("down", (0, 0, 61, 47), (32, 32), (0, 0, 32, 32)),
    ("odd_down", (0, 0, 61, 47), (23, 17), (0, 0, 23, 17)),
    ("up", (0, 0, 61, 47), (75, 59), (0, 0, 75, 59)),
    ("up_and_down", (0, 0, 61, 47), (40, 70), (0, 0, 40, 70)),
    ("box", (5, 3, 41, 33), (24, 24), (0, 0, 24, 24)),
    ("fractional_box", (3.25, 2.5, 40.5, 33.75), (25, 21), (0, 0, 25, 21)),
    ("window", (0, 0, 61, 47), (53, 41), (7, 3, 35, 35)),
    ("one_pixel", (0, 0, 61, 47), (1, 1), (0, 0, 1, 1)),
    ("same_size", (0, 0, 61, 47), (61, 47), (0, 0, 61, 47)),
]
manifest = []
for filter_name, filter_id in FILTERS.items():
    for name, (bx, by, bw, bh), grid, (x0, y0, w, h) in CASES:
        out = image.resize(grid, filter_id, box=(bx, by, bx + bw, by + bh)).crop((x0, y0, x0 + w, y0 + h))
        file = f"scene_{filter_name}_{name}.png"
        out.save(file, optimize=True)
        manifest.append(dict(file=file, filter=filter_name, area=(bx, by, bw, bh), grid=grid, window=(x0, y0, w, h)))

# The ++ order: crop to the base size, then Lanczos to the band, 8 bits between.
base = image.resize((48, 48), Image.Resampling.BICUBIC)
base.save("scene_base48.png", optimize=True)
for band in (20, 33):
    base.resize((band, band), Image.Resampling.LANCZOS).save(f"scene_base48_band{band}.png", optimize=True)
with open("resample.json", "w") as f:
    json.dump(manifest, f, indent=1)
    f.write("\n")
