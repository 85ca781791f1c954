"""FAT-Net (Wu et al., "FAT-Net: Feature Adaptive Transformers for Automated Skin Lesion Segmentation", MedIA 2022).

Certain: the structure, from the official code: ResNet-34 without max-pooling in parallel with the blocks of DeiT-tiny,
fused by squeeze-and-excitation, with feature adaptation modules on the skip connections. The code puts the same module
object into a list six, four and two times, so the weights are shared. The usually quoted size and cost, 30M parameters
and 23 GFLOPs, fit separate modules (`shared_adaptation=false`), so paper and code probably differ. The code reshapes
tokens to 14 x 14 and therefore only accepts 224 px. There is no position embedding, so any multiple of 16 works here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from taichinet.batch import Prediction, at_least_float32
from taichinet.models.backbones import ImageNetScale, ResNetEncoder, load_backbone, with_input_channels
from taichinet.models.baselines.ce_net import BottleneckUp, CENetSettings, TransposedHead
from taichinet.models.blocks import SqueezeExcitation
from taichinet.models.entry import Entry, Source
from taichinet.models.settings import SIZE_MULTIPLE, check_input

DEIT_TINY = "deit_tiny_distilled_patch16_224"
ADAPTATIONS = ((64, 6), (128, 4), (256, 2))  # channels of a skip, shallow to deep, and how often it is adapted


class FATNetSettings(CENetSettings):
    """Options of a FAT-Net. Its widths are those of its two backbones. `pretrained` is the file for ResNet-34."""

    pretrained_transformer: str | None = Field(default=None, description="file with ImageNet weights of DeiT-tiny")
    shared_adaptation: bool = Field(
        default=True,
        description="one adaptation module per skip connection, as in the official code, or separate modules",
    )


class TokenEncoder(nn.Module):
    """Patch embedding and the twelve blocks of DeiT-tiny: (B, C, H, W) -> (B, 192, H/16, W/16).

    Without position embedding, class and distillation tokens, and final normalisation.
    """

    def __init__(self, in_channels: int, pretrained: str | None) -> None:
        super().__init__()
        from timm.models import create_model as create_timm_model  # takes two seconds: only import it when needed

        transformer: Any = create_timm_model(DEIT_TINY, pretrained=False, num_classes=0)
        self.patches = nn.ModuleDict({"proj": transformer.patch_embed.proj})
        self.blocks: nn.Module = transformer.blocks
        for block in transformer.blocks:
            block.attn.fused_attn = False  # plain matrix products: works with FLOP counting, capture and export
        if pretrained is not None:
            used = nn.ModuleDict({"patch_embed": self.patches, "blocks": self.blocks})
            unused = ("cls_token", "dist_token", "pos_embed", "norm.", "head.", "head_dist.")
            load_backbone(used, Path(pretrained), DEIT_TINY, unused)
        self.patches["proj"] = with_input_channels(transformer.patch_embed.proj, in_channels)
        self.scale = ImageNetScale(in_channels)

    def forward(self, image: Tensor) -> Tensor:
        """Tokens of the last block as a feature map."""
        embedded = self.patches["proj"](self.scale(image))
        tokens = self.blocks(embedded.flatten(start_dim=2).transpose(1, 2))
        out: Tensor = tokens.transpose(1, 2).reshape(embedded.shape)
        return out


class FeatureAdaptation(nn.Module):
    """FAM: ReLU of a 3x3 convolution plus ReLU of a 1x1 convolution; keeps the shape (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.narrow = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """The adapted features."""
        return F.relu(self.wide(features)) + F.relu(self.narrow(features))


class AdaptedSkip(nn.Module):
    """Skip connection with `times` adaptation modules in sequence, with shared or separate weights."""

    def __init__(self, channels: int, times: int, shared: bool) -> None:
        super().__init__()
        self.times = times
        self.modules_in_turn = nn.ModuleList(FeatureAdaptation(channels) for _ in range(1 if shared else times))

    def forward(self, features: Tensor) -> Tensor:
        """The adapted features, (B, C, H, W)."""
        for turn in range(self.times):
            features = self.modules_in_turn[turn % len(self.modules_in_turn)](features)
        return features


class FATNet(nn.Module):
    """Two encoders, adapted skips, bottleneck decoder: image (B, C, H, W), H and W multiples of 16 -> Prediction."""

    def __init__(self, settings: FATNetSettings | None = None) -> None:
        """Build the network; if `settings` is None, with one input channel and random initialisation."""
        super().__init__()
        self.settings = settings or FATNetSettings()
        channels = self.settings.in_channels
        self.encoder = ResNetEncoder("resnet34", channels, self.settings.pretrained, max_pool=False)
        self.tokens = TokenEncoder(channels, self.settings.pretrained_transformer)
        self.widen = nn.Conv2d(192, 512, kernel_size=1)
        self.fusion = nn.Sequential(SqueezeExcitation(1024), nn.Conv2d(1024, 512, kernel_size=1))
        self.adaptation = nn.ModuleList(
            AdaptedSkip(width, times, self.settings.shared_adaptation) for width, times in ADAPTATIONS
        )
        self.decoder = nn.ModuleList(BottleneckUp(i, o) for i, o in ((512, 256), (256, 128), (128, 64)))
        self.head = TransposedHead(64, self.settings.num_classes, self.settings.lesion_prior)
        # The official code creates this block and never calls it. It is kept so that the parameter count agrees, and
        # is frozen.
        self.unused = BottleneckUp(64, 64).requires_grad_(False)

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1] -> Prediction with one path."""
        check_input(image, self.settings.in_channels, SIZE_MULTIPLE)
        *skips, deep = self.encoder(image)
        features = self.fusion(torch.cat([deep, self.widen(self.tokens(image))], dim=1))
        adapted = [adapt(skip) for adapt, skip in zip(self.adaptation, skips, strict=True)]
        for block, skip in zip(self.decoder, reversed(adapted), strict=True):
            features = block(features) + skip
        return Prediction(positive=at_least_float32(self.head(features)))


ENTRY = Entry(
    "FAT-Net",
    FATNetSettings,
    FATNet,
    "Wu et al., MedIA 2022",
    "high",
    Source(28_758_657, 45.85),
    note="The adaptation modules share their weights, as coded; the usually quoted 30M fits independent ones.",
)
