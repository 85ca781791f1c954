"""Artificial targets with known faults: they show that the fuzzer finds each kind."""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

import numpy as np

from fuzzing.target import Case, Target, WrongValueError
from taichinet.errors import DataError


def _make(random: Random) -> Case:
    return Case({"input": bytes([random.randrange(256)])})


def _fails_at_odd(folder: Path, _: Case) -> None:
    if (folder / "input").read_bytes()[0] % 2:
        raise KeyError(f"{folder}/input: an exception that is no TaiChiNetError")
    raise DataError("refused as it should be")


def _hangs(_: Path, __: Case) -> None:
    time.sleep(3600)


def _takes_memory(_: Path, __: Case) -> None:
    np.ones(1_300 * 2**20, dtype=np.uint8)


def _lies(folder: Path, _: Case) -> None:
    if (folder / "input").read_bytes()[0] % 2:
        raise WrongValueError("other values")


def _dies(_: Path, __: Case) -> None:
    os.abort()


def targets(_: Path) -> list[Target]:
    """One target of each fault."""
    checks = {"crash": _fails_at_odd, "hang": _hangs, "memory": _takes_memory, "wrong": _lies, "died": _dies}
    weights = {"crash": 5, "wrong": 5}
    return [Target(name, "none", _make, check, weights.get(name, 1)) for name, check in checks.items()]
