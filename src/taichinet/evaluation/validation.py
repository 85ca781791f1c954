"""Validation Dice for model selection after every epoch."""

from __future__ import annotations

import torch
from torch import Tensor

THRESHOLD = 0.5


def image_dice(probability: Tensor, lesion: Tensor) -> Tensor:
    """Dice score (Eq. 26) per image and region.

    For an empty ground truth, the score is 1 for an empty prediction and otherwise 0, independent of the policy of the
    reports. An image with probabilities that are not finite has the score 0, because NaN would otherwise be treated as
    an empty prediction.

    Args:
        probability: Predicted probability in [0, 1], (B, R, H, W).
        lesion: Ground truth, 0 or 1, (B, R, H, W).

    Returns:
        Dice (B, R).
    """
    predicted, truth = probability > THRESHOLD, lesion > THRESHOLD
    overlap = (predicted & truth).sum(dim=(-2, -1))
    total = predicted.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1))
    dice = torch.where(total > 0, 2 * overlap / total.clamp(min=1), torch.ones_like(overlap, dtype=torch.float))
    return dice.where(probability.isfinite().flatten(-2).all(dim=-1), 0)
