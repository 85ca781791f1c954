"""Plain PyTorch: the network as it was trained, in inference mode."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from taichinet.inference.runtimes.answers import Answers
from taichinet.inference.runtimes.runtime import Maps, RuntimeDescription, RuntimeName
from taichinet.models.upsampling import leave_upsampling_plain
from taichinet.training.device import DeviceConfig

PLAIN = DeviceConfig(torch.device("cpu"), bf16=False, memory_format=torch.contiguous_format)
"""Float32 on the CPU in the contiguous layout: the reference for all other runtimes."""


class Eager:
    """A PyTorch network on its device."""

    name: RuntimeName = "eager"

    def __init__(self, network: nn.Module, device_config: DeviceConfig = PLAIN, disagreement: bool = True) -> None:
        """Set up the network.

        Args:
            network: The network; it is moved to `device_config`, and fused upsampling is disabled.
            device_config: Device, precision and memory layout.
            disagreement: Whether to compute the disagreement of the two paths.
        """
        self._placement = device_config
        # The reference for all other runtimes, so without fused upsampling.
        network = leave_upsampling_plain(device_config.place(network))
        self._answers = Answers(network, disagreement).eval()

    @property
    def description(self) -> RuntimeDescription:
        """Name and precision."""
        return RuntimeDescription(self.name, "bf16" if self._placement.bf16 else "float32")

    @torch.inference_mode()
    def maps(self, images: NDArray[np.uint8]) -> Maps:
        """Output of the network for uint8 images (B, C, S, S)."""
        image = torch.from_numpy(images).to(self._placement.device).float() / 255
        with self._placement.autocast():
            answers = self._answers(image.to(memory_format=self._placement.memory_format))
        planes = [answer[:, 0].float().cpu().numpy() for answer in answers]
        return Maps(lesion=planes[0], disagreement=planes[1] if len(planes) > 1 else None)
