"""Presence head: whether an image shows a lesion at all, decided from features of the whole image. Our addition.

The probability of a pixel is the product of two: that the image shows a lesion, and that the pixel belongs to it. An
image without a lesion is recognised by its context, e.g. tissue without a shadow, rather than by its pixels. As the
product is the output of the network, every runtime applies it without a second output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from taichinet.batch import at_least_float32

INITIAL_LOGIT = 2.0  # the head begins with a probability of 0.88, so that it hardly changes the pixels


class PresenceHead(nn.Module):
    """Mean and maximum of each channel over the image, and one linear layer."""

    def __init__(self, channels: int, regions: int) -> None:
        """Build the head for features of `channels` channels."""
        super().__init__()
        self.linear = nn.Linear(2 * channels, regions)
        nn.init.zeros_(self.linear.weight)
        nn.init.constant_(self.linear.bias, INITIAL_LOGIT)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, h, w) -> logits that the image shows each region, (B, R)."""
        logits: Tensor = self.linear(torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1))
        return at_least_float32(logits)


def gated(logits: Tensor, presence: Tensor | None) -> Tensor:
    """Logits of the product of two probabilities: of each pixel, and of the presence of its region.

    Args:
        logits: Logits of the pixels, (B, R, H, W).
        presence: Logits of the presence, (B, R); None for a network without presence head.

    Returns:
        (B, R, H, W): a smooth minimum of both logits. Without `presence`, `logits`.
    """
    if presence is None:
        return logits
    of_image = presence[:, :, None, None].expand_as(logits)
    return -torch.logsumexp(torch.stack([-logits, -of_image, -logits - of_image]), dim=0)
