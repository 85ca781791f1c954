"""Test-time augmentation: the mean of the outputs for an image and for its mirror image."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from taichinet.batch import Prediction, at_least_float32


class Mirrored(nn.Module):
    """Averages the probabilities of a network over an image and its horizontal mirror image, at twice the cost.

    A vertical mirror image would have shadows above what casts them.
    """

    def __init__(self, network: nn.Module) -> None:
        """Wrap a network; its weights are shared."""
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1] -> the averaged outputs of both paths, without those that only losses use."""
        seen: Prediction = self.network(image)
        mirrored: Prediction = self.network(image.flip(-1))
        negative = [prediction.negative for prediction in (seen, mirrored) if prediction.negative is not None]
        return replace(
            seen,
            positive=_mean(seen.positive, mirrored.positive),
            negative=_mean(*negative) if negative else None,
            levels=(),
            feedback=None,
            reconstruction=None,
            presence=None,
        )


def _mean(seen: Tensor, mirrored: Tensor) -> Tensor:
    """Logits of the mean of two probabilities, of which the second is of the mirror image."""
    probability = [torch.sigmoid(at_least_float32(logits)) for logits in (seen, mirrored.flip(-1))]
    return torch.logit((probability[0] + probability[1]) / 2, eps=1e-7)
