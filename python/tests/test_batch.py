"""What a batch holds."""

from __future__ import annotations

import numpy as np

import bandfeed

SMALL = {"base": 32, "patch": 8, "batch_size": 8, "epochs": 2, "workers": 2}


def test_a_batch_unpacks_and_its_stage_tells_the_images_size(samples):
    with bandfeed.Loader(samples, **SMALL) as loader:
        batches = list(loader)
    assert [batch.step for batch in batches] == list(range(len(batches)))
    for batch in batches:
        images, labels, stage = batch
        assert images.shape == (8, 3, stage.band, stage.band)
        assert np.asarray(images).dtype == np.float32
        assert np.asarray(labels).tolist() == [samples[i][1] for i in batch.indices.tolist()]
    assert len({batch.stage.band for batch in batches}) > 1
