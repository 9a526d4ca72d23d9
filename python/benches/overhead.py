"""Measures what Python adds to the Rust loader: the same images and batches, taken by `bandfeed bench loader` and by Python.

The two take turns, each window in a process of its own, so that what else the machine does meets both alike. The last column is
the share of the process's processor time that Python's own thread takes. It holds all that Python does, and what the Rust loop
does on its thread as well, and hardly depends on what else runs.

usage: python overhead.py SOURCE --bandfeed BIN [--sizes 224,96] [--workers 2] [--rounds 5] [--seconds 3]
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

PREFETCH = 4
# Batches before the clock starts, as `bandfeed bench` has them.
WARM_UP = 2 * PREFETCH

Rates = dict[str, float]


def main() -> None:
    options = arguments()
    if options.child:
        print(json.dumps(python_window(options, options.child, options.sizes[0])))
        return
    kinds: dict[str, Callable[[int], Rates]] = {"rust": lambda size: rust_window(options, size)}
    for consumer in options.consumers:
        kinds[consumer] = lambda size, consumer=consumer: child(options, consumer, size)  # type: ignore[misc]
    print(f"{'size':>4}  {'consumer':14} {'images/s':>9} {'min':>6} {'max':>6} {'of rust':>8}", end=" ")
    print(f"{'CPU ms':>7} {'of rust':>8} {'own thread':>11}")
    for size in options.sizes:
        rates: dict[str, list[Rates]] = {kind: [] for kind in kinds}
        for number in range(options.rounds):
            # Another one begins each time: the first of a round meets another cache than the others.
            names = list(kinds)
            for kind in names[number % len(names) :] + names[: number % len(names)]:
                rates[kind].append(kinds[kind](size))
        # The other's windows of the same round are compared with each: what slows a round down slows both.
        for kind in kinds:
            speed = [rate["images_per_second"] for rate in rates[kind]]
            relative, cpu = (
                statistics.median(own[key] / rust[key] for own, rust in zip(rates[kind], rates["rust"]))
                for key in ("images_per_second", "cpu_ms_per_image")
            )
            spent = statistics.median(rate["cpu_ms_per_image"] for rate in rates[kind])
            share = [rate["own_thread"] for rate in rates[kind] if "own_thread" in rate]
            median = statistics.median(speed)
            print(f"{size:4}  {kind:14} {median:9.0f} {min(speed):6.0f} {max(speed):6.0f} {relative:8.3f}", end=" ")
            print(f"{spent:7.3f} {cpu:8.3f} {f'{statistics.median(share):11.2%}' if share else ''}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="what `bandfeed bench loader` takes")
    parser.add_argument("--bandfeed", help="the bandfeed program, of the same commit")
    parser.add_argument("--sizes", type=lambda text: [int(part) for part in text.split(",")], default=[224, 96])
    parser.add_argument("--consumers", type=lambda text: text.split(","), default=["numpy", "torch", "numpy float16"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.child and not options.bandfeed:
        parser.error("--bandfeed is missing")
    return options


def rust_window(options: argparse.Namespace, size: int) -> Rates:
    command = [options.bandfeed, "bench", "loader", options.source, "--json", "--rounds", 1, "--seconds", options.seconds]
    command += ["--bands", size, "--base", size, "--workers", options.workers, "--batch-size", options.batch_size]
    row: dict[str, Any] = json.loads(output(command))["rows"][0]
    return {key: float(row[key]) for key in ("images_per_second", "cpu_ms_per_image")}


def child(options: argparse.Namespace, consumer: str, size: int) -> Rates:
    command = [sys.executable, __file__, options.source, "--child", consumer, "--sizes", size, "--workers", options.workers]
    command += ["--batch-size", options.batch_size, "--seconds", options.seconds]
    rates: Rates = json.loads(output(command))
    return rates


def output(command: list[Any]) -> str:
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def python_window(options: argparse.Namespace, consumer: str, size: int) -> Rates:
    """The same batches as `rust_window`, each handed to NumPy or torch and dropped when the next one comes."""
    import bandfeed

    library, _, dtype = consumer.partition(" ")
    from_dlpack = importlib.import_module(library).from_dlpack
    loader = bandfeed.Loader(
        options.source,
        schedule=bandfeed.Schedule("constant", base=size, patch=16, batch_size=options.batch_size, epochs=1e9),
        workers=options.workers,
        prefetch=PREFETCH,
        on_bad_file="substitute",
        dtype=dtype or "float32",  # type: ignore[arg-type]
    )
    for _ in range(WARM_UP):
        next(loader)
    seen, start, spent, own = 0, time.perf_counter(), time.process_time(), time.thread_time()
    for batch in loader:
        images, labels, _ = batch
        images, labels = from_dlpack(images), from_dlpack(labels)
        seen += len(labels)
        if time.perf_counter() - start >= options.seconds:
            break
    wall, cpu, own = time.perf_counter() - start, time.process_time() - spent, time.thread_time() - own
    return {"images_per_second": seen / wall, "cpu_ms_per_image": 1000 * cpu / seen, "own_thread": own / cpu}


if __name__ == "__main__":
    main()
