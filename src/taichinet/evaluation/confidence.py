"""Confidence of one image, stored instead of the full probability map, and detection of images with a lesion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite, nan

import numpy as np
from numpy.typing import NDArray

from taichinet.errors import DataError
from taichinet.evaluation.calibration import BINS, UNCERTAIN, Calibration, calibrate

PEAK_PERCENTILE = 99.9


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
    """Measure the confidence of one image; arguments and errors as in `calibrate` and `peak_probability`."""
    return ImageConfidence(
        whole=calibrate(probability, truth, bins),
        uncertain=calibrate(probability, truth, bins, UNCERTAIN),
        peak=peak_probability(probability),
    )


@dataclass(frozen=True)
class ConfidenceKeeper:
    """The confidences of one region, by image key; filled by the scoring, in the order of the images."""

    region: str
    by_key: dict[str, ImageConfidence] = field(default_factory=dict)


def peak_probability(probability: NDArray[np.floating]) -> float:
    """Image-level lesion score: the 99.9th percentile of the probability map, with linear interpolation.

    The percentile is used instead of the maximum, which a single bright speckle can determine: at 128 x 128 px, about
    16 pixels must have a high probability. A lesion smaller than 0.1 % of the image is therefore underestimated.

    Args:
        probability: Probability of lesion in [0, 1], (H, W).

    Raises:
        DataError: The map has no pixel.
    """
    if probability.size == 0:
        raise DataError(f"The probability has shape {probability.shape}; an image has at least one pixel.")
    return float(np.percentile(probability.astype(np.float64), PEAK_PERCENTILE))


def detection_auc(lesion_peaks: Sequence[float], normal_peaks: Sequence[float]) -> float:
    """Area under the ROC curve for lesion versus normal images; ties count as 1/2.

    Args:
        lesion_peaks: `peak_probability` of the images with a lesion.
        normal_peaks: `peak_probability` of the normal images.

    Returns:
        AUC in [0, 1], NaN if one of the sequences is empty.

    Raises:
        DataError: A score is not finite.
    """
    from sklearn.metrics import roc_auc_score  # takes a second: only import it when needed

    if not lesion_peaks or not normal_peaks:
        return nan
    peaks = [*lesion_peaks, *normal_peaks]
    bad = [value for value in peaks if not isfinite(value)]
    if bad:
        raise DataError(f"{len(bad)} of {len(peaks)} peaks are not finite (first {bad[0]}); predict the images again.")
    return float(roc_auc_score([1] * len(lesion_peaks) + [0] * len(normal_peaks), peaks))
