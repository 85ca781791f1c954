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
            load_backbone(resnet, Path(pretrained), name)
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
    """The same convolution for `channels` input channels: each kernel is the mean over the given ones, times 3/C.

    Then a grey image gives what the same image repeated in three channels would give.
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
        total = convolution.weight.sum(dim=1, keepdim=True)
        adapted.weight.copy_((total / channels).expand_as(adapted.weight))
        if channels > 1:  # equal kernels would stay equal for ever
            adapted.weight.add_(torch.randn_like(adapted.weight) * convolution.weight.std() / channels)
        if convolution.bias is not None and adapted.bias is not None:
            adapted.bias.copy_(convolution.bias)
    return adapted


def load_backbone(backbone: nn.Module, path: Path, name: str) -> None:
    """Load the ImageNet weights at `path` into `backbone`; a classifier in the file is passed over.

    Files of timm and of torchvision name a ResNet's tensors alike. Raises SettingError for a missing file and
    WeightsError for one that is torn or belongs to another network.
    """
    _existing(path, f"ImageNet weights of {name}")
    safe = path.suffix == ".safetensors"
    try:
        state = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
        tensors = {key: value for key, value in dict(state).items() if isinstance(value, Tensor)}
    except Exception as error:  # both loaders raise undocumented types, and torch's refuses pickles that hold code
        raise WeightsError(f"The ImageNet weights in {path} cannot be read ({error}). Get the file again.") from error
    expected = backbone.state_dict()
    wrong = [key for key, value in expected.items() if key not in tensors or tensors[key].shape != value.shape]
    wrong = [key for key in wrong if not key.endswith("num_batches_tracked")]
    if wrong:
        raise WeightsError(
            f"The weights in {path} are not those of {name}: {len(wrong)} of its tensors are missing or of another "
            f"shape, first '{wrong[0]}'. Give {name}'s own file."
        )
    backbone.load_state_dict({key: tensors.get(key, value) for key, value in expected.items()})


def _existing(path: Path, what: str) -> Path:
    if not path.is_file():
        raise SettingError(
            f"{what}: no file {path}. Give the path of a file of ImageNet weights (timm's model.safetensors or "
            "torchvision's .pth), or leave the option out to train from scratch; nothing is downloaded."
        )
    return path
