"""Detection over images and strata, from rows written by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from fakes.scores import lesion_row, normal_row, with_detection

from taichinet.errors import DataError
from taichinet.evaluation.aggregate import Summary, aggregate
from taichinet.evaluation.detection_summary import Detection, summarise_detection
from taichinet.evaluation.strata import stratify


def rows() -> pd.DataFrame:
    """Three lesion images with four lesions, of which three are found, and two normal images."""
    return pd.DataFrame(
        [
            with_detection(lesion_row("a", 0.85), 2, [0.99, 0.7], area=30),
            with_detection(lesion_row("b", 0.65, "malignant"), 1, [0.9], [0.8], area=10),
            with_detection(lesion_row("c", 0.05, "malignant"), 1, [], area=20),
            with_detection(normal_row("d", 9), 0, [], [0.6, 0.95]),
            with_detection(normal_row("e", 0), 0),
        ]
    )


def detection() -> Detection:
    summary = aggregate(rows()).detection
    assert summary is not None
    return summary


def test_lesions_images_and_false_components_are_counted() -> None:
    result = detection()
    counts = [(rate.events, rate.total) for rate in (result.lesions, result.lesion_images, result.normal_images)]
    assert counts == [(3, 4), (2, 3), (1, 2)]
    assert result.images == 5
    assert result.false_components_per_image == 3 / 5
    assert result.f1 == 2 * 3 / (2 * 3 + 3 + 1)


def test_curve_keeps_only_components_with_the_score() -> None:
    points = {point.least_score: point for point in detection().curve}
    values = {
        score: (p.lesions_found, p.false_components_per_image, p.lesion_images_found, p.normal_images_predicted)
        for score, p in points.items()
    }
    assert values[0] == (3 / 4, 3 / 5, 2 / 3, 1 / 2)
    assert values[0.7] == (3 / 4, 2 / 5, 2 / 3, 1 / 2)  # a component with this score is kept
    assert values[0.9] == (2 / 4, 1 / 5, 2 / 3, 1 / 2)
    assert values[0.99] == (1 / 4, 0, 1 / 3, 0)


@pytest.mark.parametrize(("missed", "specificity"), [(0, 0.25), (1, 0.75), (2, None)])
def test_specificity_at_95_percent(missed: int, specificity: float | None) -> None:
    """Twenty lesion images: one may be missed. The best scores of the others start at 0.5 or, after a miss, at 0.6."""
    found = [0.5, 0.6, *[0.9] * 18] if not missed else [0.85, *[0.9] * (19 - missed)]
    lesions = [with_detection(lesion_row(f"l{i}", 0.8), 1, [score]) for i, score in enumerate(found)]
    lesions += [with_detection(lesion_row(f"m{i}", 0.0), 1) for i in range(missed)]
    normal = [with_detection(normal_row(f"n{i}", 9), 0, [], [score]) for i, score in enumerate([0.55, 0.6, 0.7, 0.95])]
    result = summarise_detection(pd.DataFrame(lesions + normal))
    assert result is not None
    assert result.specificity_at_95_sensitivity == specificity


def test_without_lesions_or_normal_images_the_shares_are_absent() -> None:
    normal_only = summarise_detection(rows()[3:])
    assert normal_only is not None
    assert (normal_only.lesions.share, normal_only.strata, normal_only.specificity_at_95_sensitivity) == (
        None,
        (),
        None,
    )
    silent = summarise_detection(rows()[4:])
    assert silent is not None
    assert silent.f1 is None
    lesions_only = summarise_detection(rows()[:3])
    assert lesions_only is not None
    assert (lesions_only.normal_images.share, lesions_only.specificity_at_95_sensitivity) == (None, None)
    assert lesions_only.curve[0].normal_images_predicted is None


def test_repeated_images_do_not_narrow_the_intervals() -> None:
    twice = aggregate(pd.concat([rows(), rows().assign(fold=1)], ignore_index=True), repeated=True).detection
    assert twice is not None
    once = detection()
    assert (twice.images, twice.lesions.events) == (5, 6)
    assert (twice.lesions.low, twice.normal_images.high) == pytest.approx((once.lesions.low, once.normal_images.high))
    assert twice.strata[0].lesions.low == pytest.approx(once.strata[0].lesions.low)
    assert twice.strata[0].images == 3


def test_strata() -> None:
    strata = {stratum.name: stratum for stratum in detection().strata}
    assert list(strata) == [
        "lesion images",
        "smallest quarter",
        "second quarter",
        "largest quarter",
        "benign",
        "malignant",
    ]  # no image in the third quarter: the quartiles are 15, 20 and 25 pixels
    everything = strata["lesion images"]
    assert (everything.dice, everything.median_dice) == pytest.approx(((0.8 + 0.6) / 3, 0.6))  # native Dice
    assert (everything.low_dice, everything.surface_dice) == pytest.approx((1 / 3, 1.4 / 3))
    assert (everything.smallest_area, everything.largest_area) == (0.1, 0.3)
    assert strata["smallest quarter"].dice == pytest.approx(0.6)
    assert (strata["second quarter"].largest_area, strata["second quarter"].lesions.events) == (0.2, 0)
    assert (strata["malignant"].images, strata["malignant"].lesions.total) == (2, 2)


def test_equal_sizes_are_in_one_quarter() -> None:
    equal = rows()[:3].assign(true_pixels_native=20)
    assert [stratum.name for stratum in stratify(equal) if stratum.kind == "size"] == ["smallest quarter"]


@pytest.mark.parametrize("column", ["lesions", "found_scores", "nsd_native"])
def test_rows_of_earlier_versions_are_aggregated_without_detection(column: str) -> None:
    summary = aggregate(rows().drop(columns=column))
    assert summary.detection is None
    assert summary.lesion == aggregate(rows()).lesion


def test_a_study_with_a_fold_of_an_earlier_version_has_no_detection() -> None:
    old = pd.DataFrame([lesion_row("f", 0.5, fold=1)])
    assert aggregate(pd.concat([rows(), old], ignore_index=True)).detection is None


def test_summary_of_an_earlier_version_is_read() -> None:
    content = aggregate(rows()).model_dump(mode="json")
    assert Summary.model_validate(content).detection == detection()
    del content["detection"]
    assert Summary.model_validate(content).detection is None


@pytest.mark.parametrize("cell", ["0.5", "[x]", '["x"]', "5"])
def test_damaged_scores_are_reported(cell: str) -> None:
    damaged = rows().assign(found_scores=cell)
    with pytest.raises(DataError, match=r"found_scores of a, which is not a list of scores; evaluate the run again"):
        aggregate(damaged)
