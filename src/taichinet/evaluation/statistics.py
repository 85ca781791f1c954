"""Is one network better than another on the same images: Wilcoxon's test, its effect size, and Holm's correction."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, wilcoxon

from taichinet.errors import DataError
from taichinet.evaluation.uncertainty import LEVEL, RESAMPLES, Interval, bootstrap_mean

TIE = 1e-6  # scores.csv holds six decimals: differences are compared in steps of this size

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PairedTest:
    """Two networks on the same images.

    `difference` is the mean of the first minus that of the second, its interval clustered. `p` is of Wilcoxon's
    two-sided signed-rank test over images (Wilcoxon 1945), NaN where no image tells them apart. `effect` is the
    matched-pairs rank-biserial correlation (Kerby 2014), from -1 (the first is worse on every image) to 1; 0 where no
    image tells them apart.
    """

    difference: Interval
    p: float
    effect: float
    better: int
    worse: int

    @property
    def images(self) -> int:
        """Images that both have scored."""
        return self.difference.images


def compare_pairs(
    values: Sequence[float] | Floats,
    others: Sequence[float] | Floats,
    rng: np.random.Generator,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> PairedTest:
    """Compare `values` with `others`, the finite scores of the same images in the same order.

    Images on which both are equal are excluded from test and effect, as in Wilcoxon's paper. Equality and ties are
    decided on differences rounded to `TIE`, the precision of scores.csv. The test assumes independent images; only
    the interval uses `clusters` (see `bootstrap_mean`), so rely on the interval where there are near-duplicates.
    Raises DataError for lists of different length.
    """
    if len(values) != len(others):
        raise DataError(f"{len(values)} scores against {len(others)}: give both networks' scores of the same images.")
    differences = np.asarray(values, dtype=np.float64) - np.asarray(others, dtype=np.float64)
    interval = bootstrap_mean(differences, rng, clusters, resamples, level)
    steps = np.rint(differences / TIE)  # whole numbers: rounding noise breaks no tie
    unequal = steps[steps != 0]
    if not unequal.size:
        return PairedTest(interval, nan, 0.0, 0, 0)
    ranks = rankdata(np.abs(unequal))
    effect = float((ranks * np.sign(unequal)).sum() / ranks.sum())
    p = float(wilcoxon(unequal).pvalue)
    return PairedTest(interval, p, effect, int((unequal > 0).sum()), int((unequal < 0).sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for being a family, by Holm's step-down (1979); NaN stays NaN and is not of the family."""
    family = sorted((p, place) for place, p in enumerate(p_values) if not isnan(p))
    adjusted = [nan] * len(p_values)
    least = 0.0
    for rank, (p, place) in enumerate(family):
        least = max(least, min(1.0, (len(family) - rank) * p))
        adjusted[place] = least
    return adjusted
