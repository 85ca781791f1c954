"""What three newcomers do, each from the first command to the result: a radiologist, an engineer, a student."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import taichinet

SOURCES = Path(taichinet.__file__).parents[1]


def first_command(*args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `taichinet ARGS` in a process of its own, as in a shell; the exit code must be `code`."""
    words = [sys.executable, "-m", "taichinet", *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "PYTHONIOENCODING": "utf-8"}
    result = subprocess.run(words, capture_output=True, encoding="utf-8", env=environment, check=False)
    assert result.returncode == code, result.stderr
    return result
