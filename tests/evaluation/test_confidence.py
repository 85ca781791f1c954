"""Detection by peak probability against scikit-learn and a loop over all pairs."""

from __future__ import annotations

from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from taichinet.errors import DataError
from taichinet.evaluation.confidence import detection_auc, measure_confidence, peak_probability

# Few levels make ties frequent.
PEAKS = st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 0.9, 1.0]), min_size=1, max_size=12)


@given(lesions=PEAKS, normals=PEAKS)
def test_auc_equals_scikit_learn_and_all_pairs(lesions: list[float], normals: list[float]) -> None:
    area = detection_auc(lesions, normals)
    truth = [1] * len(lesions) + [0] * len(normals)
    assert area == pytest.approx(roc_auc_score(truth, lesions + normals))
    wins = sum((lesion > normal) + 0.5 * (lesion == normal) for lesion in lesions for normal in normals)
    assert area == pytest.approx(wins / (len(lesions) * len(normals)))


def test_auc_is_undefined_without_lesions_or_without_normals() -> None:
    assert isnan(detection_auc([], [0.1]))
    assert isnan(detection_auc([0.1], []))


def test_peak_that_is_nan_is_rejected() -> None:
    with pytest.raises(DataError, match="1 of 2 peaks"):
        detection_auc([0.3], [nan])


def test_single_bright_pixel_is_no_peak_but_a_patch_is() -> None:
    speckle = np.zeros((128, 128), dtype=np.float32)
    speckle[3, 3] = 1
    assert peak_probability(speckle) == 0
    speckle[3:8, 3:8] = 1
    assert peak_probability(speckle) == 1


def test_image_without_pixels_is_rejected() -> None:
    with pytest.raises(DataError, match="at least one pixel"):
        peak_probability(np.empty((0, 4)))


def test_measured_confidence_contains_both_calibrations_and_the_peak() -> None:
    probability = np.array([[0.01, 0.5], [0.9, 0.99]])
    confidence = measure_confidence(probability, probability > 0.6)
    assert (confidence.whole.total, confidence.uncertain.total) == (4, 2)
    assert confidence.peak == peak_probability(probability)
