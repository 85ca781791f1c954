"""aggregate against sums done by hand, under both policies, and against the paper's printed figures."""

from __future__ import annotations

import json
from math import isfinite, nan, sqrt

import pandas as pd
import pytest

from taichinet.errors import DataError
from taichinet.evaluation.aggregate import COLUMNS, FoldScore, GroupScores, Summary, aggregate
from taichinet.evaluation.undefined import POLICIES, SCORES, SIZES


def lesion(key: str, fold: int, dice: float, label: str = "benign") -> dict[str, object]:
    """An image with a lesion: native scores 0.1 below those at network size."""
    network = {"dice": dice, "jaccard": dice / 2, "accuracy": 0.9, "precision": dice, "sensitivity": dice}
    distances = {"hd95": 10.0, "assd": 2.0}
    native = {f"{name}_native": value - 0.1 for name, value in (network | distances).items()}
    pixels = {"predicted_pixels": 30, "true_pixels": 40, "pixels": 100}
    return {"key": key, "label": label, "fold": fold} | network | distances | native | pixels


def normal(key: str, fold: int, predicted_pixels: int) -> dict[str, object]:
    """An image with empty truth, scored as score_mask does."""
    overlap = 0.0 if predicted_pixels else nan
    distance = 14.0 if predicted_pixels else 0.0
    network: dict[str, object] = {
        "dice": overlap,
        "jaccard": overlap,
        "accuracy": 1 - predicted_pixels / 100,
        "precision": overlap,
        "sensitivity": nan,
        "hd95": distance,
        "assd": distance,
    }
    native = {f"{name}_native": value for name, value in network.items()}
    pixels = {"predicted_pixels": predicted_pixels, "true_pixels": 0, "pixels": 100}
    return {"key": key, "label": "normal", "fold": fold} | network | native | pixels


def two_folds() -> pd.DataFrame:
    return pd.DataFrame(
        [
            lesion("a", 0, 0.8),
            lesion("b", 0, 0.6, "malignant"),
            normal("c", 0, 0),
            normal("d", 0, 20),
            lesion("e", 1, 0.9),
            normal("f", 1, 0),
        ]
    )


def group(summary: Summary, name: str, policy: str | None) -> GroupScores:
    (found,) = [one for one in summary.groups if (one.group, one.policy) == (name, policy)]
    return found


def dice(scores: GroupScores) -> FoldScore:
    return scores.score("dice")


def test_the_headline_is_the_mean_over_folds_of_lesion_images_only() -> None:
    headline = aggregate(two_folds()).lesion
    assert (headline.images, headline.images_per_fold, headline.policy) == (3, {0: 2, 1: 1}, None)
    assert dice(headline).per_fold == pytest.approx({0: 0.7, 1: 0.9})
    assert dice(headline).mean == pytest.approx(0.8)
    assert dice(headline).std == pytest.approx(sqrt(0.01 + 0.01))  # ddof=1
    assert headline.score("dice", "native").mean == pytest.approx(0.7)
    assert headline.score("hd95").mean == pytest.approx(10)


def test_the_papers_policy_scores_every_normal_image_zero() -> None:
    scores = group(aggregate(two_folds()), "all", "paper")
    assert scores.images == 6
    assert dice(scores).per_fold == pytest.approx({0: 1.4 / 4, 1: 0.9 / 2})
    assert scores.score("sensitivity").mean == pytest.approx((1.4 / 4 + 0.9 / 2) / 2)
    assert scores.score("jaccard", "native").per_fold == pytest.approx({0: 0.5 / 4, 1: 0.35 / 2})


def test_the_other_policy_rewards_an_empty_prediction_only() -> None:
    scores = group(aggregate(two_folds()), "all", "correct-empty-is-1")
    for name in ("dice", "precision", "sensitivity"):
        assert scores.score(name).per_fold == pytest.approx({0: 2.4 / 4, 1: 1.9 / 2})
    assert scores.score("jaccard", "native").per_fold == pytest.approx({0: 1.5 / 4, 1: 1.35 / 2})


@pytest.mark.parametrize("name", ["accuracy", "hd95", "assd"])
def test_no_policy_touches_what_is_defined_for_every_image(name: str) -> None:
    summary = aggregate(two_folds())
    paper, other = (group(summary, "all", policy) for policy in POLICIES)
    assert paper.score(name) == other.score(name)
    assert paper.score("hd95").per_fold == pytest.approx({0: 34 / 4, 1: 5})


def test_classes_stand_apart_and_only_the_normal_one_needs_a_policy() -> None:
    summary = aggregate(two_folds())
    named = [(one.group, one.policy) for one in summary.groups[3:]]
    assert named == [
        ("benign", None),
        ("malignant", None),
        ("normal", "paper"),
        ("normal", "correct-empty-is-1"),
    ]
    assert dice(group(summary, "benign", None)).per_fold == pytest.approx({0: 0.8, 1: 0.9})
    assert dice(group(summary, "normal", "paper")).mean == 0
    assert dice(group(summary, "normal", "correct-empty-is-1")).per_fold == pytest.approx({0: 0.5, 1: 1})


def test_a_fold_without_the_class_is_left_out_of_its_deviation() -> None:
    malignant = group(aggregate(two_folds()), "malignant", None)
    assert dice(malignant) == FoldScore(mean=0.6, std=None, per_fold={0: 0.6})


def test_normal_images_are_reported_by_rate_and_area() -> None:
    report = aggregate(two_folds()).normal_images
    assert report.images == 3
    assert report.false_positive_rate == pytest.approx(1 / 3)
    assert report.mean_false_positive_area == pytest.approx(0.2 / 3)
    rows = two_folds()
    rows.loc[rows["key"] == "d", ["predicted_pixels", "pixels"]] = 300, 1000  # a larger image weighs no more
    assert aggregate(rows).normal_images.mean_false_positive_area == pytest.approx(0.3 / 3)


def test_one_fold_has_no_deviation() -> None:
    summary = aggregate(two_folds().query("fold == 0"))
    assert all(score.std is None for one in summary.groups for score in one.network.values())


def test_the_papers_table_with_normal_images_follows_from_the_one_without() -> None:
    rows = [lesion(str(number), 0, 0.836) for number in range(647)]
    rows += [normal(f"n{number}", 0, number % 2) for number in range(133)]
    summary = aggregate(pd.DataFrame(rows))
    assert dice(summary.lesion).mean == pytest.approx(0.836)
    assert dice(group(summary, "all", "paper")).mean == pytest.approx(0.836 * 647 / 780)
    assert dice(group(summary, "all", "paper")).mean == pytest.approx(0.693, abs=0.0005)
    assert dice(group(summary, "all", "correct-empty-is-1")).mean == pytest.approx((0.836 * 647 + 67) / 780)


def test_without_normal_images_the_policies_agree_with_the_headline() -> None:
    rows = two_folds()
    summary = aggregate(rows[rows["label"] != "normal"])
    for policy in POLICIES:
        everything = group(summary, "all", policy)
        assert (everything.network, everything.native) == (summary.lesion.network, summary.lesion.native)
    assert summary.normal_images.images == 0
    assert summary.normal_images.false_positive_rate is None


def test_normal_images_alone_leave_the_headline_without_a_value() -> None:
    rows = two_folds()
    headline = aggregate(rows[rows["label"] == "normal"]).lesion
    assert (headline.images, dice(headline).std, dice(headline).per_fold) == (0, None, {})
    assert dice(headline).mean is None


def test_a_lesion_that_resizing_lost_stays_a_lesion_and_counts_as_missed() -> None:
    rows = pd.DataFrame([lesion("a", 0, 0.8), lesion("b", 0, 0.4)])
    rows.loc[1, ["dice", "jaccard", "precision", "sensitivity"]] = nan
    rows.loc[1, ["true_pixels", "predicted_pixels"]] = 0
    summary = aggregate(rows)
    assert summary.normal_images.images == 0
    assert summary.lesion.images == 2
    assert dice(summary.lesion).mean == pytest.approx(0.4)
    assert summary.lesion.score("dice", "native").mean == pytest.approx(0.5)


def test_order_and_index_of_the_rows_decide_nothing() -> None:
    rows = two_folds()
    shuffled = rows.sample(frac=1, random_state=3)
    shuffled.index = pd.Index([0] * len(rows))
    for group, shuffled_group in zip(aggregate(rows).groups, aggregate(shuffled).groups, strict=True):
        assert (group.group, group.policy, group.images) == (
            shuffled_group.group,
            shuffled_group.policy,
            shuffled_group.images,
        )
        for size in SIZES:
            for name in SCORES:
                score, shuffled_score = group.score(name, size), shuffled_group.score(name, size)
                assert shuffled_score.mean == pytest.approx(score.mean)
                assert shuffled_score.std == pytest.approx(score.std)


def test_the_rows_given_are_not_changed() -> None:
    rows = two_folds()
    aggregate(rows)
    pd.testing.assert_frame_equal(rows, two_folds())


def test_the_summary_survives_strict_json_and_says_its_deviation() -> None:
    rows = two_folds()
    summary = aggregate(rows[(rows["label"] != "normal") & (rows["fold"] == 0)])
    told = json.loads(json.dumps(summary.model_dump(mode="json"), allow_nan=False))
    assert "ddof=1" in told["deviation"]
    assert told["normal_images"] == {
        "images": 0,
        "false_positive_rate": None,
        "mean_false_positive_area": None,
    }
    assert told["groups"][0]["group"] == "lesion"
    assert told["groups"][0]["images_per_fold"] == {"0": 2}
    assert told["groups"][0]["network"]["dice"] == {
        "mean": pytest.approx(0.7),
        "std": None,
        "per_fold": {"0": pytest.approx(0.7)},
    }


def test_the_groups_are_in_order_and_only_those_with_normal_images_have_a_policy() -> None:
    groups = aggregate(two_folds()).groups
    assert [group.group for group in groups] == ["lesion", "all", "all", "benign", "malignant", "normal", "normal"]
    assert [group.images for group in groups] == [3, 6, 6, 2, 1, 3, 3]
    assert [group.policy for group in groups] == [None, *POLICIES, None, None, *POLICIES]
    for group in groups:
        for scores in (group.network, group.native):
            assert set(scores) == set(SCORES)
            assert all(score.mean is not None and isfinite(score.mean) for score in scores.values())
    assert groups[0].score("dice", "native").mean == pytest.approx(0.7)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(DataError, match=rf"lacks the columns {column};"):
        aggregate(two_folds().drop(columns=column))


def test_an_image_tested_twice_is_refused() -> None:
    rows = pd.concat([two_folds(), pd.DataFrame([lesion("a", 1, 0.5)])])
    with pytest.raises(DataError, match="duplicate images") as caught:
        aggregate(rows)
    assert caught.value.problems == ("a",)


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(DataError, match="no rows"):
        aggregate(two_folds().iloc[:0])


@pytest.mark.parametrize("column", ["dice", "sensitivity_native", "hd95", "accuracy_native", "fold"])
def test_an_empty_cell_of_a_lesion_image_is_refused(column: str) -> None:
    rows = two_folds()
    rows.loc[4, column] = nan
    with pytest.raises(DataError, match="empty cells") as caught:
        aggregate(rows)
    assert caught.value.problems == ("e",)


def test_several_regions_are_scored_apart_and_the_outermost_leads() -> None:
    disc = pd.DataFrame([lesion("a", 0, 0.9), lesion("b", 1, 0.7)]).assign(region="disc")
    cup = pd.DataFrame([lesion("a", 0, 0.5), lesion("b", 1, 0.3)]).assign(region="cup")
    summary = aggregate(pd.concat([disc, cup], ignore_index=True))
    assert dice(summary.lesion).mean == pytest.approx(0.8)
    assert [scores.group for scores in summary.groups] == ["lesion", "all", "all", "benign", "disc", "cup"]
    assert [dice(scores).mean for scores in summary.groups[-2:]] == pytest.approx([0.8, 0.4])
    assert summary.lesion.images == 2
    assert [scores.group for scores in aggregate(disc).groups] == ["lesion", "all", "all", "benign"]
    without = pd.DataFrame([normal("c", 0, 0)])
    rows = pd.concat([disc, without.assign(region="disc"), cup, without.assign(region="cup")], ignore_index=True)
    assert [scores.images for scores in aggregate(rows).groups[-2:]] == [2, 2]  # images with the region alone
    with pytest.raises(DataError, match="duplicate images"):
        aggregate(pd.concat([disc, disc], ignore_index=True))


def test_an_image_in_several_folds_counts_once_and_only_where_that_is_meant() -> None:
    rows = pd.DataFrame([lesion("a", 0, 0.8), lesion("b", 0, 0.6), lesion("a", 1, 0.5), lesion("b", 1, 0.3)])
    with pytest.raises(DataError, match="duplicate images"):
        aggregate(rows)
    summary = aggregate(rows, repeated=True)
    assert summary.lesion.images == 2
    assert summary.lesion.score("dice").per_fold == pytest.approx({0: 0.7, 1: 0.4})
    with pytest.raises(DataError, match="duplicate images"):
        aggregate(pd.concat([rows, rows[:1]], ignore_index=True), repeated=True)
