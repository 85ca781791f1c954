"""How far a mean score would move with other patients: percentile bootstrap over images, or over groups of them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from taichinet.errors import DataError, SettingError

LEVEL = 0.95
RESAMPLES = 2000
DRAWN_AT_ONCE = 4_000_000  # cluster numbers in memory: 32 MB

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean over `images` in `clusters`, and the bounds between which it falls in `level` of all resamples.

    The bounds are NaN where the bootstrap can tell nothing: fewer than two clusters, or no variation between them (0
    false alarms in 20 images are no proof that there never is one). Without images all is NaN.
    """

    mean: float
    low: float
    high: float
    images: int
    clusters: int
    level: float = LEVEL

    @property
    def bounded(self) -> bool:
        """Whether the bounds exist."""
        return self.low == self.low


def bootstrap_mean(
    values: Sequence[float] | Floats,
    rng: np.random.Generator,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """The mean of `values`, one an image, with its percentile bootstrap interval (Efron 1979).

    `clusters` names for each image what it belongs to (its patient, or group of near-duplicates): whole clusters are
    drawn with replacement, as many as there are, since images of one patient are not so many independent findings. A
    resample's mean is over its images, so that large clusters weigh as they do in the mean itself. Without `clusters`
    every image stands for itself. The result depends on `rng` alone.
    """
    sums, sizes = _by_cluster(values, clusters)
    mean = float(sums.sum() / sizes.sum()) if sizes.size else nan
    spread = _means(sums, sizes, rng, resamples, level)
    return _interval(mean, spread, int(sizes.sum()), len(sizes), level)


def bootstrap_difference(
    values: Sequence[float] | Floats,
    others: Sequence[float] | Floats,
    rng: np.random.Generator,
    clusters: Sequence[Hashable] | None = None,
    other_clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Mean of `values` minus mean of `others`, of different images: both sides are resampled independently.

    `images` and `clusters` of the result are those of both sides together.
    """
    sums, sizes = _by_cluster(values, clusters)
    other_sums, other_sizes = _by_cluster(others, other_clusters)
    images, count = int(sizes.sum() + other_sizes.sum()), len(sizes) + len(other_sizes)
    if not len(sizes) or not len(other_sizes):
        return Interval(nan, nan, nan, images, count, level)
    mean = float(sums.sum() / sizes.sum() - other_sums.sum() / other_sizes.sum())
    here = _means(sums, sizes, rng, resamples, level)
    there = _means(other_sums, other_sizes, rng, resamples, level)
    spread = here - there if len(here) and len(there) else np.empty(0)
    return _interval(mean, spread, images, count, level)


def _by_cluster(values: Sequence[float] | Floats, clusters: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Sum and number of the values of each cluster, clusters in the order of their first image."""
    scores = np.asarray(values, dtype=np.float64)
    if not bool(np.isfinite(scores).all()):
        raise DataError(
            f"{int((~np.isfinite(scores)).sum())} of {len(scores)} values are not finite. Decide first what an "
            "undefined score counts, or leave its image out."
        )
    if clusters is None:
        return scores, np.ones(len(scores))
    if len(clusters) != len(scores):
        raise DataError(f"{len(scores)} values but {len(clusters)} clusters; name the cluster of every image.")
    number: dict[Hashable, int] = {}
    where = np.array([number.setdefault(cluster, len(number)) for cluster in clusters], dtype=np.intp)
    sums = np.bincount(where, weights=scores, minlength=len(number))
    return sums.astype(np.float64), np.bincount(where, minlength=len(number)).astype(np.float64)


def _means(sums: Floats, sizes: Floats, rng: np.random.Generator, resamples: int, level: float) -> Floats:
    """The mean of each resample; none where there are fewer than two clusters."""
    if resamples < 1 or not 0 < level < 1:
        raise SettingError(f"resamples is {resamples} and level {level}; give at least 1, and a level between 0 and 1.")
    count = len(sums)
    if count < 2:
        return np.empty(0)
    rows = max(1, DRAWN_AT_ONCE // count)
    parts = []
    for start in range(0, resamples, rows):
        drawn = rng.integers(0, count, size=(min(rows, resamples - start), count))
        parts.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return np.concatenate(parts)


def _interval(mean: float, spread: Floats, images: int, clusters: int, level: float) -> Interval:
    low, high = nan, nan
    if spread.size and np.ptp(spread) > 1e-12:  # rounding alone is no variation
        low, high = (float(bound) for bound in np.quantile(spread, [(1 - level) / 2, (1 + level) / 2]))
    return Interval(mean, low, high, images, clusters, level)
