"""Scores of one predicted mask against its ground truth: Eq. 25-29 and the two surface distances."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot, isfinite, nan

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from taichinet.errors import DataError, SettingError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class MaskScores:
    """What `score_mask` says of one image: overlap in [0, 1] or NaN, distances in pixels or millimetres."""

    dice: float
    jaccard: float
    accuracy: float
    precision: float
    sensitivity: float
    hd95: float
    assd: float
    predicted_pixels: int
    true_pixels: int
    pixels: int


def score_mask(prediction: Mask, truth: Mask, spacing_mm: tuple[float, float] | None = None) -> MaskScores:
    """Score `prediction` against `truth`, both boolean (H, W).

    `spacing_mm` is the pixel's (row, column) size; with it the distances are in millimetres, else in pixels.
    No policy for normal images is applied here, that is `aggregate`'s; undefined cases are decided like this:

    | prediction | truth | DI, JA | PR | SE | ACC | HD95, ASSD |
    | --- | --- | --- | --- | --- | --- | --- |
    | empty | empty | NaN | NaN | NaN | 1 | 0 |
    | empty | lesion (missed) | 0 | 0 | 0 | Eq. 27 | image diagonal |
    | lesion (false alarm) | empty | 0 | 0 | NaN | Eq. 27 | image diagonal |

    So SE is NaN exactly where the truth is empty, and DI exactly where both masks are.
    """
    _refuse_unusable(prediction, truth, spacing_mm)
    tp = int(np.count_nonzero(prediction & truth))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    tn = truth.size - tp - fp - fn
    hd95, assd = _surface_distances(prediction, truth, spacing_mm or (1.0, 1.0))
    return MaskScores(
        jaccard=_ratio(tp, tp + fp + fn),  # Eq. 25
        dice=_ratio(2 * tp, 2 * tp + fp + fn),  # Eq. 26
        accuracy=(tp + tn) / (tp + fp + fn + tn),  # Eq. 27
        sensitivity=_ratio(tp, tp + fn),  # Eq. 28
        precision=0.0 if fn and not tp + fp else _ratio(tp, tp + fp),  # Eq. 29, and 0 for a missed lesion
        hd95=hd95,
        assd=assd,
        predicted_pixels=tp + fp,
        true_pixels=tp + fn,
        pixels=truth.size,
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else nan


def _surface_distances(prediction: Mask, truth: Mask, spacing: tuple[float, float]) -> tuple[float, float]:
    """HD95 and ASSD as MONAI defines them.

    HD95 is the larger of the two directed 95th percentiles, ASSD the mean over both borders' pixels together.
    """
    predicted, true = bool(prediction.any()), bool(truth.any())
    if not predicted and not true:
        return 0.0, 0.0
    if not predicted or not true:
        diagonal = hypot(truth.shape[0] * spacing[0], truth.shape[1] * spacing[1])
        return diagonal, diagonal
    # Both borders lie inside the joint bounding box: what is outside it changes no distance, it costs time.
    box = _bounding_box(prediction | truth)
    border_predicted, border_true = _border(prediction[box]), _border(truth[box])
    to_true = _distances_to(border_true, spacing)[border_predicted]
    to_predicted = _distances_to(border_predicted, spacing)[border_true]
    hd95 = max(float(np.percentile(to_true, 95)), float(np.percentile(to_predicted, 95)))
    assd = float(to_true.sum() + to_predicted.sum()) / (to_true.size + to_predicted.size)
    return hd95, assd


def _bounding_box(mask: Mask) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _border(mask: Mask) -> Mask:
    """The mask's own pixels with a 4-neighbour outside it; beyond the image counts as outside."""
    return mask & ~binary_erosion(mask)


def _distances_to(border: Mask, spacing: tuple[float, float]) -> NDArray[np.float64]:
    """For every pixel (H, W), the distance to the nearest pixel of `border`."""
    return np.asarray(distance_transform_edt(~border, sampling=spacing), dtype=np.float64)


def _refuse_unusable(prediction: Mask, truth: Mask, spacing_mm: tuple[float, float] | None) -> None:
    for role, mask in (("prediction", prediction), ("truth", truth)):
        if mask.dtype != np.bool_:
            raise TypeError(f"The {role} has dtype {mask.dtype}; score_mask takes bool, so threshold it first.")
        if mask.ndim != 2 or mask.size == 0:
            raise DataError(f"The {role} has shape {mask.shape}; a mask is (H, W) with at least one pixel.")
    if prediction.shape != truth.shape:
        raise DataError(
            f"The prediction has shape {prediction.shape} but the truth {truth.shape}; "
            "resize the prediction to the truth's size before scoring."
        )
    if spacing_mm is not None and not all(isfinite(size) and size > 0 for size in spacing_mm):
        raise SettingError(f"spacing_mm is {spacing_mm}; give the pixel's (row, column) size, both above 0.")
