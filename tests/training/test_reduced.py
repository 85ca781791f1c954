"""Epochs with reduced images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import TINY, discs, halves, tiny_data, tiny_settings

from taichinet.batch import Batch
from taichinet.datasets.augmentation import AugmentationSettings
from taichinet.datasets.together import reduce_together
from taichinet.errors import SettingError
from taichinet.experiments.experiment import vary
from taichinet.training.fit import epoch_batches

REDUCED = {"reduced_share": 0.5, "reduced_size": 16}


def test_the_first_epochs_are_reduced_and_the_others_are_not() -> None:
    settings = tiny_settings(**REDUCED)
    sides = [[batch.image.shape[-1] for batch in epoch_batches(tiny_data(), settings, epoch)] for epoch in range(4)]
    assert sides == [[16] * 2, [16] * 2, [32] * 2, [32] * 2]


def test_images_and_masks_are_reduced_before_the_augmentation() -> None:
    data = replace(tiny_data(), augmentation=AugmentationSettings(probability=0))
    full, reduced = (
        list(epoch_batches(data, tiny_settings(**changes), 0)) for changes in ({"reduced_share": 0.0}, REDUCED)
    )
    for whole, small in zip(full, reduced, strict=True):
        expected = reduce_together(whole, 16)
        assert torch.equal(small.image, expected.image)
        assert torch.equal(small.lesion, expected.lesion)
        assert small.easy is not None
        assert expected.easy is not None
        assert torch.equal(small.easy, expected.easy)


def test_a_reduction_keeps_area_and_disjoint_regions() -> None:
    data = discs(4, size=48)
    regions = halves(data)
    batch = Batch(data.image / 255, data.lesion.float(), regions.easy.float(), regions.hard.float())
    small = reduce_together(batch, 32)
    assert small.image.shape == small.lesion.shape == (4, 1, 32, 32)
    assert small.image.mean() == pytest.approx(float(batch.image.mean()), abs=1e-3)
    assert small.lesion.mean() == pytest.approx(float(batch.lesion.mean()), rel=0.1)
    assert small.easy is not None
    assert small.hard is not None
    assert not (small.easy * small.hard).any()
    assert torch.equal((small.lesion == 0) & ((small.easy + small.hard) > 0), torch.zeros(4, 1, 32, 32).bool())


@pytest.mark.parametrize("size", [32, 40, 17])
def test_a_reduced_size_that_does_not_fit_is_refused(size: int) -> None:
    changes = {"data.size": 32, "training.reduced_share": 0.5, "training.reduced_size": size}
    with pytest.raises(SettingError, match=rf"reduced_size {size} does not fit: give a multiple of 16 below data.size"):
        vary(TINY, changes)
    assert vary(TINY, {**changes, "training.reduced_share": 0.0}).training.reduced_size == size
