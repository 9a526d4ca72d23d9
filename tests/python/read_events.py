"""Reads a folder of event files with TensorBoard's own reader, and prints what is in it as JSON.

Usage: read_events.py FOLDER
"""

import io
import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def png_size(data):
    """Width and height of a PNG, decoded as a whole where Pillow is there."""
    try:
        from PIL import Image
    except ImportError:
        assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and data[-8:-4] == b"IEND"
        return [int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")]
    image = Image.open(io.BytesIO(data))
    image.load()
    return list(image.size)


def main(folder):
    # 0: everything, where the reader by default keeps a sample.
    events = EventAccumulator(folder, size_guidance={"scalars": 0, "histograms": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    print(
        json.dumps(
            {
                "file_version": events.file_version,
                "scalars": {
                    tag: [[e.step, e.value, e.wall_time] for e in events.Scalars(tag)] for tag in tags["scalars"]
                },
                "histograms": {
                    tag: [
                        [e.step, h.num, sum(h.bucket), h.min, h.max, len(h.bucket_limit)]
                        for e in events.Histograms(tag)
                        for h in [e.histogram_value]
                    ]
                    for tag in tags["histograms"]
                },
                "images": {
                    tag: [[e.step, [e.width, e.height], png_size(e.encoded_image_string)] for e in events.Images(tag)]
                    for tag in tags["images"]
                },
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
