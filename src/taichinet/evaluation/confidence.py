"""What is kept of one image's probabilities once its mask is scored: a few dozen numbers instead of a map."""

from __future__ import annotations

from dataclasses import dataclass

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
