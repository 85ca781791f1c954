"""The two kinds of failure that Sec. V-J names, as rules on a scores table: found, not chosen by eye."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from taichinet.evaluation.undefined import empty_truth

FailureKind = Literal["taken for background", "inverted"]
KINDS: tuple[FailureKind, ...] = ("taken for background", "inverted")


@dataclass(frozen=True)
class FailureRules:
    """What makes a failure one of the two kinds.

    `large_quantile`: a lesion is large whose share of the image is at least this quantile of all scored lesions.
    `low_sensitivity`: large and found with less than this, it was taken for background.
    `least_answer`: inverted only where the answer has at least this share of the lesion's own area; a speck beside
    the lesion is a lesion missed.
    """

    large_quantile: float = 0.75
    low_sensitivity: float = 0.5
    least_answer: float = 0.25


RULES = FailureRules()


@dataclass(frozen=True)
class Failure:
    """One failed image: what share of the image the lesion has, and what share of lesion and background was marked."""

    key: str
    kind: FailureKind
    area_share: float
    sensitivity: float
    false_positive_share: float
    dice: float


def find_failures(scores: pd.DataFrame, rules: FailureRules = RULES) -> tuple[Failure, ...]:
    """Every failure of the two kinds among the lesion images of `scores`, worst first within a kind.

    `scores` has the columns of `experiments.scoring.score_images` for one region, at network size. A large lesion is
    - inverted, where a smaller share of the lesion was marked than of the background (sensitivity below 1 -
      specificity: turning the answer round would make it better) and the answer is no speck;
    - taken for background, where it is not inverted and less than `low_sensitivity` of it was marked.
    Equally bad ones are in the order of their keys.
    """
    lesions = scores[~empty_truth(scores) & (scores["true_pixels"] > 0)]
    if lesions.empty:
        return ()
    share = lesions["true_pixels"] / lesions["pixels"]
    large = lesions[share >= share.quantile(rules.large_quantile)]
    found = [failure for row in large.to_dict("records") if (failure := _judge(row, rules)) is not None]
    return tuple(sorted(found, key=lambda it: (KINDS.index(it.kind), it.sensitivity - it.false_positive_share, it.key)))


def _judge(row: Mapping[Any, Any], rules: FailureRules) -> Failure | None:
    true, predicted, pixels = row["true_pixels"], row["predicted_pixels"], row["pixels"]
    sensitivity = float(row["sensitivity"])
    background = pixels - true
    wrong = (predicted - round(sensitivity * true)) / background if background else 0.0
    kind: FailureKind
    if sensitivity < wrong and predicted >= rules.least_answer * true:
        kind = "inverted"
    elif sensitivity < rules.low_sensitivity:
        kind = "taken for background"
    else:
        return None
    return Failure(str(row["key"]), kind, true / pixels, sensitivity, float(wrong), float(row["dice"]))
