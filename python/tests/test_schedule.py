"""Schedules and stages are values."""

from __future__ import annotations

import json
import pickle

import pytest

from bandfeed import ConfigError, IoError, Schedule, Stage


def test_a_schedule_tells_its_stages():
    schedule = Schedule("efficient_train_pp_deit", epochs=200)
    assert [stage.band for stage in schedule.stages][::3] == [96, 160, 192, 224]
    assert schedule.stages[0].start == 0.0
    assert schedule.stages[-1].end == 1.0
    assert schedule.at(0.95) == schedule.stages[-1]
    assert (len(schedule), schedule.base, schedule.patch, schedule.epochs) == (len(schedule.stages), 224, 16, 200.0)
    assert sum(schedule.images(1000)) == pytest.approx(1000 * schedule.image_epochs, abs=5)
    assert schedule.with_epochs(100).epochs == 100.0
    assert "efficient_train_pp_deit" in Schedule.names()
    assert "bands 96" in repr(schedule)


def test_a_schedule_comes_back_from_its_table_and_from_pickle(tmp_path):
    schedule = Schedule("efficient_train_pp", base=96, patch=8, batch_size=32, epochs=3, crop="fourier")
    assert Schedule.from_toml(schedule.to_toml()) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    table = tmp_path / "own.toml"
    table.write_text(schedule.to_toml())
    assert Schedule(str(table)) == schedule
    assert schedule != schedule.with_epochs(4)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="did you mean `efficient_train`") as refused:
        Schedule("eficient_train")
    assert refused.value.what == "schedule"
    with pytest.raises(ConfigError) as refused:
        Schedule(base=100)
    assert refused.value.what == "schedule.base"
    with pytest.raises(IoError) as refused:
        Schedule("no/such.toml")
    assert (refused.value.path, refused.value.errno) == ("no/such.toml", 2)
    with pytest.raises(TypeError):
        Schedule("constant", bas=100)


def test_a_stage_is_made_changed_and_kept():
    stage = Stage(base=224, band=160, batch_size=64, magnitude=4.5, replay=2, replay_capacity=8)
    assert (stage.base, stage.band, stage.batch_size, stage.magnitude) == (224, 160, 64, 4.5)
    assert (stage.replay, stage.replay_capacity, stage.crop, stage.accumulate) == (2, 8, "lanczos", 1)
    assert stage.cost == pytest.approx((160 / 224) ** 2)
    other = stage.replace(band=96, crop="fourier-half-pixel")
    assert (other.band, other.crop, other.magnitude, other.replay) == (96, "fourier-half-pixel", 4.5, 2)
    assert other != stage == stage.replace()
    assert hash(stage) == hash(stage.replace())
    assert Stage.from_dict(json.loads(json.dumps(stage.to_dict()))) == stage
    assert pickle.loads(pickle.dumps(stage)) == stage
    last = Schedule().stages[-1]
    changed = last.replace(batch_size=8)
    assert (changed.index, changed.start, changed.end) == (last.index, last.start, last.end)
    assert eval(repr(stage).replace("index=0, start=0, end=1, ", "")) == stage
    with pytest.raises(AttributeError):
        stage.band = 1
    with pytest.raises(TypeError):
        stage.replace(bands=1)
    with pytest.raises(ConfigError, match="fourier"):
        stage.replace(crop="box")
