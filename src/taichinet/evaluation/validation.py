"""The selection score: mean Dice of thresholded predictions, cheap enough for every epoch."""

from __future__ import annotations

import torch
from torch import Tensor

THRESHOLD = 0.5


def image_dice(probability: Tensor, lesion: Tensor) -> Tensor:
    """Dice (Eq. 26) of each image and region: (B, R, H, W) twice -> (B, R).

    On an empty truth an empty prediction scores 1, any other 0: what selection should reward, whatever policy the
    report applies. An image whose probabilities are not all finite scores 0: NaN is above no threshold, and would
    count as an empty prediction.
    """
    predicted, truth = probability > THRESHOLD, lesion > THRESHOLD
    overlap = (predicted & truth).sum(dim=(-2, -1))
    total = predicted.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1))
    dice = torch.where(total > 0, 2 * overlap / total.clamp(min=1), torch.ones_like(overlap, dtype=torch.float))
    return dice.where(probability.isfinite().flatten(-2).all(dim=-1), 0)
