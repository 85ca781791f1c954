"""Summary of the probabilities of one image, stored instead of the full probability map."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from taichinet.evaluation.calibration import BINS, UNCERTAIN, Calibration, calibrate
from taichinet.evaluation.detection import peak_probability


@dataclass(frozen=True)
class ImageConfidence:
    """Confidence of one image.

    Attributes:
        whole: Calibration over all pixels.
        uncertain: Calibration over the pixels with a probability in the range `UNCERTAIN`.
        peak: Result of `peak_probability`.
    """

    whole: Calibration
    uncertain: Calibration
    peak: float


def measure_confidence(
    probability: NDArray[np.floating], truth: NDArray[np.bool_], bins: int = BINS
) -> ImageConfidence:
    """Measure the confidence of one image.

    Args:
        probability: Probability of lesion in [0, 1], (H, W).
        truth: Ground truth, bool (H, W).
        bins: Number of calibration bins.
    """
    return ImageConfidence(
        whole=calibrate(probability, truth, bins),
        uncertain=calibrate(probability, truth, bins, UNCERTAIN),
        peak=peak_probability(probability),
    )


@dataclass(frozen=True)
class ConfidenceKeeper:
    """Callback for `on_region` of the scoring that collects the confidences of one region, by image key."""

    region: str
    by_key: dict[str, ImageConfidence] = field(default_factory=dict)

    def __call__(self, key: str, region: str, probability: NDArray[np.floating], truth: NDArray[np.bool_]) -> None:
        """Measure the probability map (H, W) against the mask (H, W) if it is of the selected region."""
        if region == self.region:
            self.by_key[key] = measure_confidence(probability, truth)
