"""What a batch holds."""

from __future__ import annotations

import numpy as np
import pytest

import bandfeed

SMALL = {"base": 32, "patch": 8, "batch_size": 8, "epochs": 2, "workers": 2}


def test_a_batch_unpacks_and_its_stage_tells_the_images_size(samples):
    with bandfeed.Loader(samples, **SMALL) as loader:
        batches = list(loader)
    assert [batch.step for batch in batches] == list(range(len(batches)))
    for batch in batches:
        images, labels, stage = batch
        assert images.shape == (8, 3, stage.band, stage.band)
        assert stage == loader.schedule.at(batch.progress)
        assert np.asarray(labels).tolist() == [samples[i][1] for i in batch.indices.tolist()]
        assert (batch.fresh, batch.magnitude, batch.mixing) == (8, stage.magnitude, None)
    assert len({batch.stage.band for batch in batches}) > 1
    assert batches[0].progress == 0.0 < batches[-1].progress < 1.0
    assert batches[-1].epoch > 0


def test_targets_are_smoothed_labels(samples):
    with bandfeed.Loader(samples, **SMALL) as loader:
        batch = next(loader)
    hard = np.asarray(batch.targets())
    assert hard.dtype == np.float32
    assert (hard == np.eye(4, dtype=np.float32)[np.asarray(batch.labels)]).all()
    soft = np.asarray(batch.targets(10, smoothing=0.1))
    assert soft.shape == (8, 10)
    assert np.allclose(soft, np.eye(10)[np.asarray(batch.labels)] * 0.9 + 0.01)
    with pytest.raises(bandfeed.ConfigError, match="label"):
        batch.targets(2)
    with pytest.raises(bandfeed.ConfigError) as refused:
        batch.targets(smoothing=2.0)
    assert refused.value.what == "smoothing"


def test_mixed_images_and_their_targets_follow_from_shares_and_boxes(samples):
    plain = {"flip": 0.0, "scale": [1.0, 1.0]}
    constant = {**SMALL, "schedule": "constant", "epochs": 4}
    mixings = []
    for alone, mixed in zip(
        bandfeed.Loader(samples, recipe=plain, **constant),
        bandfeed.Loader(samples, recipe={**plain, "mix": {"mode": "pair"}}, **constant),
    ):
        assert alone.indices.tolist() == mixed.indices.tolist()
        own, result = np.asarray(alone.images), np.asarray(mixed.images)
        targets = np.asarray(mixed.targets())
        for i, (share, partner, box) in enumerate(zip(mixed.mixing.shares, mixed.mixing.partners, mixed.mixing.boxes)):
            if box is None:
                expected = share * own[i] + (1 - share) * own[partner]
            else:
                x, y, width, height = box
                expected = own[i].copy()
                expected[:, y : y + height, x : x + width] = own[partner][:, y : y + height, x : x + width]
                assert share == pytest.approx(1 - width * height / 32**2)
            assert np.allclose(result[i], expected, atol=1e-5)
            rows = np.eye(4)[[alone.labels.tolist()[i], alone.labels.tolist()[partner]]]
            assert np.allclose(targets[i], share * rows[0] + (1 - share) * rows[1], atol=1e-6)
            mixings.append(box is not None)
    assert {True, False} == set(mixings)


def test_a_batch_says_what_it_is(samples):
    with bandfeed.Loader(samples, **SMALL) as loader:
        text = repr(next(loader))
    assert text.startswith("<Batch 0: images Tensor(shape=(8, 3, ")
