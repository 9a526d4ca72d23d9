"""Writes released.csv: the epoch arithmetic of EfficientTrain++'s released scripts (efficienttrain.md §3.1).

    python3 released.py > released.csv

Done in exact fractions, so that it shares no rounding with the Rust code, which follows the scripts' doubles.
Standard library only.
"""
from fractions import Fraction

BANDS = {
    "general": (96, 96, 160, 160, 160, 160, 224, 224, 224, 224),
    "deit": (96, 96, 160, 160, 160, 160, 192, 192, 224, 224),
    "convnext": (160,) * 6 + (224,) * 4,
}
REPLAY = {"off": (1,) * 10, "twofold": (2, 2) + (1,) * 8, "fourfold": (4, 4, 2, 2, 2, 2, 1, 1, 1, 1)}
SCRIPTS = [("general", "off"), ("deit", "off"), ("convnext", "off"),
           ("deit", "fourfold"), ("general", "twofold"), ("general", "fourfold")]


def stages(row, replay, budget):
    """Yields one tuple a stage. `place` is the epoch reached, in the units of the stage before."""
    place, band_before, times_before = 0, None, None
    for index, (band, times) in enumerate(zip(BANDS[row], REPLAY[replay])):
        length = Fraction(budget * 224 * 224, band * band * times)
        warmup = length / 5 if row == "deit" else Fraction(20, times)
        if band_before is not None:
            if times != times_before:
                place = round(Fraction(place * times_before, times))
            place = round(Fraction(place * band_before**2, band**2))  # round() of a Fraction: ties to even
        end = int(Fraction(int(length), 10) * (index + 1))
        yield index, band, times, int(length), int(warmup), place, end
        place, band_before, times_before = end, band, times


print("row,replay,budget,stage,band,replay_times,schedule_epochs,warmup_epochs,start_epoch,end_epoch")
for row, replay in SCRIPTS:
    for budget in (100, 150, 200, 300):
        for values in stages(row, replay, budget):
            print(row, replay, budget, *values, sep=",")
