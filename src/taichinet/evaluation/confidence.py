"""What is kept of one image's probabilities once its mask is scored: a few dozen numbers instead of a map."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from taichinet.evaluation.calibration import BINS, UNCERTAIN, Calibration, calibrate
from taichinet.evaluation.detection import peak_probability


@dataclass(frozen=True)
class ImageConfidence:
    """Calibration over all pixels of an image and over those within `UNCERTAIN`; `peak` as `peak_probability`."""

    whole: Calibration
    uncertain: Calibration
    peak: float


def measure_confidence(
    probability: NDArray[np.floating], truth: NDArray[np.bool_], bins: int = BINS
) -> ImageConfidence:
    """Of the lesion probabilities (H, W) in [0, 1] of one image, beside its mask, bool (H, W)."""
    return ImageConfidence(
        whole=calibrate(probability, truth, bins),
        uncertain=calibrate(probability, truth, bins, UNCERTAIN),
        peak=peak_probability(probability),
    )


@dataclass(frozen=True)
class ConfidenceKeeper:
    """Keeps the confidences of one region, by key, as its images come by: the `on_region` of a scoring."""

    region: str
    by_key: dict[str, ImageConfidence] = field(default_factory=dict)

    def __call__(self, key: str, region: str, probability: NDArray[np.floating], truth: NDArray[np.bool_]) -> None:
        """Measure this map where it is of the region, probabilities and mask (H, W)."""
        if region == self.region:
            self.by_key[key] = measure_confidence(probability, truth)
