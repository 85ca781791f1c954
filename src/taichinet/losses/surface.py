"""Loss terms on the distance to the outline of the lesion: boundary loss and Hausdorff-distance loss.

Distances are exact and computed after augmentation. On a GPU, PyTorch computes them without waiting for the device and
with the same operations in every step, so that a step can be captured as a CUDA graph; on a CPU, SciPy is faster. They
are in image sides, so that a weight does not depend on the resolution.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from taichinet.batch import Batch, Prediction, at_least_float32


def squared_distance(mask: Tensor) -> Tensor:
    """Squared Euclidean distance of every pixel to the nearest pixel outside `mask`.

    Args:
        mask: (B, R, H, W), boolean.

    Returns:
        (B, R, H, W) in squared pixels; 0 outside `mask`, and of no meaning if `mask` is full.
    """
    if mask.device.type != "cpu":
        return _on_device(mask)
    planes = mask.flatten(0, 1).numpy()
    distances = np.stack([ndimage.distance_transform_edt(plane) for plane in planes]).astype(np.float32)
    return torch.from_numpy(distances).view(mask.shape).square()


def _on_device(mask: Tensor) -> Tensor:
    """`squared_distance` on any device.

    The squared distance within each row is computed first, then its minimum over rows with the squared offset
    (Felzenszwalb and Huttenlocher, Theory of Computing 2012, by comparison of all rows).
    """
    height, width = mask.shape[-2:]
    far = height + width
    column = torch.arange(width, device=mask.device, dtype=torch.float32)
    before = torch.where(mask, -float(far), column).cummax(dim=-1).values
    after = torch.where(mask, float(width + far), column).flip(-1).cummin(dim=-1).values.flip(-1)
    rows = torch.minimum(column - before, after - column).square()
    nearest = rows.clone()
    for offset in range(1, height):
        cost = offset * offset
        nearest[..., offset:, :] = torch.minimum(nearest[..., offset:, :], rows[..., :-offset, :] + cost)
        nearest[..., :-offset, :] = torch.minimum(nearest[..., :-offset, :], rows[..., offset:, :] + cost)
    return nearest


def boundary_term(prediction: Prediction, batch: Batch) -> Tensor:
    """Boundary loss (Kervadec et al., MIDL 2019): mean of the probability times the signed distance to the outline.

    The distance is negative inside the lesion. Images without the region, or filled by it, have the loss 0. The loss
    may be negative, and is meant to be added to another one.

    Args:
        prediction: Network output; the logits of the lesion path (B, R, H, W) are used.
        batch: Ground truth (B, R, H, W), 0 or 1.

    Returns:
        Scalar loss.
    """
    lesion = batch.lesion > 0.5
    with torch.no_grad():
        outside = squared_distance(~lesion).sqrt()
        inside = (squared_distance(lesion).sqrt() - 1).clamp(min=0)  # 0 at the outline, as published
        signed = (outside - inside) / lesion.shape[-1] * _has_outline(lesion)
    return (torch.sigmoid(at_least_float32(prediction.positive)) * signed).mean()


def hausdorff_term(prediction: Prediction, batch: Batch) -> Tensor:
    """Hausdorff-distance loss with distance transforms (Karimi and Salcudean, IEEE TMI 2020), alpha = 2.

    The squared error times the squared distances to the outlines of the ground truth and of the predicted mask,
    averaged over images, regions and pixels. A mask without outline has the distance 0.

    Args:
        prediction: Network output; the logits of the lesion path (B, R, H, W) are used.
        batch: Ground truth (B, R, H, W), 0 or 1.

    Returns:
        Scalar loss.
    """
    probability = torch.sigmoid(at_least_float32(prediction.positive))
    with torch.no_grad():
        masks = torch.cat([probability > 0.5, batch.lesion > 0.5])
        field = (squared_distance(masks) + squared_distance(~masks)) / masks.shape[-1] ** 2 * _has_outline(masks)
        predicted, true = field.chunk(2)
    return ((probability - batch.lesion).square() * (predicted + true)).mean()


def _has_outline(masks: Tensor) -> Tensor:
    """Whether masks (B, R, H, W) have pixels of both values: (B, R, 1, 1)."""
    flat = masks.flatten(2)
    return (flat.any(dim=2) & ~flat.all(dim=2))[:, :, None, None]
