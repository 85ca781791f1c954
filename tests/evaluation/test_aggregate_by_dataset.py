"""`aggregate` of joined data sets has the scores of each data set."""

from __future__ import annotations

import pandas as pd
import pytest

from evaluation.test_aggregate import lesion, normal
from taichinet.evaluation.aggregate import Summary, aggregate

ROWS = [
    lesion("busi/a", 0, 0.8) | {"dataset": "busi"},
    lesion("busi/b", 1, 0.6) | {"dataset": "busi"},
    normal("busi/c", 0, 20) | {"dataset": "busi"},
    lesion("folder/a", 0, 0.4) | {"dataset": "folder"},
    normal("folder/c", 1, 0) | {"dataset": "folder"},
    normal("folder/d", 1, 50) | {"dataset": "folder"},
]


def test_lesion_images_of_each_data_set_are_a_group() -> None:
    groups = {group.group: group for group in aggregate(pd.DataFrame(ROWS)).groups if group.policy is None}
    assert groups["busi"].score("dice").per_fold == pytest.approx({0: 0.8, 1: 0.6})
    assert (groups["busi"].images, groups["folder"].images) == (2, 1)
    assert groups["folder"].score("dice").mean == pytest.approx(0.4)
    assert groups["lesion"].score("dice").mean == pytest.approx(0.6)


def test_false_positives_of_each_data_set_are_reported() -> None:
    summary = aggregate(pd.DataFrame(ROWS))
    rates = {name: images.false_positive_rate for name, images in summary.normal_images_by_dataset.items()}
    assert rates == {"busi": 1.0, "folder": 0.5}
    assert summary.normal_images.false_positive_rate == pytest.approx(2 / 3)
    assert Summary.model_validate(summary.model_dump(mode="json")) == summary


def test_a_single_data_set_has_no_groups_of_data_sets() -> None:
    summary = aggregate(pd.DataFrame(ROWS).drop(columns="dataset"))
    assert {group.group for group in summary.groups} == {"lesion", "all", "benign", "normal"}
    assert summary.normal_images_by_dataset == {}
