"""What the tests read: small images made here, without an image library."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest


def png(width: int, height: int, seed: int) -> bytes:
    """A colour PNG of gradients that differ by ``seed``."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            rows += bytes(((x * 5 + seed * 11) % 256, (y * 3 + seed * 7) % 256, (x + y + seed * 13) % 256))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(rows))) + chunk(b"IEND", b"")


@pytest.fixture(scope="session")
def samples() -> list[tuple[bytes, int]]:
    """24 images of four classes, for a loader from memory."""
    return [(png(40 + i, 48 - i % 5, i), i % 4) for i in range(24)]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, samples: list[tuple[bytes, int]]) -> Path:
    """The same as a folder of class folders."""
    root = tmp_path_factory.mktemp("train")
    for i, (data, label) in enumerate(samples):
        place = root / f"class_{label}"
        place.mkdir(exist_ok=True)
        (place / f"{i:02}.png").write_bytes(data)
    return root
