"""Scores of predictions against the ground truth: Eq. 25-29, surface distances; the validation Dice of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot, isfinite, nan

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import Tensor

from taichinet.errors import DataError, SettingError
from taichinet.evaluation.masks import Mask

NEIGHBOURS = np.ones((3, 3), dtype=np.bool_)
"""Pixels of one connected component: 8 neighbours per pixel."""

VALIDATION_THRESHOLD = 0.5
SURFACE_TOLERANCE = 0.01  # share of the image diagonal: 3.2 px at 224 px, about 0.8 mm in a field of 5 x 6 cm


@dataclass(frozen=True)
class MaskScores:
    """Scores of one image: overlap scores in [0, 1] or NaN, distances in pixels or millimetres, and pixel counts."""

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
    """Score a predicted mask against the ground truth.

    The policy for normal images is applied in `aggregate`, not here. Empty masks are scored as follows:

    | prediction | truth | DI, JA | PR | SE | ACC | HD95, ASSD |
    | --- | --- | --- | --- | --- | --- | --- |
    | empty | empty | NaN | NaN | NaN | 1 | 0 |
    | empty | lesion (missed) | 0 | 0 | 0 | Eq. 27 | image diagonal |
    | lesion (false alarm) | empty | 0 | 0 | NaN | Eq. 27 | image diagonal |

    SE is NaN if and only if the ground truth is empty, and DI if and only if both masks are empty.

    Args:
        prediction: Predicted mask, bool (H, W).
        truth: Ground truth, bool (H, W).
        spacing_mm: Pixel size (row, column) in millimetres. Distances are in millimetres if given, otherwise in pixels.

    Returns:
        All scores of the image.

    Raises:
        TypeError: A mask is not boolean.
        DataError: A mask has no pixels or is not two-dimensional, or the shapes differ.
        SettingError: The spacing is not positive and finite.
    """
    _check_masks(prediction, truth, spacing_mm)
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


def dice_score(prediction: Mask, truth: Mask) -> float:
    """The Dice of `score_mask`, without the distances, which take most of its time."""
    overlap = int(np.count_nonzero(prediction & truth))
    return _ratio(2 * overlap, int(np.count_nonzero(prediction)) + int(np.count_nonzero(truth)))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else nan


def _surface_distances(prediction: Mask, truth: Mask, spacing: tuple[float, float]) -> tuple[float, float]:
    """HD95 and ASSD as defined by MONAI.

    HD95 is the maximum of the two directed 95th percentiles, ASSD the mean over the border pixels of both masks.
    """
    predicted, true = bool(prediction.any()), bool(truth.any())
    if not predicted and not true:
        return 0.0, 0.0
    if not predicted or not true:
        return _diagonal(truth, spacing), _diagonal(truth, spacing)
    to_true, to_predicted = _border_distances(prediction, truth, spacing)
    hd95 = max(float(np.percentile(to_true, 95)), float(np.percentile(to_predicted, 95)))
    assd = float(to_true.sum() + to_predicted.sum()) / (to_true.size + to_predicted.size)
    return hd95, assd


def surface_dice(
    prediction: Mask, truth: Mask, tolerance: float | None = None, spacing_mm: tuple[float, float] | None = None
) -> float:
    """Normalised surface Dice: share of the border pixels of both masks within a tolerance of the other border.

    As defined by MONAI's `compute_surface_dice` without subvoxels, after Nikolov et al. 2021 (doi:10.2196/26151).

    Args:
        prediction: Predicted mask, bool (H, W).
        truth: Ground truth, bool (H, W).
        tolerance: Largest distance that counts as correct, in millimetres if `spacing_mm` is given, otherwise in
            pixels. None: `SURFACE_TOLERANCE` of the image diagonal.
        spacing_mm: Pixel size (row, column) in millimetres.

    Returns:
        The share; 0 if one mask is empty, NaN if both are.

    Raises:
        TypeError, DataError, SettingError: As in `score_mask`; SettingError also for a negative tolerance.
    """
    _check_masks(prediction, truth, spacing_mm)
    spacing = spacing_mm or (1.0, 1.0)
    limit = SURFACE_TOLERANCE * _diagonal(truth, spacing) if tolerance is None else tolerance
    if not limit >= 0:
        raise SettingError(f"tolerance is {tolerance}; give the largest correct distance, at least 0.")
    if not prediction.any() or not truth.any():
        return 0.0 if prediction.any() or truth.any() else nan
    distances = np.concatenate(_border_distances(prediction, truth, spacing))
    return float((distances <= limit).mean())


def _diagonal(mask: Mask, spacing: tuple[float, float]) -> float:
    return hypot(mask.shape[0] * spacing[0], mask.shape[1] * spacing[1])


def _border_distances(
    prediction: Mask, truth: Mask, spacing: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances of the border pixels of each mask to the other border: of the prediction, of the ground truth."""
    # Both borders are inside the joint bounding box. Cropping to it saves time and does not change the distances.
    box = _bounding_box(prediction | truth)
    border_predicted, border_true = _border(prediction[box]), _border(truth[box])
    return _distances_to(border_true, spacing)[border_predicted], _distances_to(border_predicted, spacing)[border_true]


def _bounding_box(mask: Mask) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _border(mask: Mask) -> Mask:
    """Mask pixels with a 4-neighbour outside the mask; pixels beyond the image border count as outside."""
    return mask & ~binary_erosion(mask)


def _distances_to(border: Mask, spacing: tuple[float, float]) -> NDArray[np.float64]:
    """Distance of every pixel (H, W) to the nearest pixel of `border`."""
    return np.asarray(distance_transform_edt(~border, sampling=spacing), dtype=np.float64)


def _check_masks(prediction: Mask, truth: Mask, spacing_mm: tuple[float, float] | None) -> None:
    for role, mask in (("prediction", prediction), ("truth", truth)):
        if mask.dtype != np.bool_:
            raise TypeError(f"The {role} has dtype {mask.dtype}; score_mask requires bool: apply a threshold first.")
        if mask.ndim != 2 or mask.size == 0:
            raise DataError(f"The {role} has shape {mask.shape}; a mask is (H, W) with at least one pixel.")
    if prediction.shape != truth.shape:
        raise DataError(
            f"The prediction has shape {prediction.shape} but the ground truth {truth.shape}; "
            "resize the prediction first."
        )
    if spacing_mm is not None and not all(isfinite(size) and size > 0 for size in spacing_mm):
        raise SettingError(f"spacing_mm is {spacing_mm}; give the size of a pixel (row, column), both above 0.")


def image_dice(probability: Tensor, lesion: Tensor) -> Tensor:
    """Dice score (Eq. 26) per image and region, for model selection after every epoch.

    For an empty ground truth, the score is 1 for an empty prediction and otherwise 0, independent of the policy of the
    reports. An image with probabilities that are not finite has the score 0, because NaN would otherwise be treated as
    an empty prediction.

    Args:
        probability: Predicted probability in [0, 1], (B, R, H, W).
        lesion: Ground truth, 0 or 1, (B, R, H, W).

    Returns:
        Dice (B, R).
    """
    predicted, truth = probability > VALIDATION_THRESHOLD, lesion > VALIDATION_THRESHOLD
    overlap = (predicted & truth).sum(dim=(-2, -1))
    total = predicted.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1))
    dice = torch.where(total > 0, 2 * overlap / total.clamp(min=1), torch.ones_like(overlap, dtype=torch.float))
    return dice.where(probability.isfinite().flatten(-2).all(dim=-1), 0)
