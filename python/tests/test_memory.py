"""Ten thousand batches take no more memory than a thousand."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os
import sys
sys.path.insert(0, sys.argv[1])
from conftest import png
import bandfeed
import numpy

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

samples = [(png(16, 16, i), i % 2) for i in range(4)]
loader = bandfeed.Loader(samples, recipe={"mix": {}}, schedule="constant", base=16, patch=8, batch_size=2, epochs=5001,
                         workers=2, dtype=sys.argv[2])
array = None
marks = []
for i, batch in enumerate(loader):
    images, labels, stage = batch
    capsules = images.__dlpack__(), images.__dlpack__(max_version=(1, 0))
    if images.dtype != "bfloat16":
        # Kept until the next one comes, as in a training loop.
        array = numpy.asarray(images)
    batch.targets(10, 0.1), batch.mixing and batch.mixing.shares, loader.counters(), repr(batch)
    if i in (1000, 10000):
        marks.append(resident())
print(marks[1] - marks[0])
"""

# A batch is 6 kB of float32: one leaked in ten would be 5 MB.
BOUND = 2_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_memory_is_flat_over_ten_thousand_batches(dtype, request):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(request.path.parent), dtype], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) < BOUND
