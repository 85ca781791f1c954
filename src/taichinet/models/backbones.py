"""ImageNet backbones from timm: ResNet-34 and ResNet-50 with features at every scale, DeiT-tiny's blocks.

Weights come from a file that the user has (`pretrained`), never from the network: a training must not depend on
what a server answers today.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn

from taichinet.errors import SettingError, WeightsError
from taichinet.models.settings import BaselineSettings

ResNetName = Literal["resnet34", "resnet50", "resnet101"]
PRETRAINED = "pretrained"  # how the names of options that give a file of weights begin
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PretrainedSettings(BaselineSettings):
    """Options of a network with an ImageNet backbone."""

    pretrained: str | None = Field(
        default=None, description="file with the backbone's ImageNet weights (.safetensors or .pth); None: from scratch"
    )


def architecture(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` without where the first weights come from: what trained weights need to be loaded into."""
    return {key: value for key, value in options.items() if not key.startswith(PRETRAINED)}


def pretrained_digests(options: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of each file of ImageNet weights in `options`; SettingError where one is missing."""
    paths = {key: value for key, value in options.items() if key.startswith(PRETRAINED) and value}
    return {key: hashlib.sha256(_existing(Path(value), key).read_bytes()).hexdigest() for key, value in paths.items()}


class ImageNetScale(nn.Module):
    """(B, C, H, W) in [0, 1] -> the mean and deviation that ImageNet weights expect.

    Always there, pretrained or not, so that a network is one function of its weights. Images of other than three
    channels get the mean of the three values.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, values in (("mean", IMAGENET_MEAN), ("deviation", IMAGENET_STD)):
            shown = values if channels == 3 else (sum(values) / 3,) * channels
            self.register_buffer(name, torch.tensor(shown).reshape(1, channels, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """The standardised image."""
        return (image - self.mean) / self.deviation


class ResNetEncoder(nn.Module):
    """A ResNet without classifier.

    `stem` is (B, 64, H/2, W/2): 7x7 convolution, BatchNorm, ReLU. `stages` are the four layers; with `max_pool` their
    outputs lie at 1/4, 1/8, 1/16, 1/32 of the image, with `output_stride` 16 or 8 the last ones are dilated instead.
    """

    def __init__(
        self,
        name: ResNetName,
        in_channels: int,
        pretrained: str | None = None,
        output_stride: Literal[8, 16, 32] = 32,
        max_pool: bool = True,
    ) -> None:
        """Random weights, or those of the file `pretrained`; raises WeightsError where they do not fit."""
        super().__init__()
        from timm.models import create_model as create_timm_model  # two seconds that other networks need not wait for

        # As in torchvision, whose ResNets the sources use, no residual branch starts at zero.
        resnet: Any = create_timm_model(
            name, pretrained=False, num_classes=0, output_stride=output_stride, zero_init_last=False
        )
        if pretrained is not None:
            load_backbone(resnet, Path(pretrained), name, unused=("fc.",))
        self.scale = ImageNetScale(in_channels)
        convolution = resnet.conv1
        if in_channels != 3:
            convolution = with_input_channels(convolution, in_channels)
        self.stem = nn.Sequential(convolution, resnet.bn1, nn.ReLU(inplace=True))
        self.pool: nn.Module = resnet.maxpool if max_pool else nn.Identity()
        self.stages = nn.ModuleList([resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the four stages, shallow to deep."""
        features = self.pool(self.stem(self.scale(image)))
        outputs = []
        for stage in self.stages:
            features = stage(features)
            outputs.append(features)
        return tuple(outputs)


def with_input_channels(convolution: nn.Conv2d, channels: int) -> nn.Conv2d:
    """The same convolution for another number of input channels than its three.

    One channel gets the sum of the three kernels: an image then gives what it would give repeated in three channels.
    Of several, channel c gets kernel c mod 3, as RF-Net's official stem of two channels has it.
    """
    adapted = nn.Conv2d(
        channels,
        convolution.out_channels,
        convolution.kernel_size,  # type: ignore[arg-type]
        convolution.stride,  # type: ignore[arg-type]
        convolution.padding,  # type: ignore[arg-type]
        bias=convolution.bias is not None,
    )
    with torch.no_grad():
        if channels == 1:
            adapted.weight.copy_(convolution.weight.sum(dim=1, keepdim=True))
        else:
            adapted.weight.copy_(convolution.weight[:, torch.arange(channels) % convolution.in_channels])
        if convolution.bias is not None and adapted.bias is not None:
            adapted.bias.copy_(convolution.bias)
    return adapted


def load_backbone(backbone: nn.Module, path: Path, name: str, unused: tuple[str, ...]) -> None:
    """Load the ImageNet weights at `path` into `backbone`; tensors whose names begin as in `unused` are passed over.

    Files of timm, of torchvision and of DeiT's authors (who wrap theirs in "model") name their tensors alike. Raises
    SettingError for a missing file and WeightsError for one that is torn, not finite, or of another network: a deeper
    ResNet holds every tensor of a shallower one, so what the file has beyond the network is refused too.
    """
    _existing(path, f"ImageNet weights of {name}")
    tensors = _tensors_in(path)
    expected = backbone.state_dict()
    wrong = [key for key, value in expected.items() if key not in tensors or tensors[key].shape != value.shape]
    wrong = [key for key in wrong if not key.endswith("num_batches_tracked")]
    if wrong:
        raise WeightsError(
            f"The weights in {path} are not those of {name}: {len(wrong)} of its tensors are missing or of another "
            f"shape, first '{wrong[0]}'. Give {name}'s own file."
        )
    beyond = [key for key in tensors if key not in expected and not key.startswith(unused)]
    if beyond:
        raise WeightsError(
            f"The weights in {path} are not those of {name}, but of a larger network: {len(beyond)} further tensors, "
            f"first '{beyond[0]}'. Give {name}'s own file."
        )
    broken = [key for key in expected if key in tensors and not torch.isfinite(tensors[key]).all()]
    if broken:
        raise WeightsError(f"The weights in {path} hold values that are not finite, first in '{broken[0]}'.")
    backbone.load_state_dict({key: tensors.get(key, value) for key, value in expected.items()})


def _tensors_in(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file by name, out of a wrapper called "model" or "state_dict"."""
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
        for wrapper in ("model", "state_dict"):
            if isinstance(state.get(wrapper), Mapping):
                state = state[wrapper]
        return {key: value for key, value in state.items() if isinstance(value, Tensor)}
    except Exception as error:  # both loaders raise undocumented types, and torch's refuses pickles that hold code
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"The ImageNet weights in {path} cannot be read ({reason}). Get the file again.") from error


def _existing(path: Path, what: str) -> Path:
    if not path.is_file():
        found = "a folder, no file," if path.is_dir() else "no file"
        raise SettingError(
            f"{what}: {found} {path}. Give the path of a file of ImageNet weights (timm's model.safetensors or "
            "torchvision's .pth), or leave the option out to train from scratch; nothing is downloaded."
        )
    return path
