"""Measures bandfeed beside other loaders: JPEG files to batches of normalised crops, images a second.

Both read the same images from the page cache and make the same thing: random resized crop to a square with an antialiased
bilinear filter, flip, float32 (64, 3, S, S) normalised, shuffled. In each round all variants take their turn at each size,
and the next round goes through them the other way round, so that a change of the machine's mood meets all of them.

With --augment POLICY the reference is torchvision with timm's augmentation, and both do what EfficientTrain++ trains on: random
resized crop to 224 with a bicubic filter, flip, the policy on 8-bit pixels, below 224 a Lanczos resize to S, float32 normalised.

Loaders that are used from Python are run by windows.py.

usage: DIR/venv/bin/python compare.py --bandfeed BIN --folder DIR/images --tar SHARD.tar --out RECORD
       (see README.md; without --bandfeed only torchvision is measured)
"""
import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path

TORCHVISION = "torchvision"  # with timm's augmentation, if any
BASE = 224
BAND = f"bandfeed, band of a {BASE} px crop"  # what a curriculum's stage is; torchvision has no such thing
PACKED_BAND = f"bandfeed, packed, band of a {BASE} px crop"
ON_BAND = "bandfeed, augmented on the band"  # its short cut for slow processors: not the same pixels


def main():
    options = arguments()
    warm_page_cache(options)
    variants = {TORCHVISION: lambda options, size: run_window(options, size, "torchvision")}
    variants |= in_python(options)
    if options.bandfeed and options.augment:
        variants["bandfeed, folder"] = lambda options, size: run_bandfeed(options, options.folder, size, BASE)
        if options.tar:
            variants["bandfeed, tar"] = lambda options, size: run_bandfeed(options, options.tar, size, BASE)
        variants[ON_BAND] = lambda options, size: run_bandfeed(options, options.tar or options.folder, size, BASE, "band")
    elif options.bandfeed:
        variants["bandfeed, folder"] = lambda options, size: run_bandfeed(options, options.folder, size)
        if options.tar:
            variants["bandfeed, tar"] = lambda options, size: run_bandfeed(options, options.tar, size)
        if options.indexed:
            variants["bandfeed, indexed tar"] = lambda options, size: run_bandfeed(options, options.indexed, size)
        if options.packed:
            variants["bandfeed, packed"] = lambda options, size: run_bandfeed(options, options.packed, size)
            variants[PACKED_BAND] = lambda options, size: run_bandfeed(options, options.packed, size, BASE)
        variants[BAND] = lambda options, size: run_bandfeed(options, options.tar or options.folder, size, BASE)

    runs = []
    for turn in range(options.rounds):
        for size in options.sizes:
            for name in list(variants) if turn % 2 == 0 else reversed(variants):
                if name in (BAND, PACKED_BAND, ON_BAND) and size >= BASE:
                    continue  # no band to cut: the same as the crop
                load = os.getloadavg()[0]
                run = variants[name](options, size)
                runs.append({"round": turn, "size": size, "variant": name, "load_before": load, **run})
                rate = run["images_per_second"]
                print(f"round {turn + 1}/{options.rounds}, {size} px, {name}: {rate:.0f} images/s", file=sys.stderr, flush=True)

    record = {"environment": environment(options), "table": summary(runs, list(variants), options.sizes), "runs": runs}
    text = markdown(record)
    print(text)
    if options.out:
        Path(f"{options.out}.md").write_text(text)
        Path(f"{options.out}.json").write_text(json.dumps(record, indent=1) + "\n")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="images in class folders")
    parser.add_argument("--tar", type=Path, help="the same images in a WebDataset shard, for one more bandfeed variant")
    parser.add_argument("--indexed", type=Path, help="a shard of the same images with its index beside it (bandfeed index)")
    parser.add_argument("--packed", type=Path, help="a folder of packed records of the same images (bandfeed pack)")
    parser.add_argument("--bandfeed", type=Path, help="the bandfeed program")
    parser.add_argument("--sizes", type=sizes, default=[224, 160, 96], help="comma-separated, pixels (224,160,96)")
    parser.add_argument("--workers", type=positive, default=2, help="worker processes or threads (2)")
    parser.add_argument("--batch-size", type=positive, default=64)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--images", type=positive, default=2048, help="images in one timed window of the others (2048)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one timed window of the bandfeed program (5)")
    parser.add_argument("--augment", metavar="POLICY", help="for example rand-m9-mstd0.5-inc1; needs timm")
    parser.add_argument("--out", help="write OUT.md and OUT.json")
    parser.add_argument("--binding", action="store_true", help="bandfeed.torch too, of this Python's environment")
    parser.add_argument("--tensors", action="store_true", help="torchvision's decode_image and transforms.v2 too")
    parser.add_argument("--dali", metavar="PYTHON", help="DALI on the CPU too, of this Python's environment")
    options = parser.parse_args()
    if options.augment and (options.tensors or options.dali):
        parser.error("--augment is compared with timm's, which is not in --tensors or --dali")
    return options


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return value


def sizes(text):
    return [positive(part) for part in text.split(",")]


# ------------------------------------------------------------------------------------------------ variants


def bandfeed_command(options, source, size, base, augment_at):
    """The one place that knows bandfeed's command line. Prints an object with `rows`, one for each band."""
    augment = ["--augment", options.augment, "--augment-at", augment_at] if options.augment else []
    return [
        options.bandfeed, "bench", "loader", source,
        "--workers", options.workers, "--batch-size", options.batch_size, "--base", base,
        "--bands", size, "--filter", "bicubic" if augment else "bilinear", *augment,
        "--seconds", options.seconds, "--rounds", 1, "--json",
    ]  # fmt: skip


def run_bandfeed(options, source, size, base=None, augment_at="base"):
    """The rate at `size`: cropped to it, as torchvision does, or with a base cut as a Lanczos band from a crop of that."""
    rows = json.loads(output(bandfeed_command(options, source, size, base or size, augment_at)))["rows"]
    rows = [row for row in rows if row["band"] == size]
    if len(rows) != 1:
        raise SystemExit(f"bandfeed gave {len(rows)} rows for band {size}: {rows}")
    return {key: float(rows[0][key]) for key in ("images_per_second", "cpu_ms_per_image") if key in rows[0]}


def in_python(options):
    """Loaders that are asked for beside torchvision's, as names and runs."""
    variants = {}
    if options.tensors:
        variants["torchvision v2, decode_image"] = lambda options, size: run_window(options, size, "tensors")
    if options.dali:
        variants["DALI, CPU"] = lambda options, size: run_window(options, size, "dali", python=options.dali)
    if options.binding:
        variants["bandfeed.torch, folder"] = lambda options, size: run_window(options, size, "binding")
        if options.tar:
            variants["bandfeed.torch, tar"] = lambda options, size: run_window(options, size, "binding", options.tar)
        if options.packed:
            packed = options.packed
            variants["bandfeed.torch, packed"] = lambda options, size: run_window(options, size, "binding", packed)
    return variants


def run_window(options, size, loader, source=None, python=sys.executable):
    """One window of a loader that is used from Python, in a process of its own."""
    command = [python, Path(__file__).with_name("windows.py"), loader, source or options.folder, "--size", size]
    command += ["--workers", options.workers, "--batch-size", options.batch_size, "--images", options.images]
    command += ["--augment", options.augment] if options.augment else []
    return json.loads(output(command))


def output(command):
    command = [str(word) for word in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"exit status {done.returncode}: {' '.join(command)}")
    return done.stdout


def warm_page_cache(options):
    more = [path for path in (options.tar, options.indexed) if path]
    more += options.packed.glob("*.bands") if options.packed else []
    for path in [*options.folder.rglob("*.*"), *more]:
        if path.is_file():
            path.read_bytes()


# ------------------------------------------------------------------------------------------------ report


def summary(runs, variants, sizes):
    """Median, least and greatest rate; and the median over rounds of the ratio to torchvision in the same round."""
    rates, cpu = {}, {}
    for run in runs:
        key = run["size"], run["variant"]
        rates.setdefault(key, []).append((run["round"], run["images_per_second"]))
        if "cpu_ms_per_image" in run:
            cpu.setdefault(key, []).append(run["cpu_ms_per_image"])
    table = []
    for size in sizes:
        reference = dict(rates[size, TORCHVISION])
        for variant in variants:
            if (size, variant) not in rates:
                continue
            measured = rates[size, variant]
            values = [rate for _, rate in measured]
            table.append({
                "size": size,
                "variant": variant,
                "median": statistics.median(values),
                "min": min(values),
                "max": max(values),
                "ratio": statistics.median(rate / reference[turn] for turn, rate in measured),
                "cpu_ms_per_image": statistics.median(cpu[size, variant]) if (size, variant) in cpu else None,
                "runs": len(values),
            })
    return table


def environment(options):
    files = [path for path in options.folder.rglob("*.*") if path.is_file()]
    names = ("torch", "torchvision", "pillow", *(["timm"] if options.augment else []))
    versions = {name: metadata.version(name) for name in names}
    if options.binding:
        versions["bandfeed.torch"] = metadata.version("bandfeed")
    if options.dali:
        script = "import nvidia.dali; print(nvidia.dali.__version__)"
        versions["DALI"] = output([options.dali, "-c", script]).strip()
    if options.bandfeed:
        versions["bandfeed"] = output([options.bandfeed, "--version"]).split()[-1]
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions,
        "commit": commit(),
        "images": len(files),
        "mean_bytes": round(sum(path.stat().st_size for path in files) / max(1, len(files))),
        "command": " ".join(["compare.py", *map(short, sys.argv[1:])]),
    }


def short(word):
    """A word of the command line. Absolute paths say nothing to another reader."""
    return Path(word).name if Path(word).is_absolute() else word


def cpu_model():
    """Name, family and model: on cloud machines the name alone says little."""
    wanted = {"model name": "", "cpu family": "", "model": ""}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in wanted and not wanted[key.strip()]:
                wanted[key.strip()] = value.strip()
    except OSError:
        return platform.processor()
    return f"{wanted['model name']} (family {wanted['cpu family']}, model {wanted['model']})"


def commit():
    here = Path(__file__).resolve().parent

    def git(*words):
        return subprocess.run(["git", "-C", here, *words], capture_output=True, text=True).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + changed


def markdown(record):
    environment = record["environment"]
    lines = [
        f"# bandfeed and torchvision, {environment['date']}",
        "",
        f"- Machine: {environment['cpu']}, {environment['cores']} cores, {environment['memory_gib']} GiB, {environment['system']}",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in environment['versions'].items())}, "
        f"Python {environment['python']}; commit {environment['commit']}",
        f"- Data: {environment['images']} images of {environment['mean_bytes'] / 1000:.0f} kB on average, in the page cache",
        f"- Command: `{environment['command']}`",
        f"- Load average before the runs: {min(r['load_before'] for r in record['runs']):.1f} to "
        f"{max(r['load_before'] for r in record['runs']):.1f}",
        "",
        "| size | loader | images/s, median | min to max | times torchvision | CPU ms an image | runs |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in record["table"]:
        spread = f"{row['min']:.0f} to {row['max']:.0f}"
        cpu = f"{row['cpu_ms_per_image']:.2f}" if row["cpu_ms_per_image"] is not None else "not given"
        lines.append(
            f"| {row['size']} | {row['variant']} | {row['median']:.0f} | {spread} | {row['ratio']:.2f} | {cpu} | {row['runs']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
