"""Rules that find the two kinds of failure of Sec. V-J in a table of scores, instead of a visual selection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from taichinet.evaluation.undefined import empty_ground_truth

FailureKind = Literal["taken for background", "inverted"]
KINDS: tuple[FailureKind, ...] = ("taken for background", "inverted")


@dataclass(frozen=True)
class FailureRules:
    """Thresholds of the two kinds of failure.

    Attributes:
        large_quantile: A lesion is large if its fraction of the image is at least this quantile over all lesions.
        low_sensitivity: A large lesion with a lower sensitivity is "taken for background".
        least_answer: A prediction is only "inverted" if its area is at least this fraction of the area of the lesion. A
            smaller prediction beside the lesion is a missed lesion.
    """

    large_quantile: float = 0.75
    low_sensitivity: float = 0.5
    least_answer: float = 0.25


RULES = FailureRules()


@dataclass(frozen=True)
class Failure:
    """One failed image.

    Attributes:
        key: Key of the image.
        kind: Kind of failure.
        area_share: Lesion area as a fraction of the image.
        sensitivity: Fraction of the lesion that was predicted.
        false_positive_share: Fraction of the background that was predicted.
        dice: Dice score.
    """

    key: str
    kind: FailureKind
    area_share: float
    sensitivity: float
    false_positive_share: float
    dice: float


def find_failures(scores: pd.DataFrame, rules: FailureRules = RULES) -> tuple[Failure, ...]:
    """Find the failures of both kinds among the images with a large lesion.

    A prediction is
    - "inverted" if its sensitivity is below 1 - specificity (inverting the mask would improve it) and it is not too
      small (`least_answer`);
    - "taken for background" if it is not inverted and its sensitivity is below `low_sensitivity`.

    Args:
        scores: Table with the columns of `experiments.scoring.score_images` for one region, at network resolution.
        rules: Thresholds.

    Returns:
        Failures, sorted by kind, then from worst to best, then by key.
    """
    lesions = scores[~empty_ground_truth(scores) & (scores["true_pixels"] > 0)]
    if lesions.empty:
        return ()
    share = lesions["true_pixels"] / lesions["pixels"]
    large = lesions[share >= share.quantile(rules.large_quantile)]
    failures = [failure for row in large.to_dict("records") if (failure := _classify(row, rules)) is not None]
    return tuple(sorted(failures, key=_severity))


def _severity(failure: Failure) -> tuple[int, float, str]:
    return KINDS.index(failure.kind), failure.sensitivity - failure.false_positive_share, failure.key


def _classify(row: Mapping[Any, Any], rules: FailureRules) -> Failure | None:
    true, predicted, pixels = row["true_pixels"], row["predicted_pixels"], row["pixels"]
    sensitivity = float(row["sensitivity"])
    background = pixels - true
    false_positive = (predicted - round(sensitivity * true)) / background if background else 0.0
    kind: FailureKind
    if sensitivity < false_positive and predicted >= rules.least_answer * true:
        kind = "inverted"
    elif sensitivity < rules.low_sensitivity:
        kind = "taken for background"
    else:
        return None
    return Failure(str(row["key"]), kind, true / pixels, sensitivity, float(false_positive), float(row["dice"]))
