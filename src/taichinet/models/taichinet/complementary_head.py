"""The complementary head on the outputs: Sec. III-C, Eq. 10-12, Fig. 10.

Eq. 10 adds an MLP's answer to a probability, and nothing in the paper keeps the sum in [0, 1] that Eq. 18-19 need.
Three readings are offered; docs/fidelity.md has their measurements:
  logit   O = sigmoid(logit O' + MLP(Psi(.)))  - refinement on the scale where sums are free
  squash  O = sigmoid(O' + MLP(Psi(.)))        - the printed sum, squashed once more
  clamp   O = clamp(O' + MLP(Psi(.)), 0, 1)    - the printed sum, cut off
All take and return logits, so that the losses stay exact where probabilities saturate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from taichinet.models.settings import CouplingSettings, HeadSpace

CLAMP_MARGIN = 1e-4  # keeps the logit of a clamped probability finite


def complement(probability: Tensor) -> Tensor:
    """Psi(A) = 1 - A, elementwise."""
    return 1 - probability  # Eq. 12


class PixelMLP(nn.Sequential):
    """A perceptron on each pixel alone: R channels -> hidden -> R, first raising, then lowering the dimension."""

    def __init__(self, regions: int, hidden: int) -> None:
        super().__init__(
            nn.Conv2d(regions, hidden, kernel_size=1), nn.GELU(), nn.Conv2d(hidden, regions, kernel_size=1)
        )


class ConvRefiner(nn.Sequential):
    """Fig. 10 (a): 3x3 convolutions in the place of the MLP."""

    def __init__(self, regions: int, hidden: int) -> None:
        super().__init__(
            nn.Conv2d(regions, hidden, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, regions, kernel_size=3, padding=1),
        )


class ComplementaryHead(nn.Module):
    """Logits of (O_n', O_p') -> logits of (O_n, O_p), each (B, R, H, W), in the order of Fig. 10."""

    def __init__(self, settings: CouplingSettings, regions: int) -> None:
        """`settings.head` must be a, b or c; `regions` is R."""
        super().__init__()
        block = ConvRefiner if settings.head == "a" else PixelMLP
        self.refine_n = block(regions, settings.head_hidden)
        self.refine_p = block(regions, settings.head_hidden)
        self.positive_first = settings.head == "b"
        self.space: HeadSpace = settings.head_space
        self.complementary = settings.mutual == "complementary"

    def forward(self, logits_n: Tensor, logits_p: Tensor) -> tuple[Tensor, Tensor]:
        """Progressive refinement: the second step reads the first one's refined output."""
        if self.positive_first:  # n' -> p -> n
            refined_p = self._refine(logits_p, logits_n, self.refine_p)
            return self._refine(logits_n, refined_p, self.refine_n), refined_p
        refined_n = self._refine(logits_n, logits_p, self.refine_n)  # Eq. 10
        return refined_n, self._refine(logits_p, refined_n, self.refine_p)  # Eq. 11

    def _refine(self, own: Tensor, other: Tensor, refiner: nn.Module) -> Tensor:
        heard = torch.sigmoid(other)
        message: Tensor = refiner(complement(heard) if self.complementary else heard)
        if self.space == "logit":
            return own + message
        total = torch.sigmoid(own) + message
        if self.space == "squash":
            return total
        return torch.logit(total.clamp(CLAMP_MARGIN, 1 - CLAMP_MARGIN))
