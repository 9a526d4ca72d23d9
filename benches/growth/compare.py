"""Trains one small vision transformer in several ways at equal passes over the data, and writes what came out as a table.

    full                  the whole model on whole images
    prog                  AutoProg's schedule set by hand, growth by MoGrow
    autoprog              AutoProg: size searched in each stage
    efficienttrain        EfficientTrain++, the row for DeiT
    autoprog+efficienttrain   its bands, with depth searched where they change

and, on the first data set, prog with each way of making new blocks. Each run is a process of its own with one thread for the
model and one for the loader; --jobs of them run at a time. A run that is there already is not made again, so that a comparison
may be stopped and gone on with. Processor time is the process's user and system seconds; wall time is its own, and shown of runs
alone that had a core to themselves, so that it is within a fifth of their processor time. Top-1 is that of the last weights at
the base size, measured by `bandfeed eval` after the clock has stopped.

usage: python3 benches/growth/compare.py --bandfeed target/release/bandfeed --data FOLDER --out RUNS [--seeds 0 1] [--record FILE]
       FOLDER has four WebDataset shards (KEY.jpg and KEY.cls): imagenette96-{train,val}.tar, fast.ai's Imagenette brought to
       96 x 96 pixels, and cifar10-{train,test}.tar, shuffled, of whose training images the first 10,000 are taken
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MODEL = "--dim 96 --depth 6 --heads 3 --batch-size 64 --lr 1e-3 --warmup 0.1 --min-scale 0.35".split()
SEARCH = "--search-epochs 0.5 --search-probe 512 --search-cost flops".split()
METHODS = {
    "full": ["--schedule", "constant"],
    "prog": ["--schedule", "auto_prog"],
    "autoprog": ["--schedule", "auto_prog", *SEARCH],
    "efficienttrain": ["--schedule", "efficient_train_pp_deit"],
    "autoprog+efficienttrain": ["--schedule", "efficient_train_pp_deit", "--l-scale", "0.5", *SEARCH],
}
# New blocks, and what becomes of the moments; "prog" itself is new_only, carry.
ABLATION = {
    "prog, all": ["--mogrow", "all"],
    "prog, copy": ["--mogrow", "copy"],
    "prog, random": ["--mogrow", "random"],
    "prog, zero": ["--mogrow", "zero"],
    "prog, moments dropped": ["--growth-moments", "drop"],
}
CIFAR_IMAGES = 10_000


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    sets = datasets(options)
    runs = [(name, method, seed) for seed in options.seeds for name in sets for method in METHODS]
    runs += [(next(iter(sets)), method, seed) for seed in options.seeds for method in ABLATION]
    if options.only:
        runs = [run for run in runs if run[1] in options.only]
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda run: one(options, sets[run[0]], *run), runs))
    text = record(options, sets, results)
    print(text)
    if options.record:
        options.record.write_text(text)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--bandfeed", type=Path, default=Path("target/release/bandfeed"))
    parser.add_argument("--data", type=Path, required=True, help="folder of the four tars")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--record", type=Path, help="write the table to this file, too")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=float, default=6.0, help="passes over the data in each run")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--only", nargs="+", choices=[*METHODS, *ABLATION], help="these methods alone")
    return parser.parse_args()


def datasets(options):
    """Training and validation shards by name, with the options for their size."""
    imagenette = {
        "train": options.data / "imagenette96-train.tar",
        "val": options.data / "imagenette96-val.tar",
        "size": ["--base", "96", "--patch", "12"],
    }
    cifar = {
        "train": first_images(options.data / "cifar10-train.tar", options.out / f"cifar10-{CIFAR_IMAGES}.tar", CIFAR_IMAGES),
        "val": options.data / "cifar10-test.tar",
        "size": ["--base", "32", "--patch", "4"],
    }
    return {"Imagenette, 96 px": imagenette, f"CIFAR-10, {CIFAR_IMAGES} images": cifar}


def first_images(source, target, count):
    """A shard of the first `count` samples of another."""
    if target.exists():
        return target
    unfinished = target.with_suffix(".partial")
    keys = set()
    with tarfile.open(source) as read, tarfile.open(unfinished, "w") as write:
        for member in read:
            keys.add(member.name.split(".")[0])
            if len(keys) > count:
                break
            write.addfile(member, read.extractfile(member))
    unfinished.rename(target)
    return target


def one(options, data, name, method, seed):
    folder = options.out / f"{name.split(',')[0]}-{method}-{seed}".replace(", ", "-").replace(" ", "-")
    kept = folder / "result.json"
    if kept.exists():
        return json.loads(kept.read_text())
    if folder.exists():  # begun and not ended: its time would not be a run's
        folder.rename(folder.with_name(f"{folder.name}.stopped-{int(time.time())}"))
    train = [options.bandfeed, "train", "--train", data["train"], *data["size"], *MODEL]
    train += METHODS.get(method) or [*METHODS["prog"], *ABLATION[method]]
    train += ["--image-epochs", options.epochs, "--seed", seed, "--threads", 1, "--workers", 1, "--no-tensorboard"]
    load, start = os.getloadavg()[0], time.time()
    folder.mkdir(parents=True)
    with open(folder / "told.txt", "w") as told:
        process = subprocess.Popen([*map(str, train), "--out", str(folder / "run")], stdout=told, stderr=told)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.time() - start
    if status != 0:
        raise SystemExit(f"{method}, seed {seed}: see {folder / 'told.txt'}")
    summary = json.loads((folder / "run/summary.json").read_text())
    checkpoint = folder / "run/checkpoints/last.safetensors"
    scores = [accuracy(options, data, checkpoint, folder, [])]
    if json.loads((folder / "run/run.json").read_text())["config"]["ema"]:  # none where new blocks need no mean
        scores.append(accuracy(options, data, checkpoint, folder, ["--ema", "0"]))
    result = {
        "data": name,
        "method": method,
        "seed": seed,
        "top1": scores[0],
        "top1_mean": scores[1] if len(scores) > 1 else None,
        "wall": wall,
        "processor": usage.ru_utime + usage.ru_stime,
        "load": load,
        "images": sum(stage["images"] for stage in summary["stages"]),
        "flops": sum(part["flops"] for part in summary["stages"] + summary.get("searches", [])),
        "searching": sum(search["seconds"] for search in summary.get("searches", [])),
        "growths": summary.get("growths", []),
        "choices": [search["candidates"][search["chosen"]] for search in summary.get("searches", [])],
    }
    kept.write_text(json.dumps(result, indent=1))
    return result


def accuracy(options, data, checkpoint, folder, words):
    out = folder / ("eval" + "".join(words))
    command = [options.bandfeed, "eval", checkpoint, data["val"], "--threads", 1, "--workers", 1, "--out", out, *words]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return json.loads((out / "eval.json").read_text())["passes"][0]["top1"]


def record(options, sets, results):
    version = subprocess.run([options.bandfeed, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    lines = [
        f"# Growing and searching a small ViT, {datetime.date.today()}",
        "",
        f"- Machine: {processor()}, {os.cpu_count()} cores; {version} at commit {commit}",
        f"- Command: `python3 benches/growth/compare.py --data ... --out ... --seeds {' '.join(map(str, options.seeds))} "
        f"--epochs {options.epochs:g} --jobs {options.jobs}`; each run has one thread for the model and one for the loader",
        f"- Model and recipe: `{' '.join(MODEL)}`; search: `{' '.join(SEARCH)}`; {options.epochs:g} passes over the data",
        "",
    ]
    for name in sets:
        lines += table(name, METHODS, [result for result in results if result["data"] == name])
    first = next(iter(sets))
    lines += ablation(first, [result for result in results if result["data"] == first])
    return "\n".join(lines) + "\n"


def processor():
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def mean_and_spread(values, form):
    values = list(values)
    spread = f" ± {form.format(statistics.stdev(values))}" if len(values) > 1 else ""
    return form.format(statistics.mean(values)) + spread


def table(name, methods, results):
    lines = [
        f"## {name}",
        "",
        "| method | top-1, % | of the running mean, % | wall, s | processor, s | of full | training TFLOPs | of full "
        "| searching, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    by_method = {method: [result for result in results if result["method"] == method] for method in methods}
    for method, own in by_method.items():
        if not own:
            continue
        quiet = [result["wall"] for result in own if result["wall"] < 1.2 * result["processor"]]
        averaged = [100 * result["top1_mean"] for result in own if result["top1_mean"] is not None]
        lines.append(
            f"| {method} | {mean_and_spread((100 * result['top1'] for result in own), '{:.1f}')} "
            f"| {mean_and_spread(averaged, '{:.1f}') if averaged else '-'} "
            f"| {mean_and_spread(quiet, '{:.0f}') if quiet else '-'} "
            f"| {mean_and_spread((result['processor'] for result in own), '{:.0f}')} "
            f"| {share('processor', own, by_method.get('full'))} "
            f"| {mean('flops', own) * 1e-12:.1f} | {share('flops', own, by_method.get('full'))} "
            f"| {mean('searching', own):.0f} |"
        )
    lines.append("")
    for method, own in by_method.items():
        for result in own:
            if result["choices"]:
                sizes = ", ".join(f"{c['side']} px and {c['depth']} blocks" for c in result["choices"])
                lines.append(f"- {method}, seed {result['seed']} chose {sizes}")
    lines.append("")
    return lines


def mean(key, results):
    return statistics.mean(result[key] for result in results)


def share(key, results, full):
    """Of the full training of the same seed."""
    whole = {result["seed"]: result[key] for result in full or []}
    shares = [result[key] / whole[result["seed"]] for result in results if result["seed"] in whole]
    return mean_and_spread(shares, "{:.2f}") if shares else "-"


def ablation(name, results):
    lines = [
        f"## Where new blocks come from: prog on {name}",
        "",
        "| way | top-1, % | loss before and after each growth, mean of the seeds |",
        "|---|---|---|",
    ]
    for method in ["prog", *ABLATION]:
        own = [result for result in results if result["method"] == method]
        if not own:
            continue
        growths = zip(*(result["growths"] for result in own), strict=True)
        losses = ", ".join(
            " to ".join(f"{statistics.mean(g[key] for g in growth):.3f}" for key in ("loss_before", "loss_after"))
            for growth in growths
        )
        way = "prog (new_only, moments carried)" if method == "prog" else method
        lines.append(f"| {way} | {mean_and_spread((100 * result['top1'] for result in own), '{:.1f}')} | {losses} |")
    lines.append("")
    return lines


if __name__ == "__main__":
    main()
