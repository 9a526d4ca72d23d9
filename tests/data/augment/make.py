"""Makes pillow.json: hashes of Pillow's output for every operation of src/augment, which src/augment/reference/tests.rs
and src/augment/augmenter/tests.rs compare with.

    pip install pillow==12.3.0 numpy==2.4.6 torch==2.15.0 torchvision==0.29.2
    python3 make.py

The pictures are ../scene.png, ../photo.jpg and noise from the formula in `noise`; all dedicated to the public domain (CC0).

    python3 make.py --photos DIRECTORY_OR_TAR --out DIRECTORY

writes for the first 20 JPEGs `photo_<i>.png` (bicubic, 224 x 224) and a photos.json of the same form to DIRECTORY, for
`BANDFEED_AUGMENT_PHOTOS=DIRECTORY cargo test --release augment`. Those pictures are not ours to publish.
"""

import argparse
import io
import json
import pathlib
import tarfile

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torchvision.transforms.functional import adjust_hue

FILL = (124, 116, 104)
SAMPLINGS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
FACTORS = [0.0, 0.1, 0.19, 0.5, 0.73, 1.0, 1.3, 1.81, 2.5]


def noise(width, height, seed):
    """Bytes of a 32-bit linear congruential generator, the high byte of each state."""
    state, out = seed, bytearray()
    for _ in range(3 * width * height):
        state = (1664525 * state + 1013904223) % 2**32
        out.append(state >> 24)
    return Image.frombytes("RGB", (width, height), bytes(out))


def fnv(data):
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def solarize_add(image, add):
    return image.point([min(255, v + add) if v < 128 else v for v in range(256)] * 3)


def affine(image, matrix, sampling):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, SAMPLINGS[sampling], fillcolor=FILL)


def operations(image):
    """Name, argument, sampling and the call, for each case."""
    w, h = image.size
    yield "auto_contrast", 0, None, lambda: ImageOps.autocontrast(image)
    yield "equalize", 0, None, lambda: ImageOps.equalize(image)
    yield "invert", 0, None, lambda: ImageOps.invert(image)
    yield "grayscale", 0, None, lambda: image.convert("L").convert("RGB")
    for bits in range(9):
        yield "posterize", bits, None, lambda bits=bits: ImageOps.posterize(image, bits)
    for threshold in (0, 1, 26, 128, 255, 256):
        yield "solarize", threshold, None, lambda t=threshold: ImageOps.solarize(image, t)
    for add in (0, 1, 55, 99, 110, 128, 255):
        yield "solarize_add", add, None, lambda a=add: solarize_add(image, a)
    for name in ("color", "contrast", "brightness", "sharpness"):
        enhance = getattr(ImageEnhance, name.capitalize())
        for factor in FACTORS:
            yield name, factor, None, lambda e=enhance, f=factor: e(image).enhance(f)
    for radius in (0.1, 0.3, 0.8, 1.0, 1.37, 2.0, 5.5, 20.0):
        yield "gaussian_blur", radius, None, lambda r=radius: image.filter(ImageFilter.GaussianBlur(r))
    for shift in (-0.5, -0.1, 0.0, 0.033, 0.1, 0.5):
        yield "hue", shift, None, lambda s=shift: adjust_hue(image, s)
    for sampling, resample in SAMPLINGS.items():
        for degrees in (0, 1e-16, 0.3, -3.7, 17.5, -27, 30, 45, 89.99, 90, 135.5, 180, 270, -360, 400):
            yield "rotate", degrees, sampling, lambda d=degrees, r=resample: image.rotate(d, r, fillcolor=FILL)
        for factor in (0.0, 1e-9, 0.013, -0.09, 0.27, -0.3, 0.5, 0.99, -1.7):
            yield "shear_x", factor, sampling, lambda f=factor, s=sampling: affine(image, (1, f, 0, 0, 1, 0), s)
            yield "shear_y", factor, sampling, lambda f=factor, s=sampling: affine(image, (1, 0, 0, f, 1, 0), s)
        for share in (0.0, 0.001, -0.0314, 0.125, 0.405, -0.45, 1.0, -1.2):
            yield "translate_x", share, sampling, lambda p=share, s=sampling: affine(image, (1, 0, p * w, 0, 1, 0), s)
            yield "translate_y", share, sampling, lambda p=share, s=sampling: affine(image, (1, 0, 0, 0, 1, p * h), s)


def record(pictures):
    cases = {}
    for name, image in pictures.items():
        for op, argument, sampling, call in operations(image):
            key = (op, argument, sampling)
            case = cases.setdefault(key, {"op": op, "argument": argument, "sampling": sampling, "hashes": {}})
            case["hashes"][name] = fnv(call().tobytes())
    pictures = {name: {"size": image.size, "hash": fnv(image.tobytes())} for name, image in pictures.items()}
    return {"pictures": pictures, "cases": list(cases.values())}


def write(path, found):
    with open(path, "w") as out:
        out.write('{"pictures": ' + json.dumps(found["pictures"]) + ',\n"cases": [\n')
        out.write(",\n".join(json.dumps(case) for case in found["cases"]) + "\n]}\n")


def photos(source, limit=20):
    source = pathlib.Path(source)
    if source.is_dir():
        for path in sorted(source.rglob("*.jp*g"))[:limit]:
            yield Image.open(path)
    else:
        with tarfile.open(source) as tar:
            members = [member for member in tar if member.name.lower().endswith((".jpg", ".jpeg"))]
            for member in members[:limit]:
                yield Image.open(io.BytesIO(tar.extractfile(member).read()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos")
    parser.add_argument("--out", default=".")
    options = parser.parse_args()
    out = pathlib.Path(options.out)
    if options.photos:
        pictures = {}
        for i, photo in enumerate(photos(options.photos)):
            pictures[f"photo_{i}.png"] = photo.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
        for name, image in pictures.items():
            image.save(out / name)
        write(out / "photos.json", record(pictures))
    else:
        pictures = {
            "scene.png": Image.open("../scene.png").convert("RGB"),
            "photo.jpg": Image.open("../photo.jpg").convert("RGB"),
        }
        for i, (width, height) in enumerate([(1, 1), (1, 7), (7, 1), (2, 2), (5, 3), (32, 17), (33, 40)]):
            pictures[f"noise_{width}x{height}"] = noise(width, height, i + 1)
        write(out / "pillow.json", record(pictures))
