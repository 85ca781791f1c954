"""The device that the user chose, without torch, which is not imported to predict on the CPU with a graph file."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

from taichinet.errors import SettingError

AUTO_DEVICE = "auto"
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:([0-9]|[1-9][0-9]))?")
# Of NVIDIA, of AMD, and of either under Windows Subsystem for Linux.
_GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
_chosen = AUTO_DEVICE


def refuse_unknown_device(name: str) -> None:
    """Raise SettingError if `name` is not of the form of `--device`; other machines may have the device."""
    if _DEVICE.fullmatch(name) is None:
        raise SettingError(
            f"--device '{name[:100]}' is not a device. Give {AUTO_DEVICE}, cpu, cuda, cuda:N (the GPU with the number "
            f"N) or mps. This machine has {', '.join(_available())}."
        )


def _available() -> tuple[str, ...]:
    if find_spec("torch") is None:
        return ("cpu",)
    from taichinet.training.device import available_devices

    return available_devices()


def choose_device(name: str) -> None:
    """Set the device of all further computations of this process; `training.device.use_device` verifies it first."""
    global _chosen
    refuse_unknown_device(name)
    _chosen = name


def chosen_name() -> str:
    """The device that was chosen: auto by default, otherwise cpu, cuda, cuda:N or mps."""
    return _chosen


def is_cpu(name: str) -> bool:
    """Whether `name` is certainly the CPU: cpu, or auto on a machine without a GPU that PyTorch could use.

    GPUs are looked for by their device files, on Linux only. Where torch was imported, it has to be asked instead.
    """
    if name != AUTO_DEVICE:
        return name == "cpu"
    if find_spec("torch") is None:
        return True
    return "torch" not in sys.modules and sys.platform == "linux" and not any(Path(f).exists() for f in _GPU_FILES)
