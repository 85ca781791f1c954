"""Complementary output head: Sec. III-C, Eq. 10-12, Fig. 10.

Eq. 10 adds the output of an MLP to a probability. The sum can leave [0, 1], the range that Eq. 18-19 require, and the
paper does not define how it is bounded. Three interpretations are implemented, and compared in
docs/reference/fidelity.md:
  logit   O = sigmoid(logit O' + MLP(Psi(.)))  - the sum in logit space, which is unbounded
  squash  O = sigmoid(O' + MLP(Psi(.)))        - the sum of the paper, followed by a sigmoid
  clamp   O = clamp(O' + MLP(Psi(.)), 0, 1)    - the sum of the paper, clamped to [0, 1]
All take and return logits, so that the losses are accurate where probabilities saturate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from taichinet.models.settings import CouplingSettings, HeadSpace

CLAMP_MARGIN = 1e-4  # keeps the logit of a clamped probability finite


class ComplementaryHead(nn.Module):
    """Sequential refinement of both outputs in the order of Fig. 10 (a), (b) or (c).

    Maps logits of (O_n', O_p') to logits of (O_n, O_p), each (B, R, H, W).
    """

    def __init__(self, settings: CouplingSettings, regions: int) -> None:
        """Build the head for R = `regions`; `settings.head` must be a, b or c."""
        super().__init__()
        self.refine_n = _refiner(settings, regions)
        self.refine_p = _refiner(settings, regions)
        self.positive_first = settings.head == "b"
        self.space: HeadSpace = settings.head_space
        self.complementary = settings.mutual == "complementary"

    def forward(self, logits_n: Tensor, logits_p: Tensor) -> tuple[Tensor, Tensor]:
        """Refine both outputs. The second step uses the refined output of the first step."""
        if self.positive_first:  # n' -> p -> n
            refined_p = self._refine(logits_p, logits_n, self.refine_p)
            return self._refine(logits_n, refined_p, self.refine_n), refined_p
        refined_n = self._refine(logits_n, logits_p, self.refine_n)  # Eq. 10
        return refined_n, self._refine(logits_p, refined_n, self.refine_p)  # Eq. 11

    def added_to_positive(self, probability_n: float) -> Tensor:
        """What the head adds to each logit (R,) of O_p' in logit space where the second path is `probability_n`."""
        first: nn.Conv2d = self.refine_p[0]  # type: ignore[assignment]
        shape = (1, first.in_channels, 5, 5)  # large enough for the centre to be unaffected by padding
        message: Tensor = self.refine_p(torch.full(shape, 1 - probability_n if self.complementary else probability_n))
        return message[0, :, 2, 2]

    def _refine(self, own: Tensor, other: Tensor, refiner: nn.Module) -> Tensor:
        """Logits of O = O' + MLP(Psi(other)), all (B, R, H, W)."""
        probability = torch.sigmoid(other)
        message: Tensor = refiner(1 - probability if self.complementary else probability)  # Eq. 12
        if self.space == "logit":
            return own + message
        total = torch.sigmoid(own) + message
        if self.space == "squash":
            return total
        return torch.logit(total.clamp(CLAMP_MARGIN, 1 - CLAMP_MARGIN))


def _refiner(settings: CouplingSettings, regions: int) -> nn.Sequential:
    """Two 3x3 convolutions in Fig. 10 (a), otherwise a two-layer perceptron applied to each pixel; keeps the shape."""
    kernel = 3 if settings.head == "a" else 1
    return nn.Sequential(
        nn.Conv2d(regions, settings.head_hidden, kernel, padding=kernel // 2),
        nn.ReLU(inplace=True) if settings.head == "a" else nn.GELU(),
        nn.Conv2d(settings.head_hidden, regions, kernel, padding=kernel // 2),
    )
