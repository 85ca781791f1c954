"""`aggregate` averages the Dice before the presence decision, over folds with and without such a decision."""

from __future__ import annotations

from math import nan

import pandas as pd
import pytest

from evaluation.test_aggregate import lesion, normal
from taichinet.evaluation.aggregate import DICE_BEFORE, Summary, aggregate

ROWS = [
    lesion("a", 0, 0.0) | {"dataset": "busi", "dice_before_native": 0.7},
    lesion("b", 0, 0.8) | {"dataset": "folder", "dice_before_native": 0.9},
    normal("c", 0, 0) | {"dataset": "busi", "dice_before_native": nan},
    lesion("d", 1, 0.6) | {"dataset": "busi", "dice_before_native": nan},  # a fold without a presence decision
]


def test_folds_without_presence_decision_have_the_same_dice_before_it() -> None:
    summary = aggregate(pd.DataFrame(ROWS))
    plain = summary.lesion.score("dice", "native").per_fold[1]
    before = summary.lesion.score(DICE_BEFORE, "native")
    assert before.per_fold == pytest.approx({0: 0.8, 1: plain})
    assert before.std is not None
    by_dataset = {group.group: group for group in summary.groups if group.policy is None}
    assert by_dataset["busi"].score(DICE_BEFORE, "native").per_fold == pytest.approx({0: 0.7, 1: plain})
    assert by_dataset["folder"].score(DICE_BEFORE, "native").mean == pytest.approx(0.9)
    assert Summary.model_validate(summary.model_dump(mode="json")) == summary


def test_groups_with_normal_images_and_earlier_tables_have_no_such_score() -> None:
    assert not any(DICE_BEFORE in group.native for group in aggregate(pd.DataFrame(ROWS)).groups if group.policy)
    earlier = aggregate(pd.DataFrame(ROWS).drop(columns="dice_before_native"))
    assert not any(DICE_BEFORE in group.native for group in earlier.groups)
