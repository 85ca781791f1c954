"""Undefined scores decided image by image: the means are those of `aggregate`, which decides them on its own."""

from __future__ import annotations

import pandas as pd
import pytest

from taichinet.evaluation.aggregate import OVERLAP_SCORES, POLICIES, SCORES, SUFFIX, aggregate
from taichinet.evaluation.undefined import decided_scores, empty_truth
from tests.evaluation.test_aggregate import lesion, normal


def one_fold() -> pd.DataFrame:
    """Two lesions, one that resizing lost, a normal image left empty and one with a false alarm."""
    lost = lesion("lost", 0, 0.0) | dict.fromkeys(OVERLAP_SCORES, float("nan")) | {"true_pixels": 0}
    lost |= {f"{name}_native": 0.0 for name in OVERLAP_SCORES} | {"predicted_pixels": 0}
    rows = [lesion("a", 0, 0.8), lesion("b", 0, 0.6), lost, normal("c", 0, 0), normal("d", 0, 20)]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("size", SUFFIX)
def test_means_are_those_of_aggregate(score: str, size: str) -> None:
    rows = one_fold()
    summary = aggregate(rows)
    column = score + SUFFIX[size]  # type: ignore[index]
    for policy in POLICIES:
        expected = summary.all_images[policy].scores[size][score].mean  # type: ignore[index]
        assert decided_scores(rows, column, policy).mean() == pytest.approx(expected)
    lesions = decided_scores(rows[~empty_truth(rows)], column, None)
    assert lesions.mean() == pytest.approx(summary.lesion.scores[size][score].mean)  # type: ignore[index]


def test_a_lesion_that_resizing_lost_is_no_normal_image() -> None:
    assert empty_truth(one_fold()).tolist() == [False, False, False, True, True]
