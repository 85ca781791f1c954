"""The complementary loss L_C: both paths must agree after the complement, Eq. 18-19."""

from __future__ import annotations

import torch
from torch import Tensor


def complementary_loss(negative: Tensor, positive: Tensor, negative_sees_background: bool = True) -> Tensor:
    """L_C of logits (B, R, H, W): pixel mean over each image, then mean over the batch; a scalar.

    With `negative_sees_background` false both paths learn the lesion (consistent mutual learning, Table II) and
    must be equal instead of opposite. As printed the two halves of Eq. 18 are equal in value; both are written.
    """
    output_n, output_p = torch.sigmoid(negative), torch.sigmoid(positive)
    opposite_p = 1 - output_p if negative_sees_background else output_p
    opposite_n = 1 - output_n if negative_sees_background else output_n
    return (squared_error(output_n, opposite_p) / 2 + squared_error(output_p, opposite_n) / 2).mean()  # Eq. 18


def squared_error(estimate: Tensor, value: Tensor) -> Tensor:
    """MSE(A^, A) of one pixel, elementwise."""
    return (estimate - value).square()  # Eq. 19
