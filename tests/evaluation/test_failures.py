"""The failure search against constructed failures and a count pixel by pixel."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from taichinet.evaluation.failures import RULES, Failure, FailureRules, find_failures
from taichinet.evaluation.metrics import score_mask

SIDE = 20
Mask = NDArray[np.bool_]


def rectangle(top: int, left: int, height: int, width: int) -> Mask:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + height, left : left + width] = True
    return mask


EMPTY = rectangle(0, 0, 0, 0)


def table(pairs: dict[str, tuple[Mask, Mask]]) -> pd.DataFrame:
    """Scores of (prediction, ground truth) by key, with the columns of a run's scores.csv."""
    rows = []
    for key, (prediction, truth) in pairs.items():
        row = asdict(score_mask(prediction, truth))
        rows.append({"key": key, "label": "x", "fold": 0, **row, **{f"{name}_native": v for name, v in row.items()}})
    return pd.DataFrame(rows)


LARGE = rectangle(5, 2, 10, 16)  # 160 of 400 pixels
SMALL = rectangle(8, 8, 4, 4)
CASES: dict[str, tuple[Mask, Mask]] = {
    "missed": (EMPTY, LARGE),
    "mostly missed": (rectangle(5, 2, 4, 16), LARGE),
    "inverted": (~LARGE, LARGE),
    "mostly inverted": (rectangle(0, 0, 7, 20), LARGE),
    "a speck outside": (rectangle(0, 0, 2, 2), LARGE),
    "good": (rectangle(5, 2, 10, 15), LARGE),
    "half segmented": (rectangle(5, 2, 5, 16), LARGE),
    "all segmented": (~EMPTY, LARGE),
    "small and missed": (EMPTY, SMALL),
    "small and inverted": (~SMALL, SMALL),
    "normal, all segmented": (~EMPTY, EMPTY),
    **{f"small and good {i}": (SMALL, SMALL) for i in range(30)},
}


def by_kind(failures: tuple[Failure, ...], kind: str) -> list[str]:
    return [failure.key for failure in failures if failure.kind == kind]


def test_all_constructed_failures_are_found_and_no_others() -> None:
    failures = find_failures(table(CASES), FailureRules(large_quantile=0.8))
    assert by_kind(failures, "taken for background") == ["a speck outside", "missed", "mostly missed"]
    assert by_kind(failures, "inverted") == ["inverted", "mostly inverted"]
    assert len(failures) == 5


def test_failures_equal_a_count_pixel_by_pixel() -> None:
    rng = np.random.default_rng(3)
    pairs = {}
    for i in range(120):
        truth = rectangle(int(rng.integers(0, 6)), int(rng.integers(0, 6)), *map(int, rng.integers(1, 14, 2)))
        guess = rectangle(int(rng.integers(0, 15)), int(rng.integers(0, 15)), *map(int, rng.integers(0, 14, 2)))
        pairs[f"image {i}"] = (~guess if i % 5 == 0 else guess, truth)
    kinds = {failure.key: failure.kind for failure in find_failures(table(pairs))}
    assert kinds == failures_by_loops(pairs)
    assert {"inverted", "taken for background"} == set(kinds.values())


def failures_by_loops(pairs: dict[str, tuple[Mask, Mask]]) -> dict[str, str]:
    """The failures by key, determined with loops over pixels."""
    areas = sorted(sum(bool(pixel) for pixel in truth.flat) / truth.size for _, truth in pairs.values())
    place = 0.75 * (len(areas) - 1)
    low, part = int(place), place - int(place)
    limit = areas[low] + part * (areas[min(low + 1, len(areas) - 1)] - areas[low])
    kinds = {}
    for key, (prediction, truth) in pairs.items():
        hit = wrong = lesion = 0
        for p, t in zip(prediction.flat, truth.flat, strict=True):
            lesion += bool(t)
            hit += bool(p and t)
            wrong += bool(p and not t)
        if lesion / truth.size < limit:
            continue
        if hit / lesion < wrong / (truth.size - lesion) and hit + wrong >= lesion / 4:
            kinds[key] = "inverted"
        elif hit / lesion < 0.5:
            kinds[key] = "taken for background"
    return kinds


def test_failure_contains_the_values_of_its_criteria() -> None:
    (failure,) = find_failures(table({"one": (~LARGE, LARGE)}))
    assert (failure.area_share, failure.sensitivity, failure.false_positive_share, failure.dice) == (0.4, 0.0, 1.0, 0.0)


def test_lesion_that_fills_the_image_is_never_inverted() -> None:
    (failure,) = find_failures(table({"all": (rectangle(0, 0, 3, 3), ~EMPTY)}))
    assert failure.kind == "taken for background"
    assert failure.false_positive_share == 0


def test_normal_images_and_empty_tables_have_no_failure() -> None:
    assert find_failures(table({"normal": (~EMPTY, EMPTY)})) == ()
    assert find_failures(table(CASES).iloc[:0]) == ()


def test_equal_failures_are_ordered_by_key() -> None:
    failures = find_failures(table(dict.fromkeys(("b", "c", "a"), (EMPTY, LARGE))))
    assert [failure.key for failure in failures] == ["a", "b", "c"]
    assert RULES.large_quantile == 0.75
