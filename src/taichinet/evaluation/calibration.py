"""Calibration of lesion probabilities: does a pixel called 0.7 turn out to be lesion in 70 of 100 cases?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from math import isfinite, nan
from operator import add

import numpy as np
from numpy.typing import NDArray

from taichinet.errors import DataError, SettingError

BINS = 15  # as Guo et al. 2017
UNCERTAIN = (0.05, 0.95)
"""The band of probabilities, ends included, in which the network has not settled: lesion borders and doubtful areas.

A band of probabilities and not the lesion's surroundings: whoever selects pixels by what was predicted leaves a
calibrated network calibrated (the share of lesion among the pixels called p stays p), whereas selecting by the truth,
e.g. a box around the lesion, changes the share of lesion in every bin and makes the best network look overly timid.
"""


@dataclass(frozen=True)
class Bin:
    """Pixels with a probability in [low, high), the last bin with its end; NaN where `pixels` is 0."""

    low: float
    high: float
    pixels: int
    mean_confidence: float
    lesion_share: float


@dataclass(frozen=True)
class Calibration:
    """Sums over pixels in equally wide bins of the lesion probability; `+` pools images, folds or classes.

    Of each bin: `pixels`, how many of them are lesion, and the sum of their probabilities. `squared_error` is the sum
    of (p - y)^2 over all pixels. Sums, not means, so that pooled is the same as measured together, however many images.

    Known weakness: most pixels of an image are background that any network calls so with great confidence. They fill
    the lowest bin, and `ece` and `brier` over all pixels look good whatever happens at the lesion: report them beside
    those of the band `UNCERTAIN`, which leaves out in turn what was confidently wrong.
    """

    pixels: tuple[int, ...]
    lesion_pixels: tuple[int, ...]
    confidence: tuple[float, ...]
    squared_error: float

    @property
    def edges(self) -> tuple[float, ...]:
        """The bins' borders, one more than bins, from 0 to 1."""
        return _edges(len(self.pixels))

    @property
    def total(self) -> int:
        """How many pixels were measured."""
        return sum(self.pixels)

    @property
    def bins(self) -> tuple[Bin, ...]:
        """Every bin, lowest first, the empty ones too."""
        edges = self.edges
        return tuple(
            Bin(edges[i], edges[i + 1], count, _ratio(self.confidence[i], count), _ratio(self.lesion_pixels[i], count))
            for i, count in enumerate(self.pixels)
        )

    @property
    def ece(self) -> float:
        """Expected calibration error: sum over bins b of (n_b / N) |mean confidence of b - share of lesion in b|.

        Guo, Pleiss, Sun, Weinberger: On calibration of modern neural networks, ICML 2017, section 2, with 15 bins.
        There the confidence is that of the chosen class and is compared with accuracy; here, with two classes, it is
        the probability of lesion and is compared with the share of lesion among the pixels, so that too much promised
        and too little are told apart. An empty bin weighs nothing. In [0, 1]; NaN without any pixel.
        """
        return _ratio(sum(count * gap for count, gap in self._gaps()), self.total)

    @property
    def mce(self) -> float:
        """Maximum calibration error: the largest gap of any bin that has pixels (ibid.); NaN without any.

        However few pixels the bin has: on small sets this is mostly noise.
        """
        return max((gap for _, gap in self._gaps()), default=nan)

    @property
    def brier(self) -> float:
        """Mean squared difference between probability and truth, in [0, 1]; NaN without any pixel."""
        return _ratio(self.squared_error, self.total)

    @property
    def overconfidence(self) -> float:
        """Mean probability minus the share of lesion, over all pixels: above 0 where too much lesion is promised."""
        return _ratio(sum(self.confidence) - sum(self.lesion_pixels), self.total)

    def __add__(self, other: Calibration) -> Calibration:
        """Both together; SettingError where their bins differ."""
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

    def to_json_dict(self) -> dict[str, object]:
        """Scores and sums as plain numbers, NaN as None, so that strict JSON can hold it."""
        scores = {"ece": self.ece, "mce": self.mce, "brier": self.brier}
        return {
            **{name: value if isfinite(value) else None for name, value in scores.items()},
            "edges": list(self.edges),
            "pixels": list(self.pixels),
            "lesion_pixels": list(self.lesion_pixels),
            "confidence": list(self.confidence),
            "squared_error": self.squared_error,
        }

    def _gaps(self) -> list[tuple[int, float]]:
        return [(it.pixels, abs(it.mean_confidence - it.lesion_share)) for it in self.bins if it.pixels]


def calibrate(
    probability: NDArray[np.floating],
    truth: NDArray[np.bool_],
    bins: int = BINS,
    within: tuple[float, float] = (0.0, 1.0),
) -> Calibration:
    """Compare `probability` of lesion, in [0, 1], with `truth`, bool, both (H, W) or of any one shape.

    Only pixels with a probability `within` these bounds count, ends included; `UNCERTAIN` is the band to report.
    """
    if bins < 1:
        raise SettingError(f"bins is {bins}; give at least 1.")
    if truth.dtype != np.bool_:
        raise TypeError(f"The truth has dtype {truth.dtype}; calibrate takes bool.")
    if probability.shape != truth.shape:
        raise DataError(
            f"The probability has shape {probability.shape} but the truth {truth.shape}; bring both to one size first."
        )
    p = probability.astype(np.float64).ravel()
    # Comparisons with NaN are false, so this refuses them too.
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise DataError("The probability has values outside [0, 1] or not finite; pass probabilities, not logits.")
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
    """All of them together; one of `bins` empty bins where there is none."""
    several = list(calibrations)
    return reduce(add, several) if several else Calibration((0,) * bins, (0,) * bins, (0.0,) * bins, 0.0)


def _edges(bins: int) -> tuple[float, ...]:
    return tuple(i / bins for i in range(bins + 1))


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else nan
