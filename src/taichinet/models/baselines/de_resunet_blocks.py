"""Two-dimensional blocks of DE-ResUnet. LeakyReLU has slope 0.2; all convolutions have a bias."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2
SQUEEZE = 16


def leaky(features: Tensor) -> Tensor:
    """LeakyReLU with slope 0.2."""
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
        """Sum of body and shortcut. The input of the shortcut has no BatchNorm or activation."""
        # Pixels are selected by slicing and not by the stride of the 1x1 convolution: oneDNN's gradient of a strided
        # 1x1 convolution writes past its buffer if there are fewer channels than vector lanes (oneDNN issue 6035),
        # which corrupts memory.
        seen = features[..., :: self.stride, :: self.stride]
        out: Tensor = self.body(features) + self.shortcut(seen)
        return out


class RefinementBlock(nn.Module):
    """Two 3x3 convolutions and ReLU, plus a 1x1 convolution and LeakyReLU: (B, in, H, W) -> (B, out, H, W)."""

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
    """Residual encoder: (B, in, H, W) -> four levels, shallow to deep.

    The levels have w, 2w, 4w and 8w channels at 1, 1/2, 1/4 and 1/8 of the input resolution.
    """

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
    """Squeeze-and-excitation channel attention without biases; reduction 16, ReLU then sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // SQUEEZE, 1)
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Multiply the features (B, C, H, W) by one weight per image and channel."""
        weight = torch.sigmoid(self.excite(F.relu(self.squeeze(features.mean(dim=(-2, -1))))))
        return features * weight[:, :, None, None]


class StrengthenModule(nn.Module):
    """Background knowledge for one class: class map X, background map Y and image Z -> (B, width, H, W)."""

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
        """RA((1 + A) X + (2 - Y) A), where A is the attention map of [X, Z].

        Args:
            tissue: Probability X of the class, (B, 1, H, W).
            background: Probability Y of the background, (B, 1, H, W).
            image: Image Z, (B, C, H, W).

        Returns:
            Features (B, width, H, W).
        """
        attention = self.attend(torch.cat([tissue, image], dim=1))
        strengthened: Tensor = self.refine((1 + attention) * tissue + (2 - background) * attention)
        return strengthened
