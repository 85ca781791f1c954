"""Normalised surface Dice against MONAI, and its undefined cases."""

from __future__ import annotations

from math import hypot, isnan

import numpy as np
import pytest
import torch
from monai.metrics import compute_surface_dice

from taichinet.errors import SettingError
from taichinet.evaluation.masks import Mask
from taichinet.evaluation.metrics import surface_dice

EMPTY = np.zeros((30, 40), dtype=np.bool_)


def blob(seed: int) -> Mask:
    """A box with a ragged border."""
    rng = np.random.default_rng(seed)
    top, left = rng.integers(3, 8, 2)
    mask = EMPTY.copy()
    mask[top : top + 15, left : left + 20] = True
    return mask & (rng.random(EMPTY.shape) > 0.05)


def monai(prediction: Mask, truth: Mask, tolerance: float, spacing: tuple[float, float] | None = None) -> float:
    predicted, true = (torch.from_numpy(mask)[None, None].float() for mask in (prediction, truth))
    return float(compute_surface_dice(predicted, true, [tolerance], include_background=True, spacing=spacing))


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_monai(seed: int, tolerance: float) -> None:
    prediction, truth = blob(seed), blob(seed + 10)
    assert surface_dice(prediction, truth, tolerance) == pytest.approx(monai(prediction, truth, tolerance))
    spacing = (0.5, 0.25)
    expected = monai(prediction, truth, tolerance / 2, spacing)
    assert surface_dice(prediction, truth, tolerance / 2, spacing) == pytest.approx(expected)


def test_tolerance_is_a_hundredth_of_the_diagonal() -> None:
    truth, shape = np.zeros((300, 400), dtype=np.bool_), (300, 400)
    truth[100:200, 100:200] = True
    assert hypot(*shape) / 100 == 5
    assert surface_dice(np.roll(truth, 5, axis=1), truth) == 1
    assert surface_dice(np.roll(truth, 6, axis=1), truth) < 1
    assert surface_dice(np.roll(truth, 5, axis=1), truth, spacing_mm=(0.1, 0.1)) == 1


def test_empty_masks() -> None:
    assert surface_dice(EMPTY, blob(0)) == 0
    assert surface_dice(blob(0), EMPTY) == 0
    assert isnan(surface_dice(EMPTY, EMPTY))


@pytest.mark.parametrize("tolerance", [-1.0, float("nan")])
def test_impossible_tolerance_is_rejected(tolerance: float) -> None:
    with pytest.raises(SettingError, match=f"tolerance is {tolerance}"):
        surface_dice(blob(0), blob(1), tolerance)
