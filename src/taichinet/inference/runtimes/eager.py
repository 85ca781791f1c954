"""Plain PyTorch: the network as it was trained, in inference mode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from taichinet.inference.runtimes.runtime import Maps, Precision, Runtime, RuntimeDescription, RuntimeSpec
from taichinet.inference.runtimes.wrapper import InferenceWrapper
from taichinet.models.upsampling import leave_upsampling_plain
from taichinet.models.weights import LoadedWeights
from taichinet.training.device import DeviceConfig, choose_device_config

PLAIN = DeviceConfig(torch.device("cpu"), bf16=False, memory_format=torch.contiguous_format)
"""Float32 on the CPU in the contiguous layout: the reference for all other runtimes."""


class Eager:
    """A PyTorch network on its device."""

    name = "eager"

    def __init__(self, network: nn.Module, device_config: DeviceConfig = PLAIN, disagreement: bool = True) -> None:
        """Set up the network.

        Args:
            network: The network; it is moved to `device_config`, and fused upsampling is disabled.
            device_config: Device, precision and memory layout.
            disagreement: Whether to compute the disagreement of the two paths.
        """
        self._device_config = device_config
        # The reference for all other runtimes, so without fused upsampling.
        network = leave_upsampling_plain(device_config.place(network))
        self._network = InferenceWrapper(network, disagreement).eval()

    @property
    def description(self) -> RuntimeDescription:
        """Name and precision."""
        return RuntimeDescription(self.name, "bf16" if self._device_config.bf16 else "float32")

    @torch.inference_mode()
    def maps(self, images: NDArray[np.uint8]) -> Maps:
        """Output of the network for uint8 images (B, C, S, S)."""
        image = torch.from_numpy(images).to(self._device_config.device).float() / 255
        with self._device_config.autocast():
            outputs = self._network(image.to(memory_format=self._device_config.memory_format))
        planes = [output[:, 0].float().cpu().numpy() for output in outputs]
        return Maps(lesion=planes[0], disagreement=planes[1] if len(planes) > 1 else None)


def _open(loaded: LoadedWeights, graph: Path, precision: Precision, disagreement: bool) -> Runtime:
    return Eager(loaded.network, choose_device_config("float32", channels_last=False), disagreement)


SPEC = RuntimeSpec("eager", _open)
