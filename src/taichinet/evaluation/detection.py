"""Whole images: does the network tell those with a lesion from normal ones by its most certain pixels?"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nan

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from taichinet.errors import DataError

PEAK_PERCENTILE = 99.9


def peak_probability(probability: NDArray[np.floating]) -> float:
    """The 99.9th percentile (linear between neighbours) of `probability` (H, W): how sure of any lesion.

    Not the maximum, which a single bright speckle decides: at 128 x 128 px some 16 pixels must agree. What is smaller
    than a thousandth of the image, though, no longer counts fully.
    """
    if probability.size == 0:
        raise DataError(f"The probability has shape {probability.shape}; an image has at least one pixel.")
    return float(np.percentile(probability.astype(np.float64), PEAK_PERCENTILE))


def detection_auc(lesion_peaks: Sequence[float], normal_peaks: Sequence[float]) -> float:
    """Area under the ROC curve: how often an image with a lesion has the higher peak than a normal one.

    By ranks (Mann and Whitney): equal peaks count one half, 0.5 is guessing. NaN where either kind is absent.
    """
    if not lesion_peaks or not normal_peaks:
        return nan
    together = np.array([*lesion_peaks, *normal_peaks], dtype=np.float64)
    bad = [value for value in together.tolist() if not isfinite(value)]
    if bad:
        raise DataError(
            f"{len(bad)} of {len(together)} peaks are not finite (first {bad[0]}); predict the images again."
        )
    ranks = rankdata(together)  # ties share their mean rank
    lesions, normals = len(lesion_peaks), len(normal_peaks)
    wins = float(ranks[:lesions].sum()) - lesions * (lesions + 1) / 2
    return wins / (lesions * normals)
