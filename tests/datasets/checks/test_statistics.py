"""Image statistics equal numpy's, and outliers are images far from the rest."""

from __future__ import annotations

import numpy as np
import pytest

from taichinet.datasets.checks.statistics import ImageFacts, Spread, by_class, find_outliers, measure


def similar_images(count: int = 40, /, **changes: float) -> list[ImageFacts]:
    """Facts of similar images; `changes` apply to the last one."""
    rng = np.random.default_rng(0)
    values_of = [
        {"height": rng.integers(400, 500), "width": rng.integers(500, 600), "brightness": rng.uniform(70, 90)}
        | {"contrast": rng.uniform(40, 50), "lesion_share": rng.uniform(0.03, 0.2)}
        for _ in range(count)
    ]
    values_of[-1] |= changes
    return [ImageFacts(f"p {n}", "benign", **values) for n, values in enumerate(values_of)]  # type: ignore[arg-type]


def test_measure_returns_size_brightness_contrast_and_lesion_share() -> None:
    grey = np.array([[0, 10], [20, 30]], np.uint8)
    lesion = np.array([[True, False], [False, False]])
    measured = measure("a", "b", grey, lesion)
    assert measured == ImageFacts("a", "b", 2, 2, 15.0, measured.contrast, 0.25)
    assert measured.contrast == pytest.approx(125**0.5)
    assert measure("a", "b", grey, np.zeros((2, 2), bool)).lesion_share is None
    assert measure("a", "b", grey, None).lesion_share is None


def test_classes_are_summarised_in_the_order_of_their_names() -> None:
    facts_of_two_classes = [
        ImageFacts(str(n), "b" if n % 2 else "a", n, 2 * n, 5, 6, None if n % 2 else 0.1) for n in range(1, 11)
    ]
    second, first = by_class(facts_of_two_classes)
    assert (first.label, second.label) == ("a", "b")
    assert first.height == Spread(2, 4, 6, 8, 10)
    assert second.images == 5
    assert (first.lesion_share, second.lesion_share) == (Spread(0.1, 0.1, 0.1, 0.1, 0.1), None)


@pytest.mark.parametrize(
    ("changes", "expected_text"),
    [
        ({"height": 40}, "height of 40 pixels"),
        ({"width": 6000}, "width of 6000 pixels"),
        ({"brightness": 220}, "mean grey level of 220"),
        ({"contrast": 2}, "contrast of 2 grey levels"),
        ({"lesion_share": 0.00001}, "painted share of 0.0000"),
    ],
)
def test_outlier_is_reported_with_its_unusual_value(changes: dict[str, float], expected_text: str) -> None:
    (finding,) = find_outliers(similar_images(**changes))
    assert finding.keys == ("p 39",)
    assert expected_text in finding.message


def test_similar_images_few_images_and_images_of_one_size_have_no_outlier() -> None:
    assert find_outliers(similar_images()) == []
    assert find_outliers(similar_images(8, height=40)) == []
    same_size = [ImageFacts(str(n), "a", 300 + (n == 0), 400, 80, 50, None) for n in range(30)]
    assert find_outliers(same_size) == []
