"""The user's record of the fastest runtime for given weights on this processor, written by `taichinet benchmark`.

It is kept in the cache folder of the user, not beside the weights: weights may be in the installed package or shared.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from taichinet.errors import WeightsError
from taichinet.inference.runtimes.parity import Parity, processor
from taichinet.inference.runtimes.runtime import Precision
from taichinet.storage.atomic import write_json
from taichinet.storage.digest import digest_bytes
from taichinet.storage.documents import read_json

CACHE_VARIABLE = "TAICHINET_CACHE"


@dataclass(frozen=True)
class MeasuredRuntime:
    """One runtime that was measured.

    Attributes:
        runtime: Name of the runtime.
        precision: Precision of the runtime.
        graph: Path of its graph in the weights folder; empty if it has none.
        graph_digest: Digest of the graph (`digest_graph`); empty if it has none.
        seconds: Median seconds per image, with resizing; all runtimes were measured alternately.
        parity: Comparison of its masks with those of plain PyTorch.
        failures: Reasons not to use it; empty if its masks agree.
    """

    runtime: str
    precision: Precision
    graph: str
    graph_digest: str
    seconds: float
    parity: Parity
    failures: tuple[str, ...]


@dataclass(frozen=True)
class UserRecord:
    """Runtimes that were measured for given weights on a given processor.

    Attributes:
        date: Date of the measurement, YYYY-MM-DD.
        version: Version of taichinet.
        weights: Name of the weights.
        weights_digest: SHA-256 of model.safetensors.
        processor: Name and extensions of the CPU.
        images: The images on which they were compared and measured, in words.
        measured: All measured runtimes, fastest first.
    """

    date: str
    version: str
    weights: str
    weights_digest: str
    processor: str
    images: str
    measured: tuple[MeasuredRuntime, ...]

    @property
    def fastest(self) -> MeasuredRuntime:
        """The fastest runtime whose masks agree with those of plain PyTorch, which is measured, too."""
        return next(one for one in self.measured if not one.failures)


def cache_folder() -> Path:
    """The cache folder of the user: TAICHINET_CACHE, or the folder of the platform; it may be absent."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "taichinet" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "taichinet"
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification ignores a relative path.
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "taichinet"


def records_folder() -> Path:
    """The folder of all records; it may be absent."""
    return cache_folder() / "runtimes"


def record_file(weights_digest: str) -> Path:
    """The file of the record for weights on this processor."""
    return records_folder() / f"{weights_digest[:16]}-{digest_bytes(processor().encode())[:8]}.json"


def write_user_record(record: UserRecord) -> Path:
    """Write `record`, replacing an earlier one, and return its file; raises StorageError."""
    file = record_file(record.weights_digest)
    write_json(file, asdict(record))
    return file


def read_user_record(weights_digest: str) -> UserRecord | None:
    """The record for weights on this processor; None if there is none.

    Raises:
        WeightsError: The record cannot be read, or is of other weights or another processor.
    """
    file = record_file(weights_digest)
    remedy = "Delete it, or write it again: `taichinet benchmark`."
    if not file.is_file():
        return None
    try:
        record = TypeAdapter(UserRecord).validate_python(read_json(file, WeightsError, remedy))
        if (record.weights_digest, record.processor) != (weights_digest, processor()):
            raise ValueError("it is of other weights or another processor")
        if not any(not one.failures and math.isfinite(one.seconds) for one in record.measured):
            raise ValueError("it has no runtime that may be used")
    except ValueError as error:
        reason = str(error).replace("\n", " ")[:300]
        raise WeightsError(f"The record of runtimes {file} cannot be read ({reason}). {remedy}") from error
    return record
