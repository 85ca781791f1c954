"""Configuration of glibc's memory allocator: reuse freed memory in the next training step."""

from __future__ import annotations

import ctypes
import os

# From <malloc.h>; the values are part of glibc's interface.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_SETTINGS = {_M_MMAP_THRESHOLD: 2**30, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 2**28}
_ENVIRONMENT = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


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
