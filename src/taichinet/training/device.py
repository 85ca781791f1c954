"""Choice of the device, precision, memory layout, and configuration of the memory allocator."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from taichinet.errors import SettingError
from taichinet.models.upsampling import processor_has_bf16
from taichinet.training.device_choice import AUTO_DEVICE, choose_device, chosen_name, refuse_unknown_device
from taichinet.training.distributed.ranks import SINGLE_PROCESS, Ranks, current_ranks

# From <malloc.h>; the values are part of glibc's interface.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_SETTINGS = {_M_MMAP_THRESHOLD: 2**30, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 2**28}
_ENVIRONMENT = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


@dataclass(frozen=True)
class DeviceConfig:
    """Device, precision and memory layout of a network and its batches, and the ranks of a distributed training.

    Attributes:
        device: Device of the network and its batches.
        bf16: Whether to run the network in bfloat16 autocast; otherwise in float32.
        memory_format: Memory layout of weights and images.
        ranks: This process and the number of processes.
    """

    device: torch.device
    bf16: bool
    memory_format: torch.memory_format
    ranks: Ranks = SINGLE_PROCESS

    def place(self, network: nn.Module) -> nn.Module:
        """Move `network` to the device and memory layout, in place, and return it."""
        network.to(self.device)
        return network.to(memory_format=self.memory_format)

    def autocast(self) -> torch.autocast:
        """Autocast context for the forward pass; the weights remain in float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def describe(self) -> str:
        """Description for manifests, e.g. `cpu bf16 channels-last`."""
        layout = "channels-last" if self.memory_format == torch.channels_last else "contiguous"
        processes = f", {self.ranks.size} processes" if self.ranks.size > 1 else ""
        return f"{self.device.type} {'bf16' if self.bf16 else 'float32'} {layout}{processes}"


def use_device(name: str) -> torch.device:
    """Choose the device of all further computations of this process, and make it the current GPU if it has a number.

    Args:
        name: As given to `--device`: auto (a GPU if there is one, otherwise the CPU), cpu, cuda, cuda:N or mps.

    Returns:
        The device. Under torchrun, cuda without a number is the GPU of the local rank (`process_group`).

    Raises:
        SettingError: The name is unknown, this machine does not have the device, or several processes would share it.
    """
    refuse_unknown_device(name)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1 and name not in (AUTO_DEVICE, "cpu", "cuda"):
        raise SettingError(
            f"--device {name} is one device for {processes} processes. Under torchrun give cuda, with which each "
            "process uses the GPU of its local rank, or cpu."
        )
    known = available_devices()
    if name not in (AUTO_DEVICE, *known) and not (name == "cuda" and "cuda:0" in known):
        without_cuda = name.startswith("cuda") and not torch.backends.cuda.is_built()
        reason = ", and its PyTorch was built without CUDA" if without_cuda else ""
        raise SettingError(
            f"--device {name} is not available: this machine has {', '.join(known)}{reason}. Give one of these, or "
            f"{AUTO_DEVICE}."
        )
    choose_device(name)
    device = chosen_device()
    if name != AUTO_DEVICE and device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return device


def available_devices() -> tuple[str, ...]:
    """Names of the devices of this machine: cpu, cuda:N for each GPU, and mps."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return ("cpu", *(f"cuda:{n}" for n in range(gpus)), *(["mps"] if torch.backends.mps.is_available() else []))


def chosen_device() -> torch.device:
    """The device of the last `use_device`, by default a GPU if there is one, otherwise the CPU."""
    name = chosen_name()
    if name != AUTO_DEVICE:
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Name of `device` for records, with the number of the GPU: cpu, cuda:N or mps."""
    if device.type == "cuda" and device.index is None:
        return f"cuda:{torch.cuda.current_device()}"
    return str(device)


def accelerator_name(device: torch.device) -> str | None:
    """Name of the hardware of a GPU; None for the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return None if device.type == "cpu" else device.type


def choose_device_config(
    precision: Literal["auto", "bf16", "float32"] = "auto", channels_last: bool = True, depthwise: bool = False
) -> DeviceConfig:
    """Choose precision and memory layout on the device of `use_device` (by default a GPU if available).

    Args:
        precision: "auto" is bf16 if the hardware supports it natively, otherwise float32.
        channels_last: Whether to use the channels-last layout where it is faster. It is not used in float32 on a CPU
            without AVX-512, where backward convolutions at 224 px take 1.3 times as long
            (results/benchmarks/training_throughput-amd-epyc.json). With AVX-512, it is the faster layout.
        depthwise: Whether the network consists of depthwise convolutions, for which it is faster on every CPU.

    Returns:
        The configuration, with the ranks of the current process group.
    """
    device = chosen_device()
    bf16 = precision == "bf16" or (precision == "auto" and _native_bf16(device))
    channels_last = channels_last and (bf16 or depthwise or _fast_channels_last(device))
    return DeviceConfig(
        device, bf16, torch.channels_last if channels_last else torch.contiguous_format, current_ranks()
    )


def _fast_channels_last(device: torch.device) -> bool:
    """Whether float32 convolutions are faster in channels-last; true for CPUs with unknown capabilities."""
    if device.type == "cpu":
        return bool(torch.cpu.get_capabilities().get("avx512_f", True))
    return device.type == "cuda"


def _native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and processor_has_bf16()


def keep_freed_memory() -> bool:
    """Configure glibc to keep freed blocks below 1 GiB in the process.

    By default, glibc maps the memory of each activation in every step and returns it afterwards, and the kernel clears
    every page: 10 to 20 % of a training step on a CPU. Results do not change; the peak memory grows by a few per cent.
    Nothing is changed if the user configures malloc by environment variables, or with another C library.

    Returns:
        Whether the allocator was configured.
    """
    if any(name in os.environ for name in _ENVIRONMENT):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # no glibc: macOS, Windows, musl
        return False
    return all([mallopt(setting, value) == 1 for setting, value in _SETTINGS.items()])  # noqa: C419 - set each
