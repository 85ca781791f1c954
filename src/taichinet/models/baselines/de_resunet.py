"""DE-ResUnet, a two-dimensional port (Wu, Hu and Liu, Biomedical Signal Processing and Control 2022).

Paper: "MR brain segmentation based on DE-ResUnet combining texture features and background knowledge".

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
from taichinet.models.autocast import without_autocast
from taichinet.models.blocks import SqueezeExcitation
from taichinet.models.entry import Entry, Source
from taichinet.models.settings import MAX_WIDTH, SIZE_MULTIPLE, BaselineSettings, check_input

SLOPE = 0.2  # of LeakyReLU
GREY_LEVELS = 8
WINDOW = 5  # of the texture maps, in pixels
TEXTURES = 4  # mean, standard deviation, contrast, dissimilarity


class DEResUNetSettings(BaselineSettings):
    """Options of a DE-ResUnet."""

    width: int = Field(default=16, ge=1, le=MAX_WIDTH, description="channels of the first level")


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
        pixels = features[..., :: self.stride, :: self.stride]
        out: Tensor = self.body(features) + self.shortcut(pixels)
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
        out: Tensor = self.body(features) + F.leaky_relu(self.shortcut(features), SLOPE)
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
        """Features of the four levels."""
        levels = [self.first(features) + self.first_shortcut(features)]
        for block in self.deeper:
            levels.append(block(levels[-1]))
        return tuple(levels)


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
        """RA((1 + A) X + (2 - Y) A): A is the attention map of [X, Z]; X and Y are probabilities (B, 1, H, W)."""
        attention = self.attend(torch.cat([tissue, image], dim=1))
        strengthened: Tensor = self.refine((1 + attention) * tissue + (2 - background) * attention)
        return strengthened


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
        """Image (B, C, H, W) in [0, 1], H and W multiples of 16 -> Prediction with one path.

        `levels` are the logits of the four side maps, the coarse and the final output.
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
        image_skips = self.image_encoder(F.leaky_relu(self.image_stem(image), SLOPE))
        texture_skips = self.texture_encoder(F.leaky_relu(self.texture_stems(texture_maps(image)), SLOPE))
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

    (B, R + 1, H, W), background first -> (B, R, H, W). Region r consists of classes r to R (outer regions first). The
    logit of its probability is a difference of two log-sum-exps, which is accurate where the softmax saturates.
    """
    count = classes.shape[1]
    regions = [
        classes[:, r:].logsumexp(dim=1, keepdim=True) - classes[:, :r].logsumexp(dim=1, keepdim=True)
        for r in range(1, count)
    ]
    return torch.cat(regions, dim=1)


@torch.no_grad()
def texture_maps(image: Tensor) -> Tensor:
    """Compute four texture maps from grey-level co-occurrence matrices.

    Grey values are quantised to eight equal levels. A pair consists of a pixel (level i) and its right neighbour
    (level j; pixels of the last column are paired with themselves). p(i, j) is the number of pairs, not normalised, in
    a 5 x 5 window with 25 pairs; the image is mirrored at its border. As in the official code, the moments are taken
    over the 64 cells of i p(i, j): mean = sum(i p) / 64, standard deviation = sqrt(sum((i p - mean)^2)),
    contrast = sum((i - j)^2 p), dissimilarity = sum(|i - j| p).

    Args:
        image: (B, C, H, W) in [0, 1]. Several channels are averaged.

    Returns:
        Mean, standard deviation, contrast and dissimilarity, each divided by 255; (B, 4, H, W).
    """
    with without_autocast(image):
        grey = at_least_float32(image).mean(dim=1, keepdim=True) * 255
        level = (grey / (256 / GREY_LEVELS)).floor().clamp(0, GREY_LEVELS - 1)
        neighbour = torch.cat([level[..., 1:], level[..., -1:]], dim=-1)
        cells = GREY_LEVELS**2
        mean = window_sum(level) / cells
        # sum((i p - mean)^2) = sum(i^2 p^2) - 64 mean^2. One grey level at a time to limit memory: all cells at once
        # would need 64 maps per image.
        squares = torch.zeros_like(mean)
        columns = torch.arange(GREY_LEVELS, device=image.device, dtype=level.dtype).reshape(1, -1, 1, 1)
        for i in range(1, GREY_LEVELS):
            counts = window_sum(((level == i) & (neighbour == columns)).to(grey.dtype))
            squares = squares + i**2 * counts.square().sum(dim=1, keepdim=True)
        standard_deviation = (squares - cells * mean.square()).clamp(min=0).sqrt()
        difference = level - neighbour
        maps = [mean, standard_deviation, window_sum(difference.square()), window_sum(difference.abs())]
        return torch.cat(maps, dim=1) / 255


def window_sum(values: Tensor) -> Tensor:
    """Sum over the 5 x 5 window around each pixel, mirrored at the border; keeps the shape (B, C, H, W)."""
    padded = F.pad(values, (WINDOW // 2,) * 4, mode="reflect")
    return F.avg_pool2d(padded, WINDOW, stride=1) * WINDOW**2


ENTRY = Entry(
    "DE-ResUnet (2-D port)",
    DEResUNetSettings,
    DEResUNet,
    "Wu et al., BSPC 2022",
    "medium",
    Source(3_133_101, 24.07),
    note="The published network is three-dimensional, for three tissues of the brain; the 2-D port is ours.",
    nested_regions=True,
)
