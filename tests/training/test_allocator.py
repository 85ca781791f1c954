"""The allocator keeps what a step frees: a later step touches no new page."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import torch
from taichinet.training.allocator import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "keep" else None)
def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(2**22) for _ in range(4)]  # 16 MiB each, as activations are
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults = [step() for _ in range(8)]  # fragments settle in the first
print(faults[-1])
"""
only_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator told is glibc's")


def run(what: str, **environment: str) -> list[str]:
    """What keep_freed_memory said, and the page faults of the eighth step, in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", STEPS, what]
    return subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()


@only_glibc
def test_a_later_step_maps_no_memory_anew() -> None:
    said, faults = run("keep")
    assert said == "True"
    assert int(faults) < 100  # of 4 x 4096 pages
    assert int(run("leave")[1]) > 4096


@only_glibc
def test_what_the_user_set_by_environment_stays() -> None:
    said, _ = run("keep", MALLOC_MMAP_THRESHOLD_="131072")
    assert said == "False"
