"""Which image counts what where a score is undefined: the one place where empty truths and lost lesions are decided."""

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


def empty_truth(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are normal images: nothing painted at either size. A lesion that resizing lost is none."""
    return (rows["true_pixels"] == 0) & rows["sensitivity_native"].isna()


def decided_scores(rows: pd.DataFrame, column: str, policy: EmptyTruthPolicy | None) -> pd.Series[float]:
    """The score `column` of `rows` without NaN.

    DI, JA, PR and SE of a lesion that resizing lost are 0; those of normal images are 0 under 'paper', and under
    'correct-empty-is-1' 1 where nothing was predicted at the size of `column`. The paper's own figures are of the
    first kind: 0.752 * 647/780 = 0.624, Table IV. `policy` None is for rows without normal images. Other scores are
    defined everywhere.
    """
    values = rows[column]
    if column.removesuffix(SUFFIX["native"]) not in OVERLAP_SCORES:
        return values
    values = values.fillna(0.0)
    if policy is None:
        return values
    empty = empty_truth(rows)
    suffix = SUFFIX["native"] if column.endswith(SUFFIX["native"]) else SUFFIX["network"]
    predicts_nothing = rows[f"dice{suffix}"].isna()  # with an empty truth, Dice is undefined exactly there
    reward = 1.0 if policy == "correct-empty-is-1" else 0.0
    return values.mask(empty, 0.0).mask(empty & predicts_nothing, reward)
