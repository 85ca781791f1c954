"""Per-image scores with every undefined case decided, as `aggregate` decides it: which image counts what."""

from __future__ import annotations

import pandas as pd

from taichinet.evaluation.aggregate import OVERLAP_SCORES, SUFFIX, EmptyTruthPolicy


def empty_truth(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are normal images: nothing painted at either size. A lesion that resizing lost is none."""
    return (rows["true_pixels"] == 0) & rows["sensitivity_native"].isna()


def decided_scores(rows: pd.DataFrame, column: str, policy: EmptyTruthPolicy | None) -> pd.Series[float]:
    """The score `column` of `rows` without NaN.

    DI, JA, PR and SE of a lesion that resizing lost are 0; those of normal images are 0 under 'paper', and under
    'correct-empty-is-1' 1 where nothing was predicted. `policy` None is for rows without normal images.
    """
    values = rows[column]
    if column.removesuffix(SUFFIX["native"]) not in OVERLAP_SCORES:
        return values
    values = values.fillna(0.0)
    if policy is None:
        return values
    empty = empty_truth(rows)
    reward = 1.0 if policy == "correct-empty-is-1" else 0.0
    return values.mask(empty, 0.0).mask(empty & (rows["predicted_pixels"] == 0), reward)
