"""Segmentation loss L_S = Dice loss + binary cross-entropy: Eq. 14-17."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Dice loss l_d per image and region, Eq. 16, with squared terms in the denominator as in the paper.

    For an empty target, Eq. 16 is 1 - 0 / sum(p^2): a constant loss of 1 without gradient, and 0/0 for an empty
    prediction. The loss is defined as 0 in this case, so that only the cross-entropy applies to empty targets.

    Args:
        logits: Logits (B, R, H, W).
        target: Ground truth (B, R, H, W), 0 or 1.

    Returns:
        Loss (B, R) in [0, 1].
    """
    probability = torch.sigmoid(logits)
    overlap = (target * probability).sum(dim=(-2, -1))
    total = (target.square() + probability.square()).sum(dim=(-2, -1))
    present = target.sum(dim=(-2, -1)) > 0
    loss = 1 - 2 * overlap / torch.where(present, total, torch.ones_like(total))  # Eq. 16
    return torch.where(present, loss, torch.zeros_like(loss))


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy l_b per image and region: the mean of Eq. 17 over pixels.

    The mean is used so that all loss terms have a similar magnitude.

    Args:
        logits: Logits (B, R, H, W).
        target: Target (B, R, H, W) in [0, 1].

    Returns:
        Loss (B, R).
    """
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(-2, -1))  # Eq. 17


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Segmentation loss L_S = l_d + l_b (Eq. 14-15), averaged over images and regions; a scalar."""
    return (dice_loss(logits, target) + cross_entropy(logits, target)).mean()  # Eq. 14-15
