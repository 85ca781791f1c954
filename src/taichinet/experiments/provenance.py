"""Provenance of a result: commit, versions and machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

from taichinet.training.device import accelerator_name, chosen_device, device_name
from taichinet.version import __version__


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, the device that is used and versions, without names of hosts or users."""
    device = chosen_device()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "device": device_name(device),
        "accelerator": accelerator_name(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "taichinet": __version__,
    }


@cache
def source_commit() -> str | None:
    """Commit of the checkout of the package, with `+changes` for uncommitted changes; None outside a checkout.

    The result is cached, since the checkout may change while the loaded code runs.
    """
    git = shutil.which("git")
    here = Path(__file__).parents[1]
    if git is None:
        return None

    def git_output(*arguments: str) -> str | None:
        done = subprocess.run([git, "-C", str(here), *arguments], capture_output=True, text=True)  # noqa: S603
        return done.stdout.strip() if done.returncode == 0 else None

    if git_output("ls-files", "--error-unmatch", "__init__.py") is None:  # not a checkout of the package
        return None
    commit = git_output("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return None
    return commit + ("+changes" if git_output("status", "--porcelain", "--", str(here)) else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = " ".join(line for line in lines[:40] if line.startswith("flags"))
    extensions = [name for name in ("avx512_bf16", "amx_bf16") if f" {name}" in flags]
    return " ".join([names[0] if names else platform.machine(), *extensions])
