"""The blocks of DE-ResUnet in two dimensions; LeakyReLU of slope 0.2 and biases everywhere."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2
SQUEEZE = 16


def leaky(features: Tensor) -> Tensor:
    """LeakyReLU of slope 0.2."""
    return F.leaky_relu(features, SLOPE)


class ResidualBlock(nn.Module):
    """Pre-activation residual block: (B, in, H, W) -> (B, out, H / stride, W / stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1),
        )
        self.stride = stride
        self.shortcut = nn.Conv2d(in_channels, out_channels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Body and shortcut; the shortcut sees the raw input."""
        # The pixels are picked before the 1x1 convolution, not by its stride: oneDNN's gradient of a strided one writes
        # past its buffer where there are fewer channels than a vector holds (its issue 6035), which corrupts memory.
        seen = features[..., :: self.stride, :: self.stride]
        out: Tensor = self.body(features) + self.shortcut(seen)
        return out


class RefinementBlock(nn.Module):
    """(B, in, H, W) -> (B, out, H, W): two convolutions ending with a ReLU, beside a 1x1 ending with a LeakyReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1),
            nn.ReLU(),
        )
        self.shortcut = nn.Conv2d(in_channels, out_channels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """The refined features."""
        out: Tensor = self.body(features) + leaky(self.shortcut(features))
        return out


class ResidualEncoder(nn.Module):
    """(B, in, H, W) -> four levels of w, 2w, 4w, 8w channels at 1, 1/2, 1/4, 1/8, shallow to deep."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(in_channels, width, kernel_size=3, padding=1),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width, width, kernel_size=3, padding=1),
        )
        self.first_shortcut = nn.Conv2d(in_channels, width, kernel_size=1)
        self.deeper = nn.ModuleList(ResidualBlock(width * i, width * i * 2, stride=2) for i in (1, 2, 4))

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """The four levels' features."""
        levels = [self.first(features) + self.first_shortcut(features)]
        for block in self.deeper:
            levels.append(block(levels[-1]))
        return tuple(levels)


class SqueezeExcitation(nn.Module):
    """Weights the channels by what the whole map holds; no biases, reduction 16, ReLU then sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // SQUEEZE, 1)
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) times a weight a channel."""
        weight = torch.sigmoid(self.excite(F.relu(self.squeeze(features.mean(dim=(-2, -1))))))
        return features * weight[:, :, None, None]


class StrengthenModule(nn.Module):
    """Background knowledge for one class: maps X of it and Y of the background, the image Z -> (B, width, H, W)."""

    def __init__(self, image_channels: int, width: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(
            RefinementBlock(1 + image_channels, width),
            RefinementBlock(width, width),
            nn.Conv2d(width, 1, kernel_size=1),
            nn.Sigmoid(),
        )
        self.refine = RefinementBlock(1, width)

    def forward(self, tissue: Tensor, background: Tensor, image: Tensor) -> Tensor:
        """RA((1 + A) X + (2 - Y) A), A the attention to [X, Z]."""
        attention = self.attend(torch.cat([tissue, image], dim=1))
        strengthened: Tensor = self.refine((1 + attention) * tissue + (2 - background) * attention)
        return strengthened
