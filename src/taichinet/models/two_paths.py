"""The complementary second path for any network: what TaiChiNet adds to its U-Net, but for the cross-attention.

A twin of the network, with weights of its own, learns the background (or the lesion too, Table II); the complementary
head of Fig. 10 couples the outputs, and the complementary loss sees both. Cross-attention stays TaiChiNet's own: it
needs a bottleneck of known shape, which not every network has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.settings import BaselineSettings, CouplingSettings
from taichinet.models.taichinet.complementary_head import ComplementaryHead


class TwoPaths(nn.Module):
    """Two networks of the same kind with opposite eyes: image (B, C, H, W) -> Prediction of both."""

    def __init__(
        self,
        build: Callable[[], nn.Module],
        build_negative: Callable[[], nn.Module],
        settings: BaselineSettings,
        coupling: CouplingSettings,
    ) -> None:
        """`settings` are those of the positive path; the negative one may lack outputs that no loss asks of it."""
        super().__init__()
        self.settings = settings
        self.coupling = coupling
        self.positive = build()
        self.negative = build_negative()
        self.head = ComplementaryHead(coupling, settings.num_classes) if coupling.head != "none" else None
        complementary = coupling.mutual == "complementary"
        prior = coupling.background_prior if complementary else 0.5
        self.prior_logit = math.log(prior / (1 - prior))

    def forward(self, image: Tensor) -> Prediction:
        """The positive network's Prediction, coupled with the negative one's answer; auxiliary outputs stay its own."""
        found: Prediction = self.positive(image)
        opposite: Prediction = self.negative(image)
        positive = found.positive
        heard = opposite.positive
        if self.settings.num_classes > 1 and self.coupling.mutual == "complementary":
            # The background of an inner region holds that of the outer one: a network that nests its regions by
            # construction (DE-ResUnet) can say so only in the opposite order.
            heard = heard.flip(1)
        # The constant is the output bias of TaiChiNet's second path: a start at the background's share of the image.
        negative = heard + self.prior_logit
        if self.head is not None:
            with torch.autocast(device_type=image.device.type, enabled=False):
                negative, positive = self.head(at_least_float32(negative), at_least_float32(positive))
        return replace(
            found,
            positive=positive,
            negative=negative,
            negative_sees="background" if self.coupling.mutual == "complementary" else "lesion",
            answer=self.coupling.answer,
            levels=(*found.levels[:-1], positive) if found.levels else (),
        )
