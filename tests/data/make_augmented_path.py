"""Makes the augmented pictures that tests/augmentation.rs compares with: EfficientTrain++'s order of steps, in Pillow.

    pip install pillow==12.3.0
    python3 make_augmented_path.py
"""

from PIL import Image, ImageEnhance, ImageOps

FILL = (124, 116, 104)

scene = Image.open("scene.png").convert("RGB")
base = scene.resize((48, 48), Image.Resampling.BICUBIC, box=(7, 3, 50, 41)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def looked_up(image):
    image = ImageOps.equalize(image)
    image = ImageEnhance.Color(image).enhance(1.5)
    return ImageEnhance.Sharpness(image).enhance(0.4)


def turned(image):
    image = image.rotate(17.5, resample=Image.Resampling.BICUBIC, fillcolor=FILL)
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0.2, 0, 0, 1, 0), resample=Image.Resampling.BICUBIC, fillcolor=FILL)


for name, augment in (("looked_up", looked_up), ("turned", turned)):
    augmented = augment(base)
    augmented.save(f"scene_augmented_{name}48.png", optimize=True)
    augmented.resize((20, 20), Image.Resampling.LANCZOS).save(f"scene_augmented_{name}20.png", optimize=True)
