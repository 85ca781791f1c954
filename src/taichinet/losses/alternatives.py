"""Loss terms that can be added to Dice + cross-entropy, or replace it: Tversky and focal loss.

Their weights are `objective.terms.tversky` and `objective.terms.focal`; with `objective.positive_weight=0` they replace
the segmentation loss of the lesion path. Both apply to the lesion output only, and are equal to those of MONAI.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from taichinet.batch import Batch, Prediction, at_least_float32

SMOOTH = 1e-5  # as in MONAI


def tversky_term(prediction: Prediction, batch: Batch, beta: float) -> Tensor:
    """Tversky loss (Salehi et al., MLMI 2017), averaged over images and regions.

    Images without the region have the loss 0, as in the Dice loss (Eq. 16): a constant otherwise.

    Args:
        prediction: Network output; the logits of the lesion path (B, R, H, W) are used.
        batch: Ground truth (B, R, H, W), 0 or 1.
        beta: Weight of false negatives; that of false positives is 1 - beta. With 0.5, this is the Dice loss without
            squares.

    Returns:
        Scalar loss.
    """
    lesion = batch.lesion
    probability = torch.sigmoid(at_least_float32(prediction.positive))
    found = (probability * lesion).sum(dim=(-2, -1))
    missed = ((1 - probability) * lesion).sum(dim=(-2, -1))
    false = (probability * (1 - lesion)).sum(dim=(-2, -1))
    loss = 1 - (found + SMOOTH) / (found + beta * missed + (1 - beta) * false + SMOOTH)
    return (loss * (lesion.sum(dim=(-2, -1)) > 0)).mean()


def focal_term(prediction: Prediction, batch: Batch, gamma: float) -> Tensor:
    """Focal loss (Lin et al., ICCV 2017), averaged over images, regions and pixels.

    Args:
        prediction: Network output; the logits of the lesion path (B, R, H, W) are used.
        batch: Ground truth (B, R, H, W), 0 or 1.
        gamma: Exponent of the error 1 - p of the true class, which multiplies the cross-entropy; 0 is cross-entropy.

    Returns:
        Scalar loss.
    """
    logits = at_least_float32(prediction.positive)
    entropy = F.binary_cross_entropy_with_logits(logits, batch.lesion, reduction="none")
    # 1 - p of the true class, whose gradient is finite also where it is 0.
    error = torch.exp(F.logsigmoid(torch.where(batch.lesion > 0, -logits, logits)) * gamma)
    return (error * entropy).mean()
