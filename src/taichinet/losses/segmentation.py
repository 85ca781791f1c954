"""The segmentation constraint L_S = Dice loss + binary cross-entropy: Eq. 14-17."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """l_d of each image and region, (B, R) in [0, 1]; squared sums below the line, as printed.

    Where the target is empty the printed quotient is 0 / sum(p^2): a loss of 1 whatever is predicted, without
    gradient (and 0/0 for an empty prediction). It is decided here as 0: an image with nothing to overlap has no
    Dice term, and the cross-entropy alone teaches it to stay silent.
    """
    probability = torch.sigmoid(logits)
    overlap = (target * probability).sum(dim=(-2, -1))
    total = (target.square() + probability.square()).sum(dim=(-2, -1))
    present = target.sum(dim=(-2, -1)) > 0
    loss = 1 - 2 * overlap / torch.where(present, total, torch.ones_like(total))  # Eq. 16
    return torch.where(present, loss, torch.zeros_like(loss))


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """l_b of each image and region, (B, R): the pixel mean of Eq. 17, so that all terms are of one size."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(-2, -1))  # Eq. 17


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """L_S = l_d + l_b, mean over images and regions; a scalar."""
    return (dice_loss(logits, target) + cross_entropy(logits, target)).mean()  # Eq. 14-15
