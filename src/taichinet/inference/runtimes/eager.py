"""PyTorch: plain, the network as it was trained; and tuned, with convolutions fused with BatchNorm and upsampling.

Tuned PyTorch also has the channels-last layout where it is faster. It computes in float32 on a CPU, where bf16 changes
the masks of some networks, and on a GPU in bf16 if the GPU supports it.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from taichinet.batch import Prediction
from taichinet.inference.runtimes.runtime import Maps, RuntimeDescription
from taichinet.models.taichinet.network import TaiChiNet
from taichinet.models.two_paths import TwoPaths
from taichinet.models.upsampling import leave_upsampling_plain, transpose_upsampling
from taichinet.training.device import DeviceConfig, choose_device_config, chosen_device
from taichinet.training.launch import Launch, to_device

PLAIN = DeviceConfig(torch.device("cpu"), bf16=False, memory_format=torch.contiguous_format)
"""Float32 on the CPU in the contiguous layout: the reference for all other runtimes."""


class InferenceWrapper(nn.Module):
    """Image (B, C, S, S) in [0, 1] -> (lesion,) or (lesion, disagreement), each (B, 1, S, S).

    Without the disagreement, parts that do not affect the mask are skipped if there is no head and the output is O_p:
    the negative decoder of TaiChiNet (the whole negative path without cross-attention), or the second network of
    `TwoPaths`. With the head of the paper, O_p depends on O_n (Eq. 11), and the whole network is needed.
    """

    def __init__(self, network: nn.Module, disagreement: bool) -> None:
        """Wrap a network; `disagreement` is whether to compute the disagreement of the two paths."""
        super().__init__()
        self.network = network
        self.disagreement = disagreement

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The outputs for `image`; only the lesion probability for one-path networks."""
        if not self.disagreement:
            return (self._lesion_only(image).lesion,)
        prediction: Prediction = self.network(image)
        second = prediction.disagreement
        return (prediction.lesion,) if second is None else (prediction.lesion, second)

    def _lesion_only(self, image: Tensor) -> Prediction:
        network = self.network
        if isinstance(network, TaiChiNet) and _lesion_needs_one_path(network, network.settings.answer):
            return network.positive_alone(image)
        if isinstance(network, TwoPaths) and _lesion_needs_one_path(network, network.coupling.answer):
            return cast(Prediction, network.positive(image))
        return cast(Prediction, network(image))


def _lesion_needs_one_path(network: TaiChiNet | TwoPaths, answer: str) -> bool:
    """Whether the lesion probability does not depend on the output of the negative path."""
    return network.head is None and answer == "positive"


class Eager:
    """A PyTorch network on its device."""

    name = "eager"

    def __init__(self, network: nn.Module, device_config: DeviceConfig = PLAIN, disagreement: bool = True) -> None:
        """Move `network` to `device_config` and disable fused upsampling, both in place."""
        self._device_config = device_config
        # The reference for all other runtimes, so without fused upsampling.
        network = leave_upsampling_plain(device_config.place(network))
        self._network = InferenceWrapper(network, disagreement).eval()

    @property
    def description(self) -> RuntimeDescription:
        """Name and precision."""
        return RuntimeDescription(self.name, "bf16" if self._device_config.bf16 else "float32")

    def maps(self, images: NDArray[np.uint8]) -> Maps:
        """Output of the network for uint8 images (B, C, S, S)."""
        return self.launch(images).maps()

    def launch(self, images: NDArray[np.uint8]) -> LaunchedMaps:
        """Start `maps` without waiting for a GPU."""
        return LaunchedMaps(self._device_config.device, partial(self._planes, images))

    @torch.inference_mode()
    def _planes(self, images: NDArray[np.uint8]) -> list[Tensor]:
        image = to_device(torch.from_numpy(images), self._device_config.device).float() / 255
        with self._device_config.autocast():
            outputs = self._network(image.to(memory_format=self._device_config.memory_format))
        return [output[:, 0].float() for output in outputs]


class LaunchedMaps(Launch):
    """Output of an `Eager` network that may still be computed."""

    def maps(self) -> Maps:
        """The output. Waits for a GPU."""
        planes = [plane.numpy() for plane in self.results()]
        return Maps(lesion=planes[0], disagreement=planes[1] if len(planes) > 1 else None)


class Tuned(Eager):
    """An optimised copy of the network, with the same outputs as `Eager` up to rounding."""

    name = "tuned"

    def __init__(
        self, network: nn.Module, device_config: DeviceConfig | None = None, disagreement: bool = True
    ) -> None:
        """Copy and optimise `network`, which is not changed; `device_config` is chosen by the device if None."""
        if device_config is None:
            device_config = choose_device_config("float32" if chosen_device().type == "cpu" else "auto")
        folded = fold_batch_norms(network)
        # The transposed form was not measured on a GPU.
        super().__init__(
            transpose_upsampling(folded) if device_config.device.type == "cpu" else folded, device_config, disagreement
        )


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Copy a network in evaluation mode and fold each BatchNorm after a convolution in an nn.Sequential into it.

    Other BatchNorm layers are kept, because their input is not known to be the output of a convolution.
    """
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for i in range(len(module) - 1):
            convolution, norm = module[i], module[i + 1]
            if isinstance(convolution, nn.Conv2d) and type(norm) is nn.BatchNorm2d:
                module[i] = fuse_conv_bn_eval(convolution, norm)
                module[i + 1] = nn.Identity()
    return folded
