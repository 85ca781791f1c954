"""DE-ResUnet, a two-dimensional port (Wu, Hu and Liu, "MR brain segmentation based on DE-ResUnet combining texture
features and background knowledge", Biomedical Signal Processing and Control 2022).

Certain: the layers of the official network, which is three-dimensional and segments three brain tissues. Our port
replaces every operator by its two-dimensional counterpart, has K = R + 1 classes, and computes the textures from the
image. How the authors of TaiChiNet applied it to ultrasound is unknown.

Two deviations: the transposed convolutions of the side maps (kernel size 1, bias -10, followed by a ReLU) almost surely
have zero output and gradient at initialisation, so they are replaced by 1x1 convolutions with bias 0 and bilinear
upsampling, with the same number of parameters; and the channel attention in the encoders, which the abstract mentions,
is omitted, as in the official code.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.baselines.de_resunet_blocks import (
    RefinementBlock,
    ResidualBlock,
    ResidualEncoder,
    SqueezeExcitation,
    StrengthenModule,
    leaky,
)
from taichinet.models.baselines.texture import TEXTURES, texture_maps
from taichinet.models.input_size import MAX_WIDTH, SIZE_MULTIPLE, check_input
from taichinet.models.settings import BaselineSettings


class DEResUNetSettings(BaselineSettings):
    """Options of a DE-ResUnet."""

    width: int = Field(default=16, ge=1, le=MAX_WIDTH, description="channels of the first level")


class SideMap(nn.Module):
    """Class logits at image resolution from a decoder output: (B, C, h, w) -> (B, K, h * factor, w * factor)."""

    def __init__(self, channels: int, width: int, classes: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.reduce = nn.Conv2d(channels, width, kernel_size=1)
        self.refine = RefinementBlock(width, 2 * width)
        self.classify = nn.Conv2d(2 * width, classes, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Class logits."""
        raised = F.interpolate(self.reduce(features), scale_factor=self.factor, mode="bilinear", align_corners=False)
        logits: Tensor = self.classify(self.refine(F.relu(raised)))
        return logits


class DEResUNet(nn.Module):
    """Encoders for the image and its texture maps, one decoder: image (B, C, H, W) -> Prediction with six levels."""

    def __init__(self, settings: DEResUNetSettings | None = None) -> None:
        """Build the network; if `settings` is None, with one input channel and one region."""
        super().__init__()
        self.settings = settings or DEResUNetSettings()
        width, channels, classes = self.settings.width, self.settings.in_channels, self.settings.num_classes + 1
        self.image_stem = nn.Conv2d(channels, width, kernel_size=3, padding=1)
        self.texture_stems = nn.Conv2d(TEXTURES, TEXTURES * width, kernel_size=3, padding=1, groups=TEXTURES)
        self.image_encoder = ResidualEncoder(width, width)
        self.texture_encoder = ResidualEncoder(TEXTURES * width, width)
        deep = 8 * width
        self.bottleneck = ResidualBlock(2 * deep, 2 * deep, stride=2)
        levels = (deep, deep // 2, deep // 4, deep // 8)  # channels, deep to shallow
        self.attention = nn.ModuleList(SqueezeExcitation(4 * level) for level in levels)
        self.decoder = nn.ModuleList(ResidualBlock(4 * level, level) for level in levels)
        factors = (8, 4, 2)
        self.side_maps = nn.ModuleList(
            SideMap(level, width, classes, factor) for level, factor in zip(levels[:-1], factors, strict=True)
        )
        self.finest_map = nn.Conv2d(width, classes, kernel_size=1)
        self.coarse = nn.Sequential(
            RefinementBlock(len(levels) * classes, 4 * width), nn.Conv2d(4 * width, classes, kernel_size=1)
        )
        self.strengthen = nn.ModuleList(StrengthenModule(channels, 2 * width) for _ in range(self.settings.num_classes))
        strengthened = 1 + 2 * width * self.settings.num_classes
        self.final = nn.Sequential(
            RefinementBlock(strengthened, 2 * width), nn.Conv2d(2 * width, classes, kernel_size=1)
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Prediction:
        """Segment a batch of images.

        Args:
            image: (B, C, H, W) in [0, 1]; H and W are multiples of 16.

        Returns:
            Prediction with one path. `levels` are the logits of the four side maps, the coarse and the final output.
        """
        check_input(image, self.settings.in_channels, SIZE_MULTIPLE)
        sides = self._side_maps(image)
        coarse = at_least_float32(self.coarse(torch.cat([side.softmax(dim=1) for side in sides], dim=1)))
        background, *foreground = torch.split(coarse.softmax(dim=1), 1, dim=1)
        strengthened = [
            module(tissue, background, image) for module, tissue in zip(self.strengthen, foreground, strict=True)
        ]
        final = at_least_float32(self.final(torch.cat([background, *strengthened], dim=1)))
        levels = tuple(region_logits(classes) for classes in (*sides, coarse, final))
        return Prediction(positive=levels[-1], levels=levels)

    def _side_maps(self, image: Tensor) -> list[Tensor]:
        """Class logits (B, K, H, W) of the four decoder levels at image resolution, coarse to fine, float32."""
        image_skips = self.image_encoder(leaky(self.image_stem(image)))
        texture_skips = self.texture_encoder(leaky(self.texture_stems(texture_maps(image))))
        features = self.bottleneck(torch.cat([texture_skips[-1], image_skips[-1]], dim=1))
        outputs = []
        skips = zip(reversed(texture_skips), reversed(image_skips), strict=True)
        for (texture, own), attend, block in zip(skips, self.attention, self.decoder, strict=True):
            raised = F.interpolate(features, scale_factor=2, mode="nearest")
            features = block(attend(torch.cat([raised, texture, own], dim=1)))
            outputs.append(features)
        sides = [side(output) for side, output in zip(self.side_maps, outputs[:-1], strict=True)]
        return [*(at_least_float32(side) for side in sides), at_least_float32(self.finest_map(outputs[-1]))]


def region_logits(classes: Tensor) -> Tensor:
    """Convert logits of mutually exclusive classes to logits of nested regions.

    Region r consists of classes r to R (outer regions first). The logit of its probability is computed as a difference
    of two log-sum-exps, which is accurate where the softmax saturates.

    Args:
        classes: Class logits (B, R + 1, H, W), background first.

    Returns:
        Region logits (B, R, H, W).
    """
    count = classes.shape[1]
    regions = [
        classes[:, r:].logsumexp(dim=1, keepdim=True) - classes[:, :r].logsumexp(dim=1, keepdim=True)
        for r in range(1, count)
    ]
    return torch.cat(regions, dim=1)
