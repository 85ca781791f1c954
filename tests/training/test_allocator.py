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
    blocks = [torch.ones(10 * 2**20) for _ in range(2)]  # 40 MiB: above 32 glibc learns to keep nothing by itself
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults = [step() for _ in range(8)]  # fragments settle in the first
print(min(faults[4:]))  # now and then a block finds another place
"""
only_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator told is glibc's")


def run(what: str, **environment: str) -> list[str]:
    """What keep_freed_memory said, and the fewest page faults of a late step, in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", STEPS, what]
    return subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()


@only_glibc
def test_a_later_step_maps_no_memory_anew() -> None:
    said, faults = run("keep")
    assert said == "True"
    assert int(faults) < 100  # of 2 x 10240 pages
    assert int(run("leave")[1]) > 10240


@only_glibc
def test_what_the_user_set_by_environment_stays() -> None:
    said, _ = run("keep", MALLOC_MMAP_THRESHOLD_="131072")
    assert said == "False"
