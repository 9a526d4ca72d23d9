"""Makes photo.jpg and the evaluation crops of it that tests/resample.rs compares with.

    pip install pillow==12.3.0
    python3 make_whole_path.py

The photo is scene.png, enlarged; so it and the crops are dedicated to the public domain (CC0) too.
"""

from PIL import Image

image = Image.open("scene.png").resize((183, 141), Image.Resampling.BICUBIC)
image.save("photo.jpg", quality=90, subsampling="4:2:0")

for side in (96, 48):
    # torchvision's Resize(int(side / 0.875)) and CenterCrop(side), in Pillow's terms.
    photo = Image.open("photo.jpg").convert("RGB")
    shorter = int(side / 0.875)
    width, height = int(shorter * photo.width / photo.height), shorter
    left, top = round((width - side) / 2), round((height - side) / 2)
    resized = photo.resize((width, height), Image.Resampling.BICUBIC)
    resized.crop((left, top, left + side, top + side)).save(f"photo_eval{side}.png", optimize=True)
