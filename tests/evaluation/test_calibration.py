"""Calibration against pixel loops and scikit-learn, and what is said where there is nothing to measure."""

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


def image(seed: int, side: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that promise somewhat too much, and their truth."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(0.4, 0.8, (side, side)).astype(np.float32)
    return probability, rng.random((side, side)) < probability**1.5


def by_loops(probability: np.ndarray, truth: np.ndarray, bins: int) -> tuple[float, float]:
    """ECE and MCE pixel by pixel, straight from the definition."""
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for p, y in zip(probability.ravel().tolist(), truth.ravel().tolist(), strict=True):
        place = max(b for b in range(bins) if p >= b / bins)
        members[place].append((p, y))
    gaps = [
        (len(inside), abs(sum(p for p, _ in inside) / len(inside) - sum(y for _, y in inside) / len(inside)))
        for inside in members
        if inside
    ]
    return sum(n * gap for n, gap in gaps) / probability.size, max(gap for _, gap in gaps)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), bins=st.integers(1, 20))
def test_both_errors_are_those_of_a_loop_over_pixels(seed: int, bins: int) -> None:
    probability, truth = image(seed, 9)
    ece, mce = by_loops(probability, truth, bins)
    calibration = calibrate(probability, truth, bins)
    assert calibration.ece == pytest.approx(ece)
    assert calibration.mce == pytest.approx(mce)


def test_curve_and_brier_score_are_those_of_scikit_learn() -> None:
    probability, truth = image(1)
    calibration = calibrate(probability, truth)
    share, confidence = calibration_curve(truth.ravel(), probability.ravel().astype(float), n_bins=BINS)
    filled = [it for it in calibration.bins if it.pixels]
    assert [it.lesion_share for it in filled] == pytest.approx(share.tolist())
    assert [it.mean_confidence for it in filled] == pytest.approx(confidence.tolist())
    assert calibration.brier == pytest.approx(brier_score_loss(truth.ravel(), probability.ravel().astype(float)))


def test_images_pooled_are_the_images_measured_together() -> None:
    images = [image(seed) for seed in range(4)]
    together = calibrate(np.stack([p for p, _ in images]), np.stack([y for _, y in images]))
    pooled = pool(calibrate(p, y) for p, y in images)
    assert pooled.pixels == together.pixels
    assert pooled.lesion_pixels == together.lesion_pixels
    assert (pooled.ece, pooled.mce, pooled.brier) == pytest.approx((together.ece, together.mce, together.brier))


def test_probabilities_that_keep_their_promise_have_no_error() -> None:
    probability = np.repeat([0.0, 0.25, 0.5, 1.0], 4)
    truth = np.array([0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1], dtype=bool)
    calibration = calibrate(probability, truth)
    assert (calibration.ece, calibration.mce, calibration.overconfidence) == pytest.approx((0, 0, 0))


def test_confidently_wrong_everywhere_is_the_worst_there_is() -> None:
    calibration = calibrate(np.ones((2, 2)), np.zeros((2, 2), dtype=bool))
    assert (calibration.ece, calibration.mce, calibration.brier, calibration.overconfidence) == (1, 1, 1, 1)


def test_a_border_belongs_to_the_upper_bin_and_the_end_to_the_last() -> None:
    assert calibrate(np.array([0.0, 0.5, 1.0]), np.zeros(3, dtype=bool), bins=2).pixels == (1, 2)


def test_an_empty_bin_has_no_confidence_and_weighs_nothing() -> None:
    calibration = calibrate(np.array([0.9, 0.9]), np.array([True, False]), bins=2)
    assert isnan(calibration.bins[0].mean_confidence)
    assert isnan(calibration.bins[0].lesion_share)
    assert calibration.ece == pytest.approx(0.4)


def test_background_hides_what_the_band_shows() -> None:
    """4 doubtful pixels called 0.9 of which one is lesion, in 396 of certain background."""
    probability = np.array([0.001] * 396 + [0.9] * 4)
    truth = np.array([False] * 396 + [True] + [False] * 3)
    assert calibrate(probability, truth).ece < 0.01
    assert calibrate(probability, truth, within=UNCERTAIN).ece == pytest.approx(0.65)


def test_a_calibrated_network_stays_so_within_the_band_but_not_within_a_box_around_the_lesion() -> None:
    rng = np.random.default_rng(3)
    probability = rng.random(200_000)
    truth = rng.random(200_000) < probability
    assert calibrate(probability, truth, within=UNCERTAIN).ece < 0.01
    box = truth | (rng.random(200_000) < 0.3)  # all of the lesion, part of the rest: chosen by the truth
    assert calibrate(probability[box], truth[box]).ece > 0.1


def test_the_band_keeps_its_ends_and_may_be_empty() -> None:
    assert calibrate(np.array([0.05, 0.95, 0.96]), np.zeros(3, dtype=bool), within=UNCERTAIN).total == 2
    nothing = calibrate(np.array([0.0, 1.0]), np.zeros(2, dtype=bool), within=UNCERTAIN)
    assert nothing.total == 0
    assert all(map(isnan, (nothing.ece, nothing.mce, nothing.brier, nothing.overconfidence)))


def test_pooling_nothing_is_empty_and_adds_nothing() -> None:
    some = calibrate(*image(5))
    assert pool([]) + some == some


def test_calibrations_of_other_bins_are_not_pooled() -> None:
    with pytest.raises(SettingError, match="15 and 10 bins"):
        calibrate(*image(1)) + calibrate(*image(1), bins=10)


@pytest.mark.parametrize("bad", [1.5, -0.1, np.nan])
def test_what_is_no_probability_is_refused(bad: float) -> None:
    with pytest.raises(DataError, match="not logits"):
        calibrate(np.array([0.5, bad]), np.zeros(2, dtype=bool))


def test_wrong_shapes_types_and_bins_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(2,\) but the ground truth \(3,\)"):
        calibrate(np.zeros(2), np.zeros(3, dtype=bool))
    with pytest.raises(TypeError, match="requires bool"):
        calibrate(np.zeros(2), np.zeros(2))  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="at least 1"):
        calibrate(np.zeros(2), np.zeros(2, dtype=bool), bins=0)
