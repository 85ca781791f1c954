"""Undefined scores per image, against values written by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from fakes.scores import OVERLAP, lesion_row, lost_row, normal_row

from taichinet.evaluation.aggregate import aggregate
from taichinet.evaluation.undefined import (
    POLICIES,
    SCORES,
    SUFFIX,
    EmptyTruthPolicy,
    ImageSize,
    empty_ground_truth,
    resolve_undefined_scores,
)


def one_fold() -> pd.DataFrame:
    """Two lesions, a lesion lost by resizing, and normal images with and without predicted pixels."""
    rows = [lesion_row("a", 0.8), lesion_row("b", 0.6), lost_row("lost"), normal_row("c", 0), normal_row("d", 20)]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("policy", "score_if_empty"), [("paper", 0.0), ("correct-empty-is-1", 1.0)])
def test_each_image_has_the_score_of_the_policy(policy: EmptyTruthPolicy, score_if_empty: float) -> None:
    rows = one_fold()
    assert resolve_undefined_scores(rows, "dice", policy).tolist() == [0.8, 0.6, 0.0, score_if_empty, 0.0]
    assert resolve_undefined_scores(rows, "sensitivity", policy).tolist() == pytest.approx(
        [0.7, 0.5, 0.0, score_if_empty, 0.0]
    )
    assert resolve_undefined_scores(rows[~empty_ground_truth(rows)], "dice", None).tolist() == [0.8, 0.6, 0.0]


@pytest.mark.parametrize("score", [score for score in SCORES if score not in OVERLAP])
def test_policies_do_not_change_scores_defined_everywhere(score: str) -> None:
    rows = one_fold()
    for policy in (*POLICIES, None):
        assert resolve_undefined_scores(rows, score, policy).tolist() == rows[score].tolist()


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("size", SUFFIX)
def test_means_of_aggregate_equal_the_means_of_these_scores(score: str, size: ImageSize) -> None:
    rows = one_fold()
    summary = aggregate(rows)
    column = score + SUFFIX[size]
    for policy in POLICIES:
        (expected,) = [g.score(score, size).mean for g in summary.groups if (g.group, g.policy) == ("all", policy)]
        assert resolve_undefined_scores(rows, column, policy).mean() == pytest.approx(expected)
    lesions = resolve_undefined_scores(rows[~empty_ground_truth(rows)], column, None)
    assert lesions.mean() == pytest.approx(summary.lesion.score(score, size).mean)


def test_lesion_lost_by_resizing_is_not_a_normal_image() -> None:
    assert empty_ground_truth(one_fold()).tolist() == [False, False, False, True, True]


def test_empty_prediction_is_determined_at_each_size() -> None:
    """The prediction for a normal image can be empty at one size and have a pixel at the other."""
    only_native, only_network = normal_row("a", 0), normal_row("b", 3)
    swapped = [name + SUFFIX["native"] for name in (*OVERLAP, "accuracy", "hd95", "assd")]
    only_native, only_network = (
        only_native | {name: only_network[name] for name in swapped},
        only_network | {name: only_native[name] for name in swapped},
    )
    rows = pd.DataFrame([only_native, only_network])
    for score in OVERLAP:
        assert resolve_undefined_scores(rows, score, "correct-empty-is-1").tolist() == [1, 0]
        assert resolve_undefined_scores(rows, f"{score}_native", "correct-empty-is-1").tolist() == [0, 1]
        assert resolve_undefined_scores(rows, f"{score}_native", "paper").tolist() == [0, 0]
