"""The shift suite."""

from __future__ import annotations

import pytest
import torch
from helpers import discs

from taichinet.datasets.ultrasound.settings import UltrasoundSettings
from taichinet.datasets.ultrasound.shifts import SHIFTS, shifted


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_changes_every_image_and_is_the_same_each_time(shift: str) -> None:
    data = discs(20, size=64)
    once, twice = shifted(data, shift), shifted(data, shift)
    assert torch.equal(once.image, twice.image)
    assert torch.equal(once.lesion, twice.lesion)
    assert all(not torch.equal(new, old) for new, old in zip(once.image, data.image, strict=True))
    assert once.image.dtype == once.lesion.dtype == torch.uint8
    assert (once.keys, once.labels, once.image.shape) == (data.keys, data.labels, data.image.shape)


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_is_one_transformation_with_one_amount(shift: str) -> None:
    used = [name for name in UltrasoundSettings.model_fields if getattr(SHIFTS[shift], name).probability]
    (name,) = used
    low, high = getattr(SHIFTS[shift], name).range
    assert low == high


def test_masks_follow_the_geometry_and_not_the_appearance() -> None:
    data = discs(6, size=64)
    area = data.lesion.float().mean()
    assert torch.equal(shifted(data, "gain 0.6").lesion, data.lesion)
    assert torch.equal(shifted(data, "marks").lesion, data.lesion)
    assert shifted(data, "frame: zoom 0.6").lesion.float().mean() < 0.6 * area
    assert shifted(data, "gain 0.6").image.float().mean() < 0.65 * data.image.float().mean()
