"""The allocator reuses freed memory, so that later steps map no new pages."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import torch
from taichinet.training.device import keep_freed_memory
def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(10 * 2**20) for _ in range(2)]  # 40 MiB: above 32 MiB, glibc returns freed memory by default
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def faults():
    counts = [step() for _ in range(8)]  # the first steps fragment the heap
    return min(counts[4:])  # a block is occasionally placed elsewhere
print(faults(), keep_freed_memory(), faults())
"""
CONFIGURED = "from taichinet.training.device import keep_freed_memory; print(keep_freed_memory())"
only_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="keep_freed_memory configures the allocator of glibc"
)


def run(code: str, **environment: str) -> list[str]:
    """The words that `code` prints in a separate process."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()


@only_glibc
def test_later_step_maps_no_new_memory() -> None:
    before, configured, after = run(STEPS)
    assert int(before) > 10240
    assert configured == "True"
    assert int(after) < 100  # of 2 x 10240 pages


@only_glibc
def test_allocator_settings_of_user_are_not_changed() -> None:
    assert run(CONFIGURED, MALLOC_MMAP_THRESHOLD_="131072") == ["False"]
