"""Paired comparison of two networks on the same images: Wilcoxon's test, effect size, Holm's correction."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, wilcoxon

from taichinet.errors import DataError
from taichinet.evaluation.uncertainty import LEVEL, RESAMPLES, Interval, bootstrap_mean

TIE = 1e-6  # resolution of differences: scores.csv has six decimals
SIGNIFICANCE = 0.05
Verdict = Literal["higher", "lower", "unclear"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PairedTest:
    """Comparison of two networks on the same images.

    Attributes:
        difference: Mean of the first minus mean of the second network, with a clustered bootstrap interval.
        p: p-value of Wilcoxon's two-sided signed-rank test over images (Wilcoxon 1945); NaN if all scores are equal.
        effect: Matched-pairs rank-biserial correlation (Kerby 2014), from -1 (the first is worse on every image) to 1;
            0 if all scores are equal.
        better: Number of images where the first network has the higher score.
        worse: Number of images where the first network has the lower score.
    """

    difference: Interval
    p: float
    effect: float
    better: int
    worse: int

    @property
    def images(self) -> int:
        """Number of compared images."""
        return self.difference.images


def compare_pairs(
    values: Sequence[float] | Floats,
    others: Sequence[float] | Floats,
    rng: np.random.Generator,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> PairedTest:
    """Compare the scores of two networks on the same images.

    Images with equal scores are excluded from test and effect size, as in Wilcoxon's paper. Equality and ties are
    determined on differences rounded to `TIE`, the precision of scores.csv. The test assumes independent images; only
    the interval accounts for `clusters`, so use the interval if there are near-duplicates.

    Args:
        values: Scores of the first network, finite.
        others: Scores of the second network for the same images in the same order, finite.
        rng: Random generator for the bootstrap.
        clusters: Cluster of each image, see `bootstrap_mean`.
        resamples: Number of bootstrap resamples.
        level: Confidence level of the interval.

    Returns:
        Difference, p-value and effect size.

    Raises:
        DataError: The lengths differ, or a score is not finite.
        SettingError: `resamples` or `level` is out of range.
    """
    if len(values) != len(others):
        raise DataError(f"{len(values)} scores against {len(others)}: give both networks' scores of the same images.")
    differences = np.asarray(values, dtype=np.float64) - np.asarray(others, dtype=np.float64)
    interval = bootstrap_mean(differences, rng, clusters, resamples, level)
    steps = np.rint(differences / TIE)  # integers, so that rounding errors do not break ties
    unequal = steps[steps != 0]
    if not unequal.size:
        return PairedTest(interval, nan, 0.0, 0, 0)
    ranks = rankdata(np.abs(unequal))
    effect = float((ranks * np.sign(unequal)).sum() / ranks.sum())
    p = float(wilcoxon(unequal).pvalue)
    return PairedTest(interval, p, effect, int((unequal > 0).sum()), int((unequal < 0).sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple testing by Holm's step-down procedure (1979). NaN values are ignored and kept."""
    family = sorted((p, place) for place, p in enumerate(p_values) if not isnan(p))
    adjusted = [nan] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(family):
        largest = max(largest, min(1.0, (len(family) - rank) * p))
        adjusted[place] = largest
    return adjusted


def decide(test: PairedTest, p: float, significance: float = SIGNIFICANCE) -> Verdict:
    """Whether the first network has the higher scores.

    Args:
        test: The comparison.
        p: Its p-value, adjusted for multiple testing.
        significance: Level of the test.

    Returns:
        "higher" or "lower" if the test is significant, the interval of the mean difference excludes 0, and both have
        the same sign; the interval is the part that accounts for near-duplicates. Otherwise "unclear".
    """
    difference = test.difference
    if not p < significance or not difference.bounded:  # p is NaN if all scores are equal
        return "unclear"
    if difference.low > 0 and test.effect > 0:
        return "higher"
    return "lower" if difference.high < 0 and test.effect < 0 else "unclear"
