"""Undefined scores decided image by image: the means are those of `aggregate`, which decides them on its own."""

from __future__ import annotations

import pandas as pd
import pytest
from fakes.scores import lesion_row, lost_row, normal_row

from taichinet.evaluation.aggregate import POLICIES, SCORES, SUFFIX, aggregate
from taichinet.evaluation.undefined import decided_scores, empty_truth


def one_fold() -> pd.DataFrame:
    """Two lesions, one that resizing lost, a normal image left empty and one with a false alarm."""
    rows = [lesion_row("a", 0.8), lesion_row("b", 0.6), lost_row("lost"), normal_row("c", 0), normal_row("d", 20)]
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
