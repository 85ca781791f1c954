"""Values of undefined scores: images with an empty ground truth, and lesions that vanished in resizing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import pandas as pd

EmptyTruthPolicy = Literal["paper", "correct-empty-is-1"]
ImageSize = Literal["network", "native"]

POLICIES: tuple[EmptyTruthPolicy, ...] = get_args(EmptyTruthPolicy)
SIZES: tuple[ImageSize, ...] = get_args(ImageSize)
OVERLAP_SCORES = ("dice", "jaccard", "precision", "sensitivity")
SCORES = ("dice", "jaccard", "accuracy", "precision", "sensitivity", "hd95", "assd")
SUFFIX: Mapping[ImageSize, str] = {"network": "", "native": "_native"}


def empty_ground_truth(rows: pd.DataFrame) -> pd.Series[bool]:
    """Whether each row is a normal image: empty ground truth at network and at original resolution.

    False for a lesion that is only empty at network resolution, because it vanished in resizing.
    """
    return (rows["true_pixels"] == 0) & rows["sensitivity_native"].isna()


def resolve_undefined_scores(rows: pd.DataFrame, column: str, policy: EmptyTruthPolicy | None) -> pd.Series[float]:
    """Replace undefined scores.

    DI, JA, PR and SE of a lesion that vanished in resizing are 0. Those of normal images are 0 with the policy 'paper'.
    With 'correct-empty-is-1', they are 1 if nothing was predicted at the resolution of `column`, otherwise 0. The
    results of the paper agree with the first policy: 0.752 * 647/780 = 0.624, Table IV. Other scores are always
    defined.

    Args:
        rows: Table of per-image scores.
        column: Name of the score.
        policy: Policy for normal images; None if there are none.

    Returns:
        The scores without NaN.
    """
    values = rows[column]
    if column.removesuffix(SUFFIX["native"]) not in OVERLAP_SCORES:
        return values
    values = values.fillna(0.0)
    if policy is None:
        return values
    empty = empty_ground_truth(rows)
    suffix = SUFFIX["native"] if column.endswith(SUFFIX["native"]) else SUFFIX["network"]
    predicts_nothing = rows[
        f"dice{suffix}"
    ].isna()  # for an empty ground truth, Dice is NaN if and only if the prediction is empty
    reward = 1.0 if policy == "correct-empty-is-1" else 0.0
    return values.mask(empty, 0.0).mask(empty & predicts_nothing, reward)
