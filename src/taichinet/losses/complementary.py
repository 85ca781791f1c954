"""Complementary loss L_C: consistency of one path's output with the complement of the other, Eq. 18-19."""

from __future__ import annotations

import torch
from torch import Tensor


def complementary_loss(negative: Tensor, positive: Tensor, negative_sees_background: bool = True) -> Tensor:
    """Complementary loss L_C between both paths, Eq. 18.

    The two halves of Eq. 18 have the same value. Both are computed, to match the paper.

    Args:
        negative: Logits (B, R, H, W) of the second path.
        positive: Logits (B, R, H, W) of the lesion path.
        negative_sees_background: False if both paths segment the lesion (consistent mutual learning, Table II). The
            loss then compares the two outputs without taking the complement.

    Returns:
        Scalar loss, averaged over batch, regions and pixels.
    """
    output_n, output_p = torch.sigmoid(negative), torch.sigmoid(positive)
    opposite_p = 1 - output_p if negative_sees_background else output_p
    opposite_n = 1 - output_n if negative_sees_background else output_n
    return (squared_error(output_n, opposite_p) / 2 + squared_error(output_p, opposite_n) / 2).mean()  # Eq. 18


def squared_error(estimate: Tensor, value: Tensor) -> Tensor:
    """Elementwise squared error, the summand of MSE in Eq. 19."""
    return (estimate - value).square()  # Eq. 19
