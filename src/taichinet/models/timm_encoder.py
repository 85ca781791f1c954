"""Encoders from timm: any of its networks that returns features at several scales, for the U-Net family.

The features of an encoder decide the number of levels of the decoder and the multiple of the image size.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from taichinet.errors import SettingError, WeightsError
from taichinet.models.backbones import ImageNetScale, kernel_for, read_tensors

_REMEDY = "Set another options.encoder, e.g. resnet18, efficientnet_b0 or convnext_tiny."


@cache
def encoder_levels(name: str) -> dict[int, int]:
    """Channels of the levels of encoder `name` by reduction, shallow to deep.

    Raises:
        SettingError: timm has no such network, or it has no features at increasing scales, each a power of two.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        info = _create(name).feature_info
    reductions = info.reduction()
    rising = len(reductions) > 1 and reductions == sorted(set(reductions))
    if not rising or any(reduction & (reduction - 1) for reduction in reductions):
        raise SettingError(
            f"Encoder '{name}' has features at 1/{', 1/'.join(map(str, reductions))} of the image resolution. A U-Net "
            f"needs several scales that halve. {_REMEDY}"
        )
    return dict(zip(reductions, info.channels(), strict=True))


class TimmEncoder(nn.Module):
    """A network from timm without classifier: image (B, C, H, W) in [0, 1] -> features, shallow to deep."""

    def __init__(self, name: str, in_channels: int, pretrained: str | None = None) -> None:
        """Build the encoder with the ImageNet weights in the file `pretrained`, or with random initialisation.

        Raises:
            SettingError: There is no such encoder, it does not take images of any size, or the file does not exist.
            WeightsError: The file cannot be read or is not of this encoder.
        """
        super().__init__()
        self.scale = ImageNetScale(in_channels)
        self.features = _create(name)
        if pretrained is not None:
            _load(self.features, Path(pretrained), name)
        if in_channels != 3:
            _change_input(self.features, in_channels)
        self.channels_last = _channels_last(self.features, name, in_channels)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Features of all levels, (B, channels, H / reduction, W / reduction)."""
        features = self.features(self.scale(image))
        return tuple(
            level.permute(0, 3, 1, 2) if is_last else level
            for level, is_last in zip(features, self.channels_last, strict=True)
        )


def _channels_last(features: nn.Module, name: str, in_channels: int) -> tuple[bool, ...]:
    """Whether the channels are the last axis of each level, from the features of an empty image.

    Raises:
        SettingError: The encoder does not take images of any size, or its features have other shapes.
    """
    levels = encoder_levels(name)
    height, width = 2 * max(levels), 4 * max(levels)  # differ, so that a shape has one meaning
    image = torch.zeros(1, in_channels, height, width, device=next(features.parameters()).device)
    try:
        with torch.no_grad():
            shapes = [tuple(level.shape[1:]) for level in features.eval()(image)]
    except Exception as error:  # networks of timm raise anything for a size that they do not take
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SettingError(
            f"Encoder '{name}' does not take images of any size: it fails at {height} x {width} pixels ({reason}). "
            f"{_REMEDY}"
        ) from error
    features.train()
    first = [(channels, height // reduction, width // reduction) for reduction, channels in levels.items()]
    last = [(*sides, channels) for channels, *sides in first]
    if any(shape not in expected for shape, *expected in zip(shapes, first, last, strict=True)):
        raise SettingError(f"Encoder '{name}' returns features {shapes}, where {first} were expected. {_REMEDY}")
    return tuple(shape != expected for shape, expected in zip(shapes, first, strict=True))


def _create(name: str) -> Any:
    """The network of timm with `features_only`, with random weights; raises SettingError if there is none."""
    import timm  # takes two seconds: only import it when needed

    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:5]
        hint = f" Networks with similar names: {', '.join(near)}." if near else ""
        raise SettingError(
            f"Unknown encoder '{name}'.{hint} Give the name of a network of timm {timm.__version__}, e.g. resnet18, "
            "efficientnet_b0 or convnext_tiny."
        )
    try:
        return timm.create_model(name, pretrained=False, features_only=True)
    except Exception as error:  # networks without features raise different errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SettingError(f"Encoder '{name}' has no features for a decoder ({reason}). {_REMEDY}") from error


def _load(features: nn.Module, path: Path, name: str) -> None:
    """Load the ImageNet weights of the whole network of timm into its encoder.

    An encoder of timm has the tensors of the whole network under the same names, in which some dots are underscores.

    Raises:
        WeightsError: A tensor is missing, has another shape, or has values that are not finite.
    """
    given = {_plain(key): value for key, value in read_tensors(path, name).items()}
    tensors = {}
    for key, own in features.state_dict().items():
        value = given.get(_plain(key))
        if value is None and key.endswith("num_batches_tracked"):
            value = own
        if value is None or value.shape != own.shape:
            raise WeightsError(
                f"The weights in {path} are not those of {name}: tensor '{key}' "
                f"{'is missing' if value is None else f'has the shape {tuple(value.shape)}'}. Give the file of {name}."
            )
        if not torch.isfinite(value).all():
            raise WeightsError(f"The weights in {path} have values that are not finite, first in '{key}'.")
        tensors[key] = value
    features.load_state_dict(tensors)


def _plain(key: str) -> str:
    return key.removeprefix("model.").replace("_", ".")


def _change_input(features: nn.Module, channels: int) -> None:
    """Adapt the first convolution, which takes three channels, as `backbones.with_input_channels` does."""
    first = next(layer for layer in features.modules() if isinstance(layer, nn.Conv2d) and layer.in_channels == 3)
    first.weight = nn.Parameter(kernel_for(first.weight.detach(), channels).clone())
    first.in_channels = channels
