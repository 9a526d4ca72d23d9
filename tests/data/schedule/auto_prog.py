"""Writes auto_prog.json: AutoProg's schedules, VOLO's splits and the maps of depth growth (autoprog.md §2, §3).

    python3 auto_prog.py > auto_prog.json

With numpy's linspace written out, whose order of operations decides 7.5 - 1e-15. Standard library only.
"""
import json


def linspace(start, stop, count):
    step = (stop - start) / (count - 1)
    return [i * step + start for i in range(count - 1)] + [stop]


def to_multiple(value, unit):
    rounded = max(unit, int(value + unit / 2) // unit * unit)
    return rounded + unit if rounded < 0.9 * value else rounded


def schedule(r, layers, magnitude, drop_path, erase, epochs=100):
    def ramp(scale, most):
        return [v * most for v in linspace(scale, 1.0, 4)]
    return {
        "epochs": [int(v) for v in linspace(0, epochs, 5)][:-1],
        "resolution": [to_multiple(v, 32) for v in ramp(r, 224)],
        "layers": [to_multiple(v, 1) for v in ramp(layers, 18)],
        "magnitude": [round(max(0.0, v)) for v in ramp(magnitude, 9.0)],
        "drop_path": [max(0.0, v) for v in ramp(drop_path, 0.1)],
        "random_erase": [max(0.0, v) for v in ramp(erase, 0.25)],
    }


def source(i, p, n):
    q, rest = n // p, n % p
    return i // q if i // q < p - rest else (i + p - rest) // (q + 1)


def growth(p, n):
    sources = [source(i, p, n) for i in range(n)]
    return {"source": sources, "new": [i for i in range(1, n) if sources[i] == sources[i - 1]]}


PAIRS = [(9, 18), (9, 12), (12, 15), (15, 18), (7, 14), (8, 14), (2, 4), (7, 11), (11, 14), (6, 12), (6, 8), (8, 10), (10, 12)]
print(json.dumps({
    "volo_h12_l18_script": schedule(0.5, 0.5, 0.5, 0.0, 0.0),
    "parser_defaults_100ep": schedule(0.5, 0.5, 0.0, -0.5, -0.5),
    "volo_split": {str(l): [to_multiple(l * 0.23, 2), l - to_multiple(l * 0.23, 2)] for l in (9, 12, 15, 18)},
    "depth_growth": {f"{p}->{n}": growth(p, n) for p, n in PAIRS},
}, indent=1))
