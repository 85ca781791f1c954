"""Confidence intervals of mean scores: percentile bootstrap over images or over clusters of images."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from taichinet.errors import DataError, SettingError

LEVEL = 0.95
RESAMPLES = 2000
DRAWN_AT_ONCE = 4_000_000  # maximum number of cluster indices in memory: 32 MB

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with a bootstrap confidence interval.

    The bounds are NaN if the bootstrap cannot estimate them: with fewer than two clusters, or without variation between
    clusters (no false positive in 20 images does not imply a rate of exactly 0).

    Attributes:
        mean: Mean over images, or difference of two means; NaN without images.
        low: Lower bound.
        high: Upper bound.
        images: Number of images.
        clusters: Number of clusters.
        level: Confidence level.
    """

    mean: float
    low: float
    high: float
    images: int
    clusters: int
    level: float = LEVEL

    @property
    def bounded(self) -> bool:
        """Whether the bounds are not NaN."""
        return self.low == self.low


def bootstrap_mean(
    values: Sequence[float] | Floats,
    rng: np.random.Generator,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Mean of per-image values with a percentile bootstrap interval (Efron 1979).

    Whole clusters are resampled with replacement, because images of one patient are not independent. The mean of a
    resample is taken over its images, so clusters are weighted by their size, as in the mean itself.

    Args:
        values: One finite value per image.
        rng: Random generator; it is the only source of randomness.
        clusters: Cluster of each image (patient or group of near-duplicates). None: each image is a cluster.
        resamples: Number of resamples.
        level: Confidence level.

    Returns:
        Mean and interval.

    Raises:
        DataError: A value is not finite, or the number of clusters differs from that of the values.
        SettingError: `resamples` or `level` is out of range.
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
    """Difference of the means of two different sets of images, which are resampled independently.

    Args:
        values: One finite value per image of the first set.
        others: One finite value per image of the second set.
        rng: Random generator.
        clusters: Cluster of each image of the first set, see `bootstrap_mean`.
        other_clusters: Cluster of each image of the second set.
        resamples: Number of resamples.
        level: Confidence level.

    Returns:
        Mean of `values` minus mean of `others`, with interval. `images` and `clusters` are totals over both sets.

    Raises:
        DataError: As in `bootstrap_mean`.
        SettingError: As in `bootstrap_mean`.
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
    """Sum and number of the values of each cluster, in the order of the first image of each cluster."""
    scores = np.asarray(values, dtype=np.float64)
    if not bool(np.isfinite(scores).all()):
        raise DataError(
            f"{int((~np.isfinite(scores)).sum())} of {len(scores)} values are not finite. Replace undefined "
            "scores first, or exclude their images."
        )
    if clusters is None:
        return scores, np.ones(len(scores))
    if len(clusters) != len(scores):
        raise DataError(f"{len(scores)} values but {len(clusters)} clusters; give the cluster of every image.")
    number: dict[Hashable, int] = {}
    index = np.array([number.setdefault(cluster, len(number)) for cluster in clusters], dtype=np.intp)
    sums = np.bincount(index, weights=scores, minlength=len(number))
    return sums.astype(np.float64), np.bincount(index, minlength=len(number)).astype(np.float64)


def _means(sums: Floats, sizes: Floats, rng: np.random.Generator, resamples: int, level: float) -> Floats:
    """Mean of each resample; empty if there are fewer than two clusters."""
    if resamples < 1 or not 0 < level < 1:
        raise SettingError(
            f"resamples is {resamples} and level {level}; give at least 1 resample and a level between 0 and 1."
        )
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
    if spread.size and np.ptp(spread) > 1e-12:  # ignore rounding errors
        low, high = (float(bound) for bound in np.quantile(spread, [(1 - level) / 2, (1 + level) / 2]))
    return Interval(mean, low, high, images, clusters, level)
