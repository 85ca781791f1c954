"""A complementary second path for any network: the additions of TaiChiNet to the U-Net, without the cross-attention.

A second network of the same architecture, with separate weights, is trained on the background (or on the lesion,
Table II). The complementary head of Fig. 10 couples the outputs, and the complementary loss compares them.
Cross-attention is only available in TaiChiNet: it needs a bottleneck of known shape, which not every network has.
"""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor, nn

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.autocast import without_autocast
from taichinet.models.settings import BaselineSettings, CouplingSettings
from taichinet.models.taichinet.complementary_head import ComplementaryHead


class TwoPaths(nn.Module):
    """Two networks of the same architecture, for lesion and background: image (B, C, H, W) -> Prediction of both."""

    def __init__(
        self,
        positive: nn.Module,
        negative: nn.Module,
        settings: BaselineSettings,
        coupling: CouplingSettings,
    ) -> None:
        """Couple two networks.

        Args:
            positive: The network for the lesion.
            negative: The network for the background. It may omit auxiliary outputs: no loss uses them.
            settings: Settings of the positive network.
            coupling: How the outputs are coupled.
        """
        super().__init__()
        self.settings = settings
        self.coupling = coupling
        self.positive = positive
        self.negative = negative
        self.head = ComplementaryHead(coupling, settings.num_classes) if coupling.head != "none" else None
        self.prior_logit = math.log(coupling.negative_prior / (1 - coupling.negative_prior))

    def forward(self, image: Tensor) -> Prediction:
        """Segment images (B, C, H, W) in [0, 1]. Auxiliary outputs are those of the positive network."""
        lesion: Prediction = self.positive(image)
        background: Prediction = self.negative(image)
        positive = lesion.positive
        logits = background.positive
        if self.settings.num_classes > 1 and self.coupling.mutual == "complementary":
            # The background of an inner region contains that of the outer one. A network whose regions are nested by
            # construction (DE-ResUnet) can only represent this in the opposite order of regions.
            logits = logits.flip(1)
        # Corresponds to the initial output bias of TaiChiNet's second path: the initial probability of background.
        negative = logits + self.prior_logit
        if self.head is not None:
            with without_autocast(image):
                negative, positive = self.head(at_least_float32(negative), at_least_float32(positive))
        return replace(
            lesion,
            positive=positive,
            negative=negative,
            negative_sees=self.coupling.negative_sees,
            answer=self.coupling.answer,
            levels=(*lesion.levels[:-1], positive) if lesion.levels else (),
        )
