"""X-Net, a reconstruction (Li et al., The Visual Computer 2021).

Paper: "X-Net: a dual encoding-decoding method in medical image segmentation". The code is not public and only the
abstract was available to us. From the abstract: two encoders for the same image, a convolutional (local) and a
Transformer (global) encoder, merged through the skip connections; two decoders, one for the segmentation and a
variational decoder that reconstructs the input, as a regulariser for small data sets. All widths, depths, scales of
fusion and the latent size are our choice. Its scores are not those of the published network.

At input resolutions other than 224 px, the position embedding is interpolated, and the input of the variational branch
is pooled to 14 x 14. At 224 px, both operations are the identity.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from taichinet.batch import Prediction, Reconstruction, at_least_float32
from taichinet.models.autocast import without_autocast
from taichinet.models.blocks import (
    ConvBlock,
    DoubleConv,
    UpConv,
    deep_to_shallow,
    encode,
    level_widths,
)
from taichinet.models.entry import Entry, Source
from taichinet.models.settings import MAX_WIDTH, SIZE_MULTIPLE, BaselineSettings, check_input

PATCH = 16
GRID = 14  # patches per side of a 224 px image
HEADS = 8
BLOCKS_PER_LEVEL = 2
LATENT = 128
# Prevents overflow of the exponential and collapse of the latent variance. Trained networks do not reach this value.
LOG_VARIANCE_LIMIT = 10.0


class XNetSettings(BaselineSettings):
    """Options of an X-Net. The widths of the Transformer (8 x `width`) and variational branch scale with `width`."""

    width: int = Field(default=32, ge=2, le=MAX_WIDTH, multiple_of=2, description="channels of the first level")
    variational: bool = Field(default=True, description="branch that reconstructs the input, in training only")

    def for_second_path(self) -> Self:
        """Settings of the second network: without the variational branch."""
        return self.model_copy(update={"variational": False})


class TransformerBlock(nn.Module):
    """Pre-norm self-attention with eight heads and an MLP of four times the width; keeps the shape (B, N, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """The tokens after attention and MLP."""
        batch, count, width = tokens.shape
        packed = self.query_key_value(self.norm_attention(tokens))
        query, key, value = packed.reshape(batch, count, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        scores = torch.softmax(query @ key.transpose(-2, -1) * (width // HEADS) ** -0.5, dim=-1)
        attended = (scores @ value).transpose(1, 2).reshape(batch, count, width)
        tokens = tokens + self.project(attended)
        out: Tensor = tokens + self.mlp(self.norm_mlp(tokens))
        return out


class TransformerEncoder(nn.Module):
    """Transformer on 16 px patches: (B, C, H, W) -> one map (B, `width`, H/16, W/16) per level, every two blocks."""

    def __init__(self, in_channels: int, width: int, levels: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(in_channels, width, kernel_size=PATCH, stride=PATCH)
        self.position = nn.Parameter(torch.empty(1, width, GRID, GRID))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.blocks = nn.ModuleList(TransformerBlock(width) for _ in range(BLOCKS_PER_LEVEL * levels))
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The maps, shallow to deep; the last one is normalised."""
        embedded = self.patches(image)
        position: Tensor = self.position
        if embedded.shape[-2:] != position.shape[-2:]:
            position = F.interpolate(position, size=embedded.shape[-2:], mode="bilinear", align_corners=False)
        tokens = (embedded + position).flatten(start_dim=2).transpose(1, 2)
        states = []
        for index, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            if index % BLOCKS_PER_LEVEL == 0:
                state = self.norm(tokens) if index == len(self.blocks) else tokens
                states.append(state.transpose(1, 2).reshape(embedded.shape))
        return tuple(states)


class Fusion(nn.Module):
    """Fuses a Transformer state with one level of the convolutional encoder; keeps the shape (B, C, h, w)."""

    def __init__(self, token_width: int, channels: int) -> None:
        super().__init__()
        self.adapt = ConvBlock(token_width, channels, kernel=1)
        self.merge = ConvBlock(2 * channels, channels, kernel=1)

    def forward(self, local: Tensor, state: Tensor) -> Tensor:
        """The fused features of both encoders."""
        distant = F.interpolate(self.adapt(state), size=local.shape[-2:], mode="bilinear", align_corners=False)
        merged: Tensor = self.merge(torch.cat([local, distant], dim=1))
        return merged


class VariationalBranch(nn.Module):
    """Variational decoder from the deepest fused map to the image, through a normal latent with 128 dimensions."""

    def __init__(self, settings: XNetSettings) -> None:
        super().__init__()
        deep, narrow = level_widths(settings.width)[-1], max(settings.width // 2, 1)
        self.narrow, self.side = narrow, GRID // 2
        self.squeeze = nn.Sequential(
            nn.BatchNorm2d(deep), nn.ReLU(), nn.Conv2d(deep, narrow, kernel_size=3, stride=2, padding=1)
        )
        flat = narrow * self.side**2
        self.mean = nn.Linear(flat, LATENT)
        self.log_variance = nn.Linear(flat, LATENT)
        self.expand = nn.Linear(LATENT, flat)
        widths = (narrow, *(narrow * factor for factor in (16, 8, 4, 2, 1)))
        self.stages = nn.ModuleList(
            nn.Sequential(ConvBlock(before, after, kernel=1), *ConvBlock(after, after, kernel=3))
            for before, after in pairwise(widths)
        )
        self.output = nn.Conv2d(narrow, settings.in_channels, kernel_size=1)

    def forward(self, fused: Tensor, size: tuple[int, int]) -> Reconstruction:
        """Reconstruct an image of `size` (height, width) from the deepest fused features (B, 16 * width, h, w)."""
        pooled = F.adaptive_avg_pool2d(fused, GRID) if fused.shape[-2:] != (GRID, GRID) else fused
        flat = self.squeeze(pooled).flatten(start_dim=1)
        with without_autocast(fused):  # the exponential needs float32
            mean = self.mean(at_least_float32(flat))
            log_variance = self.log_variance(at_least_float32(flat)).clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
            latent = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        reconstructed = self.expand(latent).reshape(-1, self.narrow, self.side, self.side)
        for stage in self.stages:
            reconstructed = stage(F.interpolate(reconstructed, scale_factor=2, mode="bilinear", align_corners=False))
        reconstructed = at_least_float32(self.output(reconstructed))
        if reconstructed.shape[-2:] != size:
            reconstructed = F.interpolate(reconstructed, size=size, mode="bilinear", align_corners=False)
        return Reconstruction(reconstructed, mean, log_variance)


class XNet(nn.Module):
    """Two encoders, two decoders: image (B, C, H, W), H and W multiples of 16 -> Prediction."""

    def __init__(self, settings: XNetSettings | None = None) -> None:
        """Build the network; if `settings` is None, with width 32 and one input channel."""
        super().__init__()
        self.settings = settings or XNetSettings()
        widths = level_widths(self.settings.width)
        inputs = (self.settings.in_channels, *widths[:-1])
        self.encoder = nn.ModuleList(DoubleConv(i, o) for i, o in zip(inputs, widths, strict=True))
        token_width = HEADS * self.settings.width
        self.transformer = TransformerEncoder(self.settings.in_channels, token_width, levels=len(widths) - 1)
        self.fusions = nn.ModuleList(Fusion(token_width, channels) for channels in widths[1:])
        steps = deep_to_shallow(widths)
        self.ups = nn.ModuleList(UpConv(deep, shallow) for deep, shallow in steps)
        self.decoder = nn.ModuleList(DoubleConv(2 * shallow, shallow) for _, shallow in steps)
        self.output = nn.Conv2d(self.settings.width, self.settings.num_classes, kernel_size=1)
        self.variational = VariationalBranch(self.settings) if self.settings.variational else None

    def forward(self, image: Tensor) -> Prediction:
        """Image (B, C, H, W) in [0, 1] -> Prediction; `reconstruction` is only computed in training mode."""
        check_input(image, self.settings.in_channels, SIZE_MULTIPLE)
        local = encode(self.encoder, image)
        states = self.transformer(image)
        fused = [fuse(features, state) for fuse, features, state in zip(self.fusions, local[1:], states, strict=True)]
        skips = [local[0], *fused[:-1]]  # only convolutional features at full resolution
        features = fused[-1]
        for up, block in zip(self.ups, self.decoder, strict=True):
            features = block(torch.cat([skips.pop(), up(features)], dim=1))
        reconstructed = None
        if self.variational is not None and self.training:
            reconstructed = self.variational(fused[-1], (image.shape[-2], image.shape[-1]))
        return Prediction(positive=at_least_float32(self.output(features)), reconstruction=reconstructed)


ENTRY = Entry(
    "X-Net (reconstruction)",
    XNetSettings,
    XNet,
    "Li et al., The Visual Computer 2021",
    "low",
    Source(17_363_988, 28.84),
    note="No code is public and only the abstract was available: every width and depth is our reconstruction.",
)
