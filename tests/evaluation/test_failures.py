"""The failure finder against planted failures and against counting pixel by pixel."""

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


NOTHING = rectangle(0, 0, 0, 0)


def table(pairs: dict[str, tuple[Mask, Mask]]) -> pd.DataFrame:
    """Scores of (prediction, truth) by key, with the columns of a run's scores.csv."""
    rows = []
    for key, (prediction, truth) in pairs.items():
        row = asdict(score_mask(prediction, truth))
        rows.append({"key": key, "label": "x", "fold": 0, **row, **{f"{name}_native": v for name, v in row.items()}})
    return pd.DataFrame(rows)


LARGE = rectangle(5, 2, 10, 16)  # 160 of 400 pixels
SMALL = rectangle(8, 8, 4, 4)
PLANTED: dict[str, tuple[Mask, Mask]] = {
    "missed": (NOTHING, LARGE),
    "hardly found": (rectangle(5, 2, 4, 16), LARGE),
    "inverted": (~LARGE, LARGE),
    "mostly inverted": (rectangle(0, 0, 7, 20), LARGE),
    "a speck beside": (rectangle(0, 0, 2, 2), LARGE),
    "good": (rectangle(5, 2, 10, 15), LARGE),
    "half found": (rectangle(5, 2, 5, 16), LARGE),
    "everything marked": (~NOTHING, LARGE),
    "small and missed": (NOTHING, SMALL),
    "small and inverted": (~SMALL, SMALL),
    "normal, all marked": (~NOTHING, NOTHING),
    **{f"small and good {i}": (SMALL, SMALL) for i in range(30)},
}


def by_kind(found: tuple[Failure, ...], kind: str) -> list[str]:
    return [failure.key for failure in found if failure.kind == kind]


def test_planted_failures_are_found_and_no_others() -> None:
    found = find_failures(table(PLANTED), FailureRules(large_quantile=0.8))
    assert by_kind(found, "taken for background") == ["a speck beside", "missed", "hardly found"]
    assert by_kind(found, "inverted") == ["inverted", "mostly inverted"]
    assert len(found) == 5


def test_the_finder_agrees_with_counting_pixel_by_pixel() -> None:
    rng = np.random.default_rng(3)
    pairs = {}
    for i in range(120):
        truth = rectangle(int(rng.integers(0, 6)), int(rng.integers(0, 6)), *map(int, rng.integers(1, 14, 2)))
        guess = rectangle(int(rng.integers(0, 15)), int(rng.integers(0, 15)), *map(int, rng.integers(0, 14, 2)))
        pairs[f"image {i}"] = (~guess if i % 5 == 0 else guess, truth)
    found = {failure.key: failure.kind for failure in find_failures(table(pairs))}
    assert found == counted(pairs)
    assert {"inverted", "taken for background"} == set(found.values())


def counted(pairs: dict[str, tuple[Mask, Mask]]) -> dict[str, str]:
    """The rules again, with loops over pixels."""
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


def test_a_failure_tells_what_it_was_judged_by() -> None:
    (found,) = find_failures(table({"one": (~LARGE, LARGE)}))
    assert (found.area_share, found.sensitivity, found.false_positive_share, found.dice) == (0.4, 0.0, 1.0, 0.0)


def test_a_lesion_that_fills_the_image_has_no_background_to_be_inverted_with() -> None:
    (found,) = find_failures(table({"all": (rectangle(0, 0, 3, 3), ~NOTHING)}))
    assert found.kind == "taken for background"
    assert found.false_positive_share == 0


def test_normal_images_and_no_images_have_no_failure() -> None:
    assert find_failures(table({"normal": (~NOTHING, NOTHING)})) == ()
    assert find_failures(table(PLANTED).iloc[:0]) == ()


def test_equally_bad_failures_stand_in_the_order_of_their_keys() -> None:
    found = find_failures(table(dict.fromkeys(("b", "c", "a"), (NOTHING, LARGE))))
    assert [failure.key for failure in found] == ["a", "b", "c"]
    assert RULES.large_quantile == 0.75
