"""Loaders that hand out an epoch at a time: ``bandfeed.numpy``, and with it what ``bandfeed.torch`` shares."""

from __future__ import annotations

import numpy as np
import pytest

import bandfeed
from bandfeed.numpy import DataLoader

SMALL = {"base": 32, "patch": 8, "epochs": 3, "num_classes": None}


def loader(samples, batch_size=8, **options):
    return DataLoader(samples, batch_size, **{**SMALL, "seed": 2, **options})


def test_epochs_are_of_equal_compute_and_together_the_run(samples):
    whole = list(bandfeed.Loader(samples, base=32, patch=8, epochs=3, batch_size=8, seed=2))
    epochs = loader(samples)
    assert epochs.epochs == 3
    steps = []
    for epoch in range(epochs.epochs):
        epochs.set_epoch(epoch)
        assert epochs.epoch == epoch
        announced = len(epochs)
        for i, (images, targets) in enumerate(epochs):
            assert len(epochs) == announced
            batch = whole[epochs.batch.step]
            assert np.array_equal(images, np.asarray(batch.images))
            assert targets.tolist() == batch.labels.tolist()
            assert epochs.stage == batch.stage
            assert epoch / 3 <= batch.progress + 1e-9 < (epoch + 1) / 3
            steps.append(batch.step)
        assert i + 1 == announced
    assert steps == list(range(len(whole)))
    assert (epochs.epoch, len(epochs), list(epochs)) == (3, 0, [])
    # Smaller images early: more of them for the same compute.
    early, late = (sum(i / 3 <= b.progress + 1e-9 < (i + 1) / 3 for b in whole) for i in (0, 2))
    assert early > late


def test_under_a_constant_schedule_an_epoch_is_a_pass(samples):
    epochs = loader(samples, schedule="constant")
    for _ in range(3):
        seen = [index for _ in epochs for index in epochs.batch.indices.tolist()]
        assert sorted(seen) == list(range(24))
    assert len(epochs.dataset) == 24
    assert epochs.dataset.classes == ["0", "1", "2", "3"]


def test_an_epoch_that_was_left_is_gone_on_with_or_left_behind(samples):
    expected = [[labels.tolist() for _, labels in epoch] for epoch in (loader(samples),) for _ in range(3)]
    epochs = loader(samples)
    for _, labels in epochs:
        break
    assert labels.tolist() == expected[0][0]
    epochs.set_epoch(0)
    assert len(epochs) == len(expected[0]) - 1
    assert [labels.tolist() for _, labels in epochs] == expected[0][1:]
    next(iter(epochs))
    epochs.sampler.set_epoch(2)
    assert [labels.tolist() for _, labels in epochs] == expected[2]
    epochs.set_epoch(1)
    assert [labels.tolist() for _, labels in epochs] == expected[1]
    with pytest.raises(bandfeed.ConfigError, match="the run has 3"):
        epochs.set_epoch(4)


def test_a_run_goes_on_within_an_epoch(samples):
    first = loader(samples)
    kept = []
    for epoch in range(3):
        for i, (_, labels) in enumerate(first):
            kept.append((epoch, labels.tolist()))
            if (epoch, i) == (1, 1):
                state, done = first.state_dict(), len(kept)
    second = loader(samples)
    second.load_state_dict(state)
    rest = []
    for epoch in range(second.epoch, second.epochs):
        second.set_epoch(epoch)
        assert len(second) == sum(e == epoch for e, _ in kept[done:])
        rest += [(epoch, labels.tolist()) for _, labels in second]
    assert rest == kept[done:]


def test_a_stage_set_by_hand_changes_the_epochs_length_on_the_way(samples):
    epochs = loader(samples, schedule="constant", base=32)
    seen = 0
    for images, _ in epochs:
        seen += 1
        if seen == 1:
            epochs.loader.set_stage(epochs.stage.replace(band=16), pending="drop")
            announced = len(epochs)
    # One batch at the base size, and the compute of two more in batches that cost a quarter.
    assert (seen, announced, images.shape[-1]) == (9, 9, 16)


def test_targets_are_rows_where_images_are_mixed(samples):
    mixing = {"transform": {"mix": {"mixup": 0.8, "cutmix": 0.0}}, "train": {"label_smoothing": 0.2}}
    with loader(samples, recipe=mixing, num_classes=6) as epochs:
        for _, targets in epochs:
            assert (targets.shape, targets.dtype) == ((8, 6), np.float32)
            assert np.allclose(targets.sum(1), 1)
            assert np.allclose(targets.min(), 0.2 / 6)
    with loader(samples, soft_targets=True, smoothing=0.0, schedule="constant") as epochs:
        for _, targets in epochs:
            assert sorted(np.unique(targets).tolist()) == [0.0, 1.0]
    with pytest.raises(bandfeed.ConfigError) as refused:
        loader(samples, recipe=mixing, soft_targets=False)
    assert refused.value.what == "soft_targets"


def test_an_evaluation_is_one_epoch_again_and_again(samples):
    with loader(samples, 9, recipe={"mix": {}}, evaluation=True) as epochs:
        assert (epochs.epochs, epochs.epoch, len(epochs)) == (1, 0, 3)
        for _ in range(2):
            batches = list(epochs)
            assert [images.shape[0] for images, _ in batches] == [9, 9, 6]
            assert sum((labels.tolist() for _, labels in batches), []) == [label for _, label in samples]
        epochs.set_epoch(5)


def test_it_works_without_torch(samples):
    import subprocess
    import sys

    script = "import sys; sys.modules['torch'] = None; import bandfeed, bandfeed.numpy; assert sys.modules['torch'] is None"
    subprocess.run([sys.executable, "-c", script], check=True)
    script = "import bandfeed, sys; assert not {'numpy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
