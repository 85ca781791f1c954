"""`aggregate` against sums computed by hand, for both policies, and against the printed figures of the paper."""

from __future__ import annotations

import json
from math import isfinite, nan, sqrt

import pandas as pd
import pytest

from taichinet.errors import DataError
from taichinet.evaluation.aggregate import COLUMNS, FoldScore, GroupScores, Summary, aggregate
from taichinet.evaluation.undefined import POLICIES, SCORES, SIZES


def lesion(key: str, fold: int, dice: float, label: str = "benign") -> dict[str, object]:
    """An image with a lesion; its native scores are 0.1 below those at network size."""
    network = {"dice": dice, "jaccard": dice / 2, "accuracy": 0.9, "precision": dice, "sensitivity": dice}
    distances = {"hd95": 10.0, "assd": 2.0}
    native = {f"{name}_native": value - 0.1 for name, value in (network | distances).items()}
    pixels = {"predicted_pixels": 30, "true_pixels": 40, "pixels": 100}
    return {"key": key, "label": label, "fold": fold} | network | distances | native | pixels


def normal(key: str, fold: int, predicted_pixels: int) -> dict[str, object]:
    """An image with empty ground truth, scored like `score_mask`."""
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
    (scores,) = [scores for scores in summary.groups if (scores.group, scores.policy) == (name, policy)]
    return scores


def dice(scores: GroupScores) -> FoldScore:
    return scores.score("dice")


def test_headline_is_the_mean_over_folds_of_lesion_images() -> None:
    headline = aggregate(two_folds()).lesion
    assert (headline.images, headline.images_per_fold, headline.policy) == (3, {0: 2, 1: 1}, None)
    assert dice(headline).per_fold == pytest.approx({0: 0.7, 1: 0.9})
    assert dice(headline).mean == pytest.approx(0.8)
    assert dice(headline).std == pytest.approx(sqrt(0.01 + 0.01))  # ddof=1
    assert headline.score("dice", "native").mean == pytest.approx(0.7)
    assert headline.score("hd95").mean == pytest.approx(10)


def test_paper_policy_scores_every_normal_image_zero() -> None:
    scores = group(aggregate(two_folds()), "all", "paper")
    assert scores.images == 6
    assert dice(scores).per_fold == pytest.approx({0: 1.4 / 4, 1: 0.9 / 2})
    assert scores.score("sensitivity").mean == pytest.approx((1.4 / 4 + 0.9 / 2) / 2)
    assert scores.score("jaccard", "native").per_fold == pytest.approx({0: 0.5 / 4, 1: 0.35 / 2})


def test_correct_empty_policy_scores_only_empty_predictions_1() -> None:
    scores = group(aggregate(two_folds()), "all", "correct-empty-is-1")
    for name in ("dice", "precision", "sensitivity"):
        assert scores.score(name).per_fold == pytest.approx({0: 2.4 / 4, 1: 1.9 / 2})
    assert scores.score("jaccard", "native").per_fold == pytest.approx({0: 1.5 / 4, 1: 1.35 / 2})


@pytest.mark.parametrize("name", ["accuracy", "hd95", "assd"])
def test_policies_do_not_change_scores_defined_for_every_image(name: str) -> None:
    summary = aggregate(two_folds())
    paper, other = (group(summary, "all", policy) for policy in POLICIES)
    assert paper.score(name) == other.score(name)
    assert paper.score("hd95").per_fold == pytest.approx({0: 34 / 4, 1: 5})


def test_classes_are_reported_separately_and_only_normal_has_policies() -> None:
    summary = aggregate(two_folds())
    groups_and_policies = [(scores.group, scores.policy) for scores in summary.groups[3:]]
    assert groups_and_policies == [
        ("benign", None),
        ("malignant", None),
        ("normal", "paper"),
        ("normal", "correct-empty-is-1"),
    ]
    assert dice(group(summary, "benign", None)).per_fold == pytest.approx({0: 0.8, 1: 0.9})
    assert dice(group(summary, "normal", "paper")).mean == 0
    assert dice(group(summary, "normal", "correct-empty-is-1")).per_fold == pytest.approx({0: 0.5, 1: 1})


def test_fold_without_the_class_is_left_out_of_its_deviation() -> None:
    malignant = group(aggregate(two_folds()), "malignant", None)
    assert dice(malignant) == FoldScore(mean=0.6, std=None, per_fold={0: 0.6})


def test_normal_images_are_reported_by_rate_and_area() -> None:
    report = aggregate(two_folds()).normal_images
    assert report.images == 3
    assert report.false_positive_rate == pytest.approx(1 / 3)
    assert report.mean_false_positive_area == pytest.approx(0.2 / 3)
    rows = two_folds()
    rows.loc[rows["key"] == "d", ["predicted_pixels", "pixels"]] = 300, 1000  # a larger image has the same weight
    assert aggregate(rows).normal_images.mean_false_positive_area == pytest.approx(0.3 / 3)


def test_single_fold_has_no_deviation() -> None:
    summary = aggregate(two_folds().query("fold == 0"))
    assert all(score.std is None for scores in summary.groups for score in scores.network.values())


def test_paper_table_with_normal_images_follows_from_the_table_without() -> None:
    rows = [lesion(str(number), 0, 0.836) for number in range(647)]
    rows += [normal(f"n{number}", 0, number % 2) for number in range(133)]
    summary = aggregate(pd.DataFrame(rows))
    assert dice(summary.lesion).mean == pytest.approx(0.836)
    assert dice(group(summary, "all", "paper")).mean == pytest.approx(0.836 * 647 / 780)
    assert dice(group(summary, "all", "paper")).mean == pytest.approx(0.693, abs=0.0005)
    assert dice(group(summary, "all", "correct-empty-is-1")).mean == pytest.approx((0.836 * 647 + 67) / 780)


def test_policies_equal_the_headline_without_normal_images() -> None:
    rows = two_folds()
    summary = aggregate(rows[rows["label"] != "normal"])
    for policy in POLICIES:
        all_images = group(summary, "all", policy)
        assert (all_images.network, all_images.native) == (summary.lesion.network, summary.lesion.native)
    assert summary.normal_images.images == 0
    assert summary.normal_images.false_positive_rate is None


def test_headline_of_normal_images_only_has_no_value() -> None:
    rows = two_folds()
    headline = aggregate(rows[rows["label"] == "normal"]).lesion
    assert (headline.images, dice(headline).std, dice(headline).per_fold) == (0, None, {})
    assert dice(headline).mean is None


def test_lesion_lost_by_resizing_counts_as_missed_lesion() -> None:
    rows = pd.DataFrame([lesion("a", 0, 0.8), lesion("b", 0, 0.4)])
    rows.loc[1, ["dice", "jaccard", "precision", "sensitivity"]] = nan
    rows.loc[1, ["true_pixels", "predicted_pixels"]] = 0
    summary = aggregate(rows)
    assert summary.normal_images.images == 0
    assert summary.lesion.images == 2
    assert dice(summary.lesion).mean == pytest.approx(0.4)
    assert summary.lesion.score("dice", "native").mean == pytest.approx(0.5)


def test_row_order_and_index_do_not_change_the_summary() -> None:
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


def test_input_rows_are_unchanged() -> None:
    rows = two_folds()
    aggregate(rows)
    pd.testing.assert_frame_equal(rows, two_folds())


def test_summary_is_strict_json_and_states_its_deviation() -> None:
    rows = two_folds()
    summary = aggregate(rows[(rows["label"] != "normal") & (rows["fold"] == 0)])
    summary_dict = json.loads(json.dumps(summary.model_dump(mode="json"), allow_nan=False))
    assert "ddof=1" in summary_dict["deviation"]
    assert summary_dict["normal_images"] == {
        "images": 0,
        "false_positive_rate": None,
        "mean_false_positive_area": None,
    }
    assert summary_dict["groups"][0]["group"] == "lesion"
    assert summary_dict["groups"][0]["images_per_fold"] == {"0": 2}
    assert summary_dict["groups"][0]["network"]["dice"] == {
        "mean": pytest.approx(0.7),
        "std": None,
        "per_fold": {"0": pytest.approx(0.7)},
    }


def test_groups_are_ordered_and_only_those_with_normal_images_have_policies() -> None:
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
def test_missing_column_is_reported(column: str) -> None:
    with pytest.raises(DataError, match=rf"lacks the columns {column};"):
        aggregate(two_folds().drop(columns=column))


def test_image_tested_twice_is_rejected() -> None:
    rows = pd.concat([two_folds(), pd.DataFrame([lesion("a", 1, 0.5)])])
    with pytest.raises(DataError, match="duplicate images") as caught:
        aggregate(rows)
    assert caught.value.problems == ("a",)


def test_empty_table_is_rejected() -> None:
    with pytest.raises(DataError, match="no rows"):
        aggregate(two_folds().iloc[:0])


@pytest.mark.parametrize("column", ["dice", "sensitivity_native", "hd95", "accuracy_native", "fold"])
def test_empty_cell_of_a_lesion_image_is_rejected(column: str) -> None:
    rows = two_folds()
    rows.loc[4, column] = nan
    with pytest.raises(DataError, match="empty cells") as caught:
        aggregate(rows)
    assert caught.value.problems == ("e",)


def test_regions_are_scored_separately_and_the_outermost_is_the_headline() -> None:
    disc = pd.DataFrame([lesion("a", 0, 0.9), lesion("b", 1, 0.7)]).assign(region="disc")
    cup = pd.DataFrame([lesion("a", 0, 0.5), lesion("b", 1, 0.3)]).assign(region="cup")
    summary = aggregate(pd.concat([disc, cup], ignore_index=True))
    assert dice(summary.lesion).mean == pytest.approx(0.8)
    assert [scores.group for scores in summary.groups] == ["lesion", "all", "all", "benign", "disc", "cup"]
    assert [dice(scores).mean for scores in summary.groups[-2:]] == pytest.approx([0.8, 0.4])
    assert summary.lesion.images == 2
    assert [scores.group for scores in aggregate(disc).groups] == ["lesion", "all", "all", "benign"]
    normal_rows = pd.DataFrame([normal("c", 0, 0)])
    rows = pd.concat(
        [disc, normal_rows.assign(region="disc"), cup, normal_rows.assign(region="cup")], ignore_index=True
    )
    assert [scores.images for scores in aggregate(rows).groups[-2:]] == [2, 2]  # only images with the region
    with pytest.raises(DataError, match="duplicate images"):
        aggregate(pd.concat([disc, disc], ignore_index=True))


def test_image_in_several_folds_requires_repeated() -> None:
    rows = pd.DataFrame([lesion("a", 0, 0.8), lesion("b", 0, 0.6), lesion("a", 1, 0.5), lesion("b", 1, 0.3)])
    with pytest.raises(DataError, match="duplicate images"):
        aggregate(rows)
    summary = aggregate(rows, repeated=True)
    assert summary.lesion.images == 2
    assert summary.lesion.score("dice").per_fold == pytest.approx({0: 0.7, 1: 0.4})
    with pytest.raises(DataError, match="duplicate images"):
        aggregate(pd.concat([rows, rows[:1]], ignore_index=True), repeated=True)
