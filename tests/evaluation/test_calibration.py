"""Calibration against pixel loops and scikit-learn, and results for empty input."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from taichinet.errors import DataError, SettingError
from taichinet.evaluation.calibration import BINS, UNCERTAIN, calibrate, pool


def overconfident_image(seed: int, side: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Slightly overconfident probabilities and their ground truth."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(0.4, 0.8, (side, side)).astype(np.float32)
    return probability, rng.random((side, side)) < probability**1.5


def by_loops(probability: np.ndarray, truth: np.ndarray, bins: int) -> tuple[float, float]:
    """ECE and MCE pixel by pixel, from the definition."""
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for p, y in zip(probability.ravel().tolist(), truth.ravel().tolist(), strict=True):
        bin_index = max(b for b in range(bins) if p >= b / bins)
        members[bin_index].append((p, y))
    gaps = [
        (len(inside), abs(sum(p for p, _ in inside) / len(inside) - sum(y for _, y in inside) / len(inside)))
        for inside in members
        if inside
    ]
    return sum(n * gap for n, gap in gaps) / probability.size, max(gap for _, gap in gaps)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), bins=st.integers(1, 20))
def test_ece_and_mce_equal_a_loop_over_pixels(seed: int, bins: int) -> None:
    probability, truth = overconfident_image(seed, 9)
    ece, mce = by_loops(probability, truth, bins)
    calibration = calibrate(probability, truth, bins)
    assert calibration.ece == pytest.approx(ece)
    assert calibration.mce == pytest.approx(mce)


def test_curve_and_brier_score_equal_scikit_learn() -> None:
    probability, truth = overconfident_image(1)
    calibration = calibrate(probability, truth)
    share, confidence = calibration_curve(truth.ravel(), probability.ravel().astype(float), n_bins=BINS)
    filled = [bin_ for bin_ in calibration.bins if bin_.pixels]
    assert [bin_.lesion_share for bin_ in filled] == pytest.approx(share.tolist())
    assert [bin_.mean_confidence for bin_ in filled] == pytest.approx(confidence.tolist())
    assert calibration.brier == pytest.approx(brier_score_loss(truth.ravel(), probability.ravel().astype(float)))


def test_pooled_images_equal_one_joint_measurement() -> None:
    images = [overconfident_image(seed) for seed in range(4)]
    joint = calibrate(np.stack([p for p, _ in images]), np.stack([y for _, y in images]))
    pooled = pool(calibrate(p, y) for p, y in images)
    assert pooled.pixels == joint.pixels
    assert pooled.lesion_pixels == joint.lesion_pixels
    assert (pooled.ece, pooled.mce, pooled.brier) == pytest.approx((joint.ece, joint.mce, joint.brier))


def test_calibrated_probabilities_have_no_error() -> None:
    probability = np.repeat([0.0, 0.25, 0.5, 1.0], 4)
    truth = np.array([0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1], dtype=bool)
    calibration = calibrate(probability, truth)
    assert (calibration.ece, calibration.mce, calibration.overconfidence) == pytest.approx((0, 0, 0))


def test_certain_and_wrong_everywhere_has_the_maximum_error() -> None:
    calibration = calibrate(np.ones((2, 2)), np.zeros((2, 2), dtype=bool))
    assert (calibration.ece, calibration.mce, calibration.brier, calibration.overconfidence) == (1, 1, 1, 1)


def test_bin_border_belongs_to_the_upper_bin_and_1_to_the_last() -> None:
    assert calibrate(np.array([0.0, 0.5, 1.0]), np.zeros(3, dtype=bool), bins=2).pixels == (1, 2)


def test_empty_bin_has_no_confidence_and_no_weight() -> None:
    calibration = calibrate(np.array([0.9, 0.9]), np.array([True, False]), bins=2)
    assert isnan(calibration.bins[0].mean_confidence)
    assert isnan(calibration.bins[0].lesion_share)
    assert calibration.ece == pytest.approx(0.4)


def test_uncertain_band_shows_an_error_hidden_by_the_background() -> None:
    """Four pixels have probability 0.9 and only one of them is lesion; 396 pixels are certain background."""
    probability = np.array([0.001] * 396 + [0.9] * 4)
    truth = np.array([False] * 396 + [True] + [False] * 3)
    assert calibrate(probability, truth).ece < 0.01
    assert calibrate(probability, truth, within=UNCERTAIN).ece == pytest.approx(0.65)


def test_calibrated_network_is_calibrated_in_the_band_but_not_in_a_box() -> None:
    rng = np.random.default_rng(3)
    probability = rng.random(200_000)
    truth = rng.random(200_000) < probability
    assert calibrate(probability, truth, within=UNCERTAIN).ece < 0.01
    box = truth | (rng.random(200_000) < 0.3)  # the lesion and part of the rest, selected by the ground truth
    assert calibrate(probability[box], truth[box]).ece > 0.1


def test_band_includes_its_ends_and_can_be_empty() -> None:
    assert calibrate(np.array([0.05, 0.95, 0.96]), np.zeros(3, dtype=bool), within=UNCERTAIN).total == 2
    empty = calibrate(np.array([0.0, 1.0]), np.zeros(2, dtype=bool), within=UNCERTAIN)
    assert empty.total == 0
    assert all(map(isnan, (empty.ece, empty.mce, empty.brier, empty.overconfidence)))


def test_pool_of_nothing_is_empty_and_adds_nothing() -> None:
    some = calibrate(*overconfident_image(5))
    assert pool([]) + some == some


def test_calibrations_with_different_bins_are_not_pooled() -> None:
    with pytest.raises(SettingError, match="15 and 10 bins"):
        calibrate(*overconfident_image(1)) + calibrate(*overconfident_image(1), bins=10)


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan])
def test_values_that_are_no_probabilities_are_rejected(value: float) -> None:
    with pytest.raises(DataError, match="not logits"):
        calibrate(np.array([0.5, value]), np.zeros(2, dtype=bool))


def test_wrong_shapes_types_and_bins_are_rejected() -> None:
    with pytest.raises(DataError, match=r"\(2,\) but the ground truth \(3,\)"):
        calibrate(np.zeros(2), np.zeros(3, dtype=bool))
    with pytest.raises(TypeError, match="requires bool"):
        calibrate(np.zeros(2), np.zeros(2))  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="at least 1"):
        calibrate(np.zeros(2), np.zeros(2, dtype=bool), bins=0)
