"""Size, brightness, contrast and lesion area: of each image, of each class, and outliers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from taichinet.datasets.checks.finding import Finding
from taichinet.datasets.checks.strokes import BoolMap

FENCE = 3.0  # Tukey's "far out": this many interquartile ranges beyond the quartiles
FEWEST = 12  # images; quartiles of fewer say nothing


@dataclass(frozen=True)
class ImageFacts:
    """`height` and `width` in pixels; `brightness` and `contrast`: mean and standard deviation of grey, 0..255.

    `lesion_share` is the share of the image in the outermost region, None if the mask is empty.
    """

    key: str
    label: str
    height: int
    width: int
    brightness: float
    contrast: float
    lesion_share: float | None


@dataclass(frozen=True)
class Spread:
    """Least, lower quartile, median, upper quartile and greatest of some values."""

    least: float
    lower: float
    median: float
    upper: float
    greatest: float


@dataclass(frozen=True)
class ClassStatistics:
    """Statistics of the images of one class; `lesion_share` is None if all masks are empty."""

    label: str
    images: int
    height: Spread
    width: Spread
    brightness: Spread
    contrast: Spread
    lesion_share: Spread | None


def measure(key: str, label: str, grey: NDArray[np.uint8], lesion: BoolMap | None) -> ImageFacts:
    """The facts of one image: `grey` (H, W), its united mask `lesion` (H, W) or None."""
    height, width = grey.shape
    share = float(lesion.mean()) if lesion is not None and lesion.any() else None
    return ImageFacts(key, label, height, width, float(grey.mean()), float(grey.std()), share)


def by_class(facts: Iterable[ImageFacts]) -> tuple[ClassStatistics, ...]:
    """One entry per label, in the order of the labels."""
    members: dict[str, list[ImageFacts]] = {}
    for fact in facts:
        members.setdefault(fact.label, []).append(fact)
    return tuple(
        ClassStatistics(
            label=label,
            images=len(group),
            height=_spread([fact.height for fact in group]),
            width=_spread([fact.width for fact in group]),
            brightness=_spread([fact.brightness for fact in group]),
            contrast=_spread([fact.contrast for fact in group]),
            lesion_share=_spread(shares) if (shares := [f.lesion_share for f in group if f.lesion_share]) else None,
        )
        for label, group in members.items()
    )


def find_outliers(facts: Sequence[ImageFacts]) -> list[Finding]:
    """Images more than 3 interquartile ranges beyond the quartiles of all; one finding per image.

    Sizes, their ratio and lesion shares are compared by logarithm: half the size is as unusual as twice the size. If
    half of the images agree exactly the range is taken as 1% (1 grey level), so that similar images are no outliers.
    """
    reasons: dict[str, list[str]] = {}
    weights: dict[str, float] = {}
    measures = (
        ("height of {:.0f} pixels", [(fact.key, float(fact.height)) for fact in facts], True),
        ("width of {:.0f} pixels", [(fact.key, float(fact.width)) for fact in facts], True),
        ("width of {:.2f} heights", [(fact.key, fact.width / fact.height) for fact in facts], True),
        ("mean grey level of {:.0f}", [(fact.key, fact.brightness) for fact in facts], False),
        ("contrast of {:.0f} grey levels", [(fact.key, fact.contrast) for fact in facts], False),
        ("painted share of {:.4f}", [(f.key, f.lesion_share) for f in facts if f.lesion_share is not None], True),
    )
    for text, values, by_ratio in measures:
        for key, value, distance in _far_out(values, by_ratio):
            reasons.setdefault(key, []).append(text.format(value))
            weights[key] = max(weights.get(key, 0.0), distance)
    return [Finding("outlier", (key,), f"Unusual: {', '.join(reasons[key])}.", weights[key]) for key in reasons]


def _far_out(values: list[tuple[str, float]], by_ratio: bool) -> list[tuple[str, float, float]]:
    """(key, value, distance from the nearer quartile in interquartile ranges) of all beyond the fence."""
    if len(values) < FEWEST:
        return []
    scaled = np.array([log(value) if by_ratio else value for _, value in values])
    lower, upper = np.quantile(scaled, [0.25, 0.75])
    unit = max(upper - lower, 0.01 if by_ratio else 1.0)
    distance = np.maximum(lower - scaled, scaled - upper) / unit
    return [(*values[number], float(distance[number])) for number in np.flatnonzero(distance > FENCE)]


def _spread(values: Sequence[float]) -> Spread:
    return Spread(*(float(value) for value in np.quantile(values, [0, 0.25, 0.5, 0.75, 1])))
