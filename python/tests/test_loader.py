"""The loader: what it yields, how it goes on, what it says of bad files and mistakes."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

import bandfeed
from bandfeed import ConfigError, Loader, Stage

SMALL = {"base": 32, "patch": 8, "batch_size": 8, "epochs": 3, "workers": 2, "seed": 3}


def content(batch):
    return batch.step, batch.stage.band, batch.indices.tolist(), np.asarray(batch.images).tobytes()


def test_any_number_of_workers_gives_the_same_batches(samples):
    one, three = (Loader(samples, **{**SMALL, "workers": workers}) for workers in (1, 3))
    assert (one.workers, three.workers) == (1, 3)
    assert [content(batch) for batch in one] == [content(batch) for batch in three]
    other_seed = Loader(samples, **{**SMALL, "seed": 4})
    assert next(other_seed).indices.tolist() != next(Loader(samples, **SMALL)).indices.tolist()


def test_a_folder_is_read_with_its_classes(folder, samples):
    with Loader(folder, **SMALL) as loader:
        assert loader.classes == [f"class_{i}" for i in range(4)]
        assert loader.samples == len(samples)
        assert loader.sample_name(0).endswith("class_0/00.png")
        assert "24 images, 4 classes" in repr(loader)
        assert loader.device == "cpu"
        labels = {loader.sample_name(i): label for b in loader for i, label in zip(b.indices.tolist(), b.labels.tolist())}
    assert all(f"class_{label}/" in name for name, label in labels.items())
    assert len(labels) == len(samples)


def test_len_is_what_is_still_to_come(samples):
    loader = Loader(samples, **SMALL)
    total = len(loader)
    seen = 0
    for _ in loader:
        seen += 1
        assert len(loader) == total - seen
    assert seen == total > 9
    assert loader.progress == 1.0
    assert list(loader) == []


def test_a_run_goes_on_from_any_batch_with_the_same_batches(samples):
    loader = Loader(samples, **SMALL)
    states, batches = [loader.state_dict()], []
    for batch in loader:
        batches.append(content(batch))
        states.append(json.loads(json.dumps(loader.state_dict())))
    other = Loader(samples, **SMALL)
    for step in (0, 7, 1, len(batches) - 1, len(batches)):
        other.load_state_dict(states[step])
        assert other.state_dict() == states[step]
        assert [content(batch) for batch in other] == batches[step:]


def test_a_state_of_another_run_is_refused(samples):
    state = Loader(samples, **SMALL).state_dict()
    with pytest.raises(ConfigError, match="seed 3, this run has seed 4"):
        Loader(samples, **{**SMALL, "seed": 4}).load_state_dict(state)
    with pytest.raises(ConfigError, match="24 samples"):
        Loader(samples[:16], **SMALL).load_state_dict(state)
    with pytest.raises(ConfigError) as refused:
        Loader(samples, **SMALL).load_state_dict({"seed": 3})
    assert refused.value.what == "state"


def test_seek_goes_to_a_share_of_the_compute(samples):
    batches = [(batch.progress, content(batch)) for batch in Loader(samples, **SMALL)]
    loader = Loader(samples, **SMALL)
    for share in (0.5, 0.0, 0.99):
        loader.seek(share)
        assert [content(batch) for batch in loader] == [kept for progress, kept in batches if progress >= share]


def test_ranks_share_out_the_same_steps(samples):
    whole = Loader(samples, **SMALL)
    # As many images of a global batch as one rank has.
    ranks = [Loader(samples, **{**SMALL, "batch_size": 4}, rank=rank, world_size=2) for rank in (0, 1)]
    for one, first, second in zip(whole, *ranks):
        assert one.stage.band == first.stage.band == second.stage.band
        assert set(one.indices.tolist()) == set(first.indices.tolist()) | set(second.indices.tolist())
    with pytest.raises(ConfigError, match="rank 2 of 2"):
        Loader(samples, **SMALL, rank=2, world_size=2)


@pytest.mark.parametrize("pending", ["use_up", "drop"])
def test_a_stage_set_by_hand_keeps_the_sequence_of_samples(samples, pending):
    settings = {**SMALL, "schedule": "constant"}
    expected = [batch.indices.tolist() for batch in Loader(samples, **settings)]
    loader = Loader(samples, **settings)
    first = next(loader)
    loader.set_stage(first.stage.replace(band=16), pending=pending)
    batches = [first, *(next(loader) for _ in range(5))]
    assert [batch.indices.tolist() for batch in batches] == expected[:6]
    bands = [batch.stage.band for batch in batches]
    # Four are made ahead.
    assert bands == ([32] * 5 + [16] if pending == "use_up" else [32] + [16] * 5)
    assert batches[-1].images.shape == (8, 3, 16, 16)
    loader.set_stage(None, pending="drop")
    assert next(loader).stage.band == 32


def test_a_stage_that_cannot_work_is_refused(samples):
    loader = Loader(samples, **SMALL)
    with pytest.raises(ConfigError) as refused:
        loader.set_stage(Stage(base=32, band=64, batch_size=8))
    assert refused.value.what == "stage.band"
    with pytest.raises(ConfigError, match="use_up or drop"):
        loader.set_stage(None, pending="keep")


def test_a_controller_decides_the_stage_from_what_is_reported(samples):
    class Grow:
        def __init__(self):
            self.told = []

        def report(self, stage, progress, loss, time):
            self.told.append((stage.band, loss, time))
            return stage.replace(band=24) if loss < 1.0 and stage.band == 16 else None

    controller = Grow()
    loader = Loader(samples, **{**SMALL, "schedule": "constant", "prefetch": 1}, controller=controller)
    with pytest.raises(ConfigError, match="no batch"):
        loader.report(1.0, 0.1)
    loader.set_stage(Stage(base=32, band=16, batch_size=8), pending="drop")
    bands = []
    for loss in (2.0, 0.5, 0.4, 0.3):
        bands.append(next(loader).stage.band)
        answer = loader.report(loss, 0.25)
        assert answer is None or answer.band == 24
    # One is made ahead.
    assert bands == [16, 16, 16, 24]
    assert controller.told[0] == (16, 2.0, 0.25)
    with pytest.raises(ConfigError, match="set_stage"):
        Loader(samples, **SMALL).report(1.0, 0.1)


def test_an_evaluation_is_a_pass_in_order_each_time(samples):
    with Loader(samples, **{**SMALL, "batch_size": 9}, evaluation=True) as loader:
        assert (len(loader), loader.is_evaluation) == (3, True)
        for _ in range(2):
            batches = list(loader)
            assert [len(batch.labels) for batch in batches] == [9, 9, 6]
            assert sum((batch.indices.tolist() for batch in batches), []) == list(range(24))
            assert batches[0].images.shape == (9, 3, 32, 32)
            assert len(loader) == 3
        next(iter(loader))
        assert next(iter(loader)).step == 0
    other = Loader(samples, evaluation=True, stage=Stage(base=32, band=24, batch_size=24))
    assert next(other).images.shape == (24, 3, 24, 24)


def test_recipes_are_names_files_and_dictionaries(samples, tmp_path):
    with Loader(samples, recipe="deit_small", **SMALL) as loader:
        recipe = loader.recipe
        assert recipe["transform"]["augment"] == "rand-m9-mstd0.5-inc1"
        assert recipe["schedule"]["batch_size"] == 8
    with Loader(samples, recipe=recipe) as again:
        assert again.recipe == recipe
        assert again.schedule == loader.schedule
    with Loader(samples, recipe={"flip": 0.0, "mean": [0, 0, 0], "std": [1, 1, 1]}, **SMALL) as own:
        assert own.recipe["transform"]["flip"] == 0.0
        images = np.asarray(next(own).images)
        assert images.min() >= 0 and images.max() <= 1.25
    file = tmp_path / "own.toml"
    file.write_text('[transform]\nflip = 0.25\n[schedule]\nname = "constant"\n')
    assert Loader(samples, recipe=file, **SMALL).schedule.name == "constant"
    with pytest.raises(ConfigError, match="`flop`"):
        Loader(samples, recipe={"flop": 0.0})
    with pytest.raises(ConfigError, match="did you mean `deit_small`"):
        Loader(samples, recipe="deit_smal")


def test_a_schedule_may_be_given_whole(samples):
    schedule = bandfeed.Schedule("constant", base=32, patch=8, batch_size=8, epochs=1)
    loader = Loader(samples, schedule=schedule)
    assert (len(loader), loader.schedule) == (3, schedule)
    with pytest.raises(ConfigError, match="give it to the Schedule"):
        Loader(samples, schedule=schedule, batch_size=4)


def test_some_samples_only(samples):
    with Loader(samples, indices=range(0, 24, 3), **{**SMALL, "batch_size": 4}) as loader:
        assert loader.samples == 8
        labels = {i: label for b in loader for i, label in zip(b.indices.tolist(), b.labels.tolist())}
    assert labels == {i: samples[3 * i][1] for i in range(8)}


def test_bad_files_are_named_left_out_or_replaced(samples, caplog):
    damaged = list(samples)
    damaged[5] = (b"no image", 1)
    settings = {**SMALL, "schedule": "constant", "epochs": 1}
    with pytest.raises(bandfeed.DecodeError) as refused:
        list(Loader(damaged, **settings))
    assert (refused.value.name, refused.value.kind) == ("memory#5", "corrupt")
    assert refused.value.reason in str(refused.value)
    assert isinstance(refused.value, ValueError)
    caplog.clear()
    for policy, images in (("skip", 23), ("substitute", 24)):
        loader = Loader(damaged, on_bad_file=policy, **settings)
        assert sum(len(batch.labels) for batch in loader) == images
        (bad,) = loader.bad_files()
        assert (bad.index, bad.name, bad.times) == (5, "memory#5", 1)
        assert loader.damaged_files() == []
    records = [record for record in caplog.records if record.name == "bandfeed"]
    assert len(records) == 2
    assert records[0].levelname == "WARNING"
    assert "memory#5" in records[0].getMessage()


def test_after_a_bad_file_the_next_batch_can_be_asked_for(samples):
    damaged = [(b"no image", 0), *samples[1:]]
    loader = Loader(damaged, **{**SMALL, "schedule": "constant", "epochs": 1})
    outcomes = []
    for _ in range(3):
        try:
            outcomes.append(len(next(loader).labels))
        except bandfeed.DecodeError:
            outcomes.append("bad")
    assert sorted(outcomes, key=str) == [8, 8, "bad"]
    with pytest.raises(StopIteration):
        next(loader)


def test_counters_and_memory(samples):
    with Loader(samples, **SMALL) as loader:
        seen = sum(len(batch.labels) for batch in loader)
        counters = loader.counters()
        assert counters["images"] == seen
        assert counters["decode"] > 0.0
        memory = loader.memory()
    assert memory["batch"] == 8 * 3 * 32 * 32 * 4
    assert memory["total"] == memory["batch"] * memory["batches"] + memory["replay"]
    with pytest.raises(ConfigError) as refused:
        Loader(samples, memory_limit=memory["total"] - 1, **SMALL)
    assert refused.value.what == "memory"


def test_a_closed_loader_says_so(samples):
    loader = Loader(samples, **SMALL)
    batch = next(loader)
    loader.close()
    loader.close()
    assert batch.images.tolist()
    with pytest.raises(ConfigError, match="closed"):
        next(loader)
    assert loader.counters()["images"] >= 8


def test_mistakes_in_options_are_named(samples, tmp_path):
    for options, what in (
        ({"workers": 0}, "workers"),
        ({"prefetch": 0}, "prefetch"),
        ({"dtype": "float64"}, "dtype"),
        ({"epoch_end": "keep"}, "epoch_end"),
        ({"on_bad_file": "ignore"}, "bad-file policy"),
        ({"device": "cuda"}, "device"),
        ({"batch_size": 25}, "batch_size"),
        ({"stage": Stage(base=32, band=32, batch_size=8)}, "stage"),
        ({"max_pixels": 0}, "limits.max_pixels"),
    ):
        with pytest.raises(ConfigError) as refused:
            Loader(samples, **{**SMALL, **options})
        assert refused.value.what == what, options
    with pytest.raises(bandfeed.SourceError) as missing:
        Loader(tmp_path / "nothing")
    assert missing.value.path.endswith("nothing")
    with pytest.raises(bandfeed.NoDeviceError) as absent:
        Loader(samples, device="wgpu:no such adapter", **SMALL)
    assert absent.value.device == "wgpu:no such adapter"
    with pytest.raises(TypeError):
        Loader(samples, batchsize=4)


def test_values_of_a_wrong_type_are_named(samples):
    for options, words in (
        ({"workers": "2"}, "workers: "),
        ({"seed": -1}, "seed: "),
        ({"batch_size": 2.5}, "batch_size: "),
        ({"schedule": 3}, "schedule: expected a name or a path, got int"),
        ({"recipe": 3}, "recipe: expected a name or a path, got int"),
        ({"stage": "last", "evaluation": True}, "stage: "),
    ):
        with pytest.raises(TypeError, match=words):
            Loader(samples, **{**SMALL, **options})
    for source in (3, b"train", [1], [("train", 1)], [(b"image", "cat")]):
        with pytest.raises(TypeError, match="source: expected a path, or pairs of bytes and class index"):
            Loader(source)


@pytest.mark.parametrize("device", ["auto", "wgpu:llvmpipe"])
def test_a_device_makes_the_same_samples(samples, device):
    settings = {**SMALL, "epochs": 1}
    try:
        loader = Loader(samples, device=device, fallback=True, **settings)
    except bandfeed.NoDeviceError as error:
        pytest.skip(str(error))
    for one, other in zip(Loader(samples, **settings), loader):
        assert one.indices.tolist() == other.indices.tolist()
        assert np.allclose(np.asarray(one.images), np.asarray(other.images), atol=0.05)
    assert loader.device == "cpu" or "wgpu" in loader.device


def test_images_over_the_limit_are_bad_files(samples):
    with pytest.raises(bandfeed.DecodeError) as refused:
        list(Loader(samples, max_pixels=100, **SMALL))
    assert refused.value.kind == "limit"


def test_a_loader_cannot_be_pickled_and_says_why(samples):
    with pytest.raises(TypeError, match="make it there"):
        pickle.dumps(Loader(samples, **SMALL))
