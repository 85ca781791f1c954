"""Where and in which precision a network runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from taichinet.models.upsampling import processor_has_bf16
from taichinet.training.distributed import ALONE, Ranks, present_ranks


@dataclass(frozen=True)
class Placement:
    """Device, number format and memory layout of a network and its batches, and the processes that share a training."""

    device: torch.device
    bf16: bool
    memory_format: torch.memory_format
    ranks: Ranks = ALONE

    def place(self, network: nn.Module) -> nn.Module:
        """`network` on the device, in the layout."""
        network.to(self.device)
        return network.to(memory_format=self.memory_format)

    def autocast(self) -> torch.autocast:
        """The context in which the network is called; weights stay float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def describe(self) -> str:
        """For manifests: e.g. `cpu bf16 channels-last`."""
        layout = "channels-last" if self.memory_format == torch.channels_last else "contiguous"
        processes = f", {self.ranks.size} processes" if self.ranks.size > 1 else ""
        return f"{self.device.type} {'bf16' if self.bf16 else 'float32'} {layout}{processes}"


def choose_placement(precision: Literal["auto", "bf16", "float32"] = "auto", channels_last: bool = True) -> Placement:
    """The GPU where there is one, else the CPU; `auto` takes bf16 only where the hardware has it.

    `channels_last` is taken where it is faster: not in float32 on a processor without AVX-512, whose backward
    convolutions of 224 px take 1.3 times as long in it (results/benchmarks/training_throughput-amd-epyc.json), while
    with AVX-512 it is the faster layout. The ranks are those of the process group that this process has joined.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bf16 = precision == "bf16" or (precision == "auto" and _native_bf16(device))
    channels_last = channels_last and (bf16 or _fast_channels_last(device))
    return Placement(device, bf16, torch.channels_last if channels_last else torch.contiguous_format, present_ranks())


def _fast_channels_last(device: torch.device) -> bool:
    """Whether float32 convolutions prefer that layout; processors that do not tell their vectors keep it."""
    return device.type == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_f", True))


def _native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return processor_has_bf16()
