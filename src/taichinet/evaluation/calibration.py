"""Calibration of lesion probabilities: ECE, MCE, Brier score and reliability bins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from math import nan
from operator import add

import numpy as np
from numpy.typing import NDArray

from taichinet.errors import DataError, SettingError

BINS = 15  # as Guo et al. 2017
UNCERTAIN = (0.05, 0.95)
"""Range of uncertain probabilities, inclusive. It mostly contains lesion borders and ambiguous areas.

Pixels are selected by their predicted probability and not by their distance to the lesion: a selection by prediction
does not change the calibration (among the pixels with probability p, a fraction p is lesion). A selection by the ground
truth, such as a box around the lesion, changes the fraction of lesion in every bin, so that a perfectly calibrated
network appears underconfident.
"""


@dataclass(frozen=True)
class Bin:
    """Pixels with a probability in [low, high); the last bin includes `high`. Means are NaN if `pixels` is 0."""

    low: float
    high: float
    pixels: int
    mean_confidence: float
    lesion_share: float


@dataclass(frozen=True)
class Calibration:
    """Sums over pixels in equally wide bins of the lesion probability.

    `+` pools images, folds or classes. Sums are stored instead of means, so that the pooled result equals that of all
    pixels together.

    Known limitation: most pixels of an image are background that any network predicts with high confidence. They
    dominate the lowest bin, so `ece` and `brier` over all pixels are low regardless of the errors at the lesion. Report
    them together with those of the range `UNCERTAIN`, which in turn excludes confident errors.

    Attributes:
        pixels: Number of pixels in each bin.
        lesion_pixels: Number of lesion pixels in each bin.
        confidence: Sum of the probabilities in each bin.
        squared_error: Sum of (p - y)^2 over all pixels.
    """

    pixels: tuple[int, ...]
    lesion_pixels: tuple[int, ...]
    confidence: tuple[float, ...]
    squared_error: float

    @property
    def total(self) -> int:
        """Total number of pixels."""
        return sum(self.pixels)

    @property
    def bins(self) -> tuple[Bin, ...]:
        """All bins including empty ones, in ascending order."""
        edges = _edges(len(self.pixels))
        return tuple(
            Bin(edges[i], edges[i + 1], count, _ratio(self.confidence[i], count), _ratio(self.lesion_pixels[i], count))
            for i, count in enumerate(self.pixels)
        )

    @property
    def ece(self) -> float:
        """Expected calibration error: sum over bins b of (n_b / N) |mean confidence of b - share of lesion in b|.

        Guo, Pleiss, Sun, Weinberger: On calibration of modern neural networks, ICML 2017, section 2, with 15 bins.
        In the paper, the confidence is that of the predicted class and is compared with the accuracy. Here, with two
        classes, it is the probability of lesion and is compared with the fraction of lesion pixels, which distinguishes
        over- and underestimation. Empty bins have weight 0. In [0, 1]; NaN without pixels.
        """
        return _ratio(sum(count * gap for count, gap in self._gaps()), self.total)

    @property
    def mce(self) -> float:
        """Maximum calibration error: the largest gap of any non-empty bin (ibid.); NaN without pixels.

        Bins are not weighted by their number of pixels, so it is dominated by noise on small data sets.
        """
        return max((gap for _, gap in self._gaps()), default=nan)

    @property
    def brier(self) -> float:
        """Brier score: mean squared difference of probability and ground truth, in [0, 1]; NaN without pixels."""
        return _ratio(self.squared_error, self.total)

    @property
    def overconfidence(self) -> float:
        """Mean probability minus fraction of lesion over all pixels; positive if lesion is overestimated."""
        return _ratio(sum(self.confidence) - sum(self.lesion_pixels), self.total)

    def __add__(self, other: Calibration) -> Calibration:
        """Pool two calibrations. Raises SettingError if the numbers of bins differ."""
        if len(self.pixels) != len(other.pixels):
            raise SettingError(
                f"Calibrations of {len(self.pixels)} and {len(other.pixels)} bins cannot be pooled. Measure both with "
                "the same number."
            )
        return Calibration(
            tuple(map(add, self.pixels, other.pixels)),
            tuple(map(add, self.lesion_pixels, other.lesion_pixels)),
            tuple(map(add, self.confidence, other.confidence)),
            self.squared_error + other.squared_error,
        )

    def _gaps(self) -> list[tuple[int, float]]:
        return [(b.pixels, abs(b.mean_confidence - b.lesion_share)) for b in self.bins if b.pixels]


def calibrate(
    probability: NDArray[np.floating],
    truth: NDArray[np.bool_],
    bins: int = BINS,
    within: tuple[float, float] = (0.0, 1.0),
) -> Calibration:
    """Compute the calibration sums of one image.

    Args:
        probability: Probability of lesion in [0, 1], (H, W) or any other shape.
        truth: Ground truth, bool, same shape.
        bins: Number of bins.
        within: Only pixels with a probability in this range are counted, inclusive; `UNCERTAIN` is the range to report.

    Returns:
        The sums over pixels.

    Raises:
        SettingError: `bins` is below 1.
        TypeError: `truth` is not boolean.
        DataError: The shapes differ, or a probability is not finite or outside [0, 1].
    """
    if bins < 1:
        raise SettingError(f"bins is {bins}; give at least 1.")
    if truth.dtype != np.bool_:
        raise TypeError(f"The ground truth has dtype {truth.dtype}; calibrate requires bool.")
    if probability.shape != truth.shape:
        raise DataError(
            f"The probability has shape {probability.shape} but the ground truth {truth.shape}; resize one of them."
        )
    p = probability.astype(np.float64).ravel()
    # Comparisons with NaN are false, so this also rejects NaN.
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise DataError("Some values are not finite or outside [0, 1]; pass probabilities, not logits.")
    y = truth.ravel()
    if within != (0.0, 1.0):
        inside = (p >= within[0]) & (p <= within[1])
        p, y = p[inside], y[inside]
    where = np.digitize(p, _edges(bins)[1:-1])
    return Calibration(
        tuple(np.bincount(where, minlength=bins).tolist()),
        tuple(np.bincount(where[y], minlength=bins).tolist()),
        tuple(np.bincount(where, weights=p, minlength=bins).tolist()),
        float(((p - y) ** 2).sum()),
    )


def pool(calibrations: Iterable[Calibration], bins: int = BINS) -> Calibration:
    """Pool several calibrations; without any, return one with `bins` empty bins.

    Raises:
        SettingError: The numbers of bins differ.
    """
    parts = list(calibrations)
    return reduce(add, parts) if parts else Calibration((0,) * bins, (0,) * bins, (0.0,) * bins, 0.0)


def _edges(bins: int) -> tuple[float, ...]:
    """The edges of the bins from 0 to 1, one more than there are bins."""
    return tuple(i / bins for i in range(bins + 1))


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else nan
