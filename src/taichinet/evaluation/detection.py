"""Image-level detection: classify images as lesion or normal by their highest lesion probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nan

import numpy as np
from numpy.typing import NDArray

from taichinet.errors import DataError

PEAK_PERCENTILE = 99.9


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
    """Area under the ROC curve for lesion versus normal images.

    Computed from ranks (Mann-Whitney U): the probability that a lesion image has a higher score than a normal image,
    with ties counted as 1/2.

    Args:
        lesion_peaks: `peak_probability` of the images with a lesion.
        normal_peaks: `peak_probability` of the normal images.

    Returns:
        AUC in [0, 1], NaN if one of the sequences is empty.

    Raises:
        DataError: A score is not finite.
    """
    if not lesion_peaks or not normal_peaks:
        return nan
    together = np.array([*lesion_peaks, *normal_peaks], dtype=np.float64)
    bad = [value for value in together.tolist() if not isfinite(value)]
    if bad:
        raise DataError(
            f"{len(bad)} of {len(together)} peaks are not finite (first {bad[0]}); predict the images again."
        )
    from scipy.stats import rankdata  # imported here: training and prediction start a second earlier without it

    ranks = rankdata(together)  # ties have the mean of their ranks
    lesions, normals = len(lesion_peaks), len(normal_peaks)
    wins = float(ranks[:lesions].sum()) - lesions * (lesions + 1) / 2
    return wins / (lesions * normals)
