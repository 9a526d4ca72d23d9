"""Unpacks WebDataset shards into class folders: OUT/CLASS_INDEX/KEY.jpg.

usage: python unpack.py --out DIR SHARD.tar [SHARD.tar ...]
"""
import argparse
import tarfile
from pathlib import Path

IMAGES = {"jpg", "jpeg", "png", "webp"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("shards", type=Path, nargs="+")
    arguments = parser.parse_args()
    written = kept = 0
    for shard in arguments.shards:
        samples = {}  # key -> [(file name, bytes) of the image, class index]
        with tarfile.open(shard) as archive:
            for member in archive:
                if not member.isfile():
                    continue
                name = Path(member.name).name
                key, _, extension = name.partition(".")
                sample = samples.setdefault(key, [None, None])
                if extension.lower() in IMAGES:
                    sample[0] = name, archive.extractfile(member).read()
                elif extension == "cls":
                    sample[1] = int(archive.extractfile(member).read())
        for key, (image, label) in samples.items():
            if image is None or label is None:
                raise SystemExit(f"{shard}: {key} has no {'image' if image is None else 'label'}")
            target = arguments.out / f"{label:04}" / image[0]
            if target.exists():
                kept += 1
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(image[1])
            written += 1
    print(f"{arguments.out}: {written} images written, {kept} there already")


if __name__ == "__main__":
    main()
