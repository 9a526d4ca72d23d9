"""One timed window of a loader that is used from Python, for compare.py: prints its rate as JSON.

usage: python windows.py LOADER SOURCE --size 224 --workers 2 --images 2048
"""

import argparse
import json
import math
import multiprocessing
import os
import time
from pathlib import Path

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BASE = 224
WARM_UP = 512  # images, outside the clock: worker start, first batches


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("loader", choices=LOADERS)
    parser.add_argument("source", type=Path)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--augment", metavar="POLICY")
    options = parser.parse_args()
    print(json.dumps(timed(LOADERS[options.loader](options), options)))


def timed(batches, options):
    """Images a second of torch tensors `(N, 3, S, S)` f32, from the first batch after the warm-up on."""
    import torch

    seen, start = 0, None
    for images in batches:
        expected = (options.batch_size, 3, options.size, options.size)
        if images.shape != expected or images.dtype != torch.float32 or images.device.type != "cpu":
            raise SystemExit(f"unexpected batch {images.dtype} {tuple(images.shape)} on {images.device}")
        seen += len(images)
        if start is None and seen >= WARM_UP:
            team = [os.getpid(), *(worker.pid for worker in multiprocessing.active_children())]
            start, spent, first = time.perf_counter(), cpu_seconds(team), seen
        elif start is not None and seen - first >= options.images:
            count, wall, cpu = seen - first, time.perf_counter() - start, cpu_seconds(team) - spent
            return {"images_per_second": count / wall, "cpu_ms_per_image": 1000 * cpu / count}
    raise SystemExit("the images ended before the window did")


def wanted(options):
    """Images of one long epoch: between two, workers would stand still. It goes on after the clock has stopped, so that all
    of the window is made by busy workers."""
    return WARM_UP + options.images + 8 * options.workers * options.batch_size


def cpu_seconds(processes):
    """What these processes have had of the processor. On a busy machine it tells more than the wall clock."""
    ticks = 0
    for process in processes:
        # proc(5): after the name in parentheses, user and system time are the 12th and 13th fields.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


# ------------------------------------------------------------------------------------------------ torchvision


def image_folder(options, transform, load=None):
    """ImageFolder and DataLoader as torchvision's training reference uses them."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    data = ImageFolder(options.source, transform=transform, **({"loader": load} if load else {}))
    data.samples = data.samples * -(-wanted(options) // len(data.samples))
    loader = DataLoader(
        data,
        batch_size=options.batch_size,
        shuffle=True,
        num_workers=options.workers,
        persistent_workers=True,
        drop_last=True,
    )
    return (images for images, _ in loader)


def torchvision(options):
    """PIL images, which most scripts use."""
    return image_folder(options, augmenting_transform(options) if options.augment else plain_transform(options.size))


def plain_transform(size):
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, interpolation=transforms.InterpolationMode.BILINEAR),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def augmenting_transform(options):
    """timm's training transform at 224 without erasing; below that with EfficientTrain++'s Lanczos resize in it."""
    from timm.data.auto_augment import rand_augment_transform
    from torchvision import transforms

    mean = tuple(min(255, round(255 * value)) for value in MEAN)
    parameters = {"translate_const": int(BASE * 0.45), "img_mean": mean, "interpolation": 3}  # 3: bicubic
    steps = [
        transforms.RandomResizedCrop(BASE, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.RandomHorizontalFlip(),
        rand_augment_transform(options.augment, parameters),
    ]
    if options.size < BASE:
        steps.append(transforms.Resize(options.size, interpolation=transforms.InterpolationMode.LANCZOS))
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def tensors(options):
    """torchvision's newer way: `decode_image`, and transforms.v2 on tensors."""
    import torch
    from torchvision.io import ImageReadMode, decode_image, read_file
    from torchvision.transforms import v2

    transform = v2.Compose(
        [
            v2.RandomResizedCrop(options.size, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    return image_folder(options, transform, lambda path: decode_image(read_file(path), ImageReadMode.RGB))


# ------------------------------------------------------------------------------------------------ others


def dali(options):
    """DALI without a GPU: only the crop's part is decoded."""
    from nvidia.dali import fn, pipeline_def, types
    from nvidia.dali.plugin.pytorch import DALIGenericIterator

    @pipeline_def(batch_size=options.batch_size, num_threads=options.workers, device_id=None, seed=1)
    def pipeline():
        files, labels = fn.readers.file(file_root=str(options.source), random_shuffle=True, initial_fill=1000, name="files")
        images = fn.decoders.image_random_crop(
            files,
            device="cpu",
            output_type=types.RGB,
            num_attempts=10,
            random_area=[0.08, 1.0],
            random_aspect_ratio=[3 / 4, 4 / 3],
        )
        images = fn.resize(images, size=(options.size, options.size), interp_type=types.INTERP_LINEAR, antialias=True)
        images = fn.crop_mirror_normalize(
            images,
            dtype=types.FLOAT,
            output_layout="CHW",
            mean=[255 * value for value in MEAN],
            std=[255 * value for value in STD],
            mirror=fn.random.coin_flip(probability=0.5),
        )
        return images, labels

    iterator = DALIGenericIterator([pipeline()], ["images", "labels"], size=-1)
    return (batch[0]["images"] for batch in iterator)


def binding(options):
    """bandfeed.torch: what `bandfeed bench loader` measures, through Python and as torch tensors."""
    from bandfeed import Stage
    from bandfeed.torch import DataLoader

    recipe = {"filter": "bicubic" if options.augment else "bilinear"}
    base = options.size
    if options.augment:
        base = BASE
        recipe |= {"augment": options.augment, "magnitude": "policy"}
    # Many passes over a small set, all of them in one stage.
    loader = DataLoader(
        options.source,
        options.batch_size,
        recipe=recipe,
        schedule="constant",
        epochs=math.ceil(wanted(options) / options.batch_size),
        base=base,
        patch=1,
        num_workers=options.workers,
    )
    loader.loader.set_stage(Stage(base=base, band=options.size, batch_size=options.batch_size), pending="drop")
    return (images for _ in range(loader.epochs) for images, _ in loader)


LOADERS = {"torchvision": torchvision, "tensors": tensors, "dali": dali, "binding": binding}

if __name__ == "__main__":
    main()
