"""Agreement of a runtime with plain PyTorch, and its record in the weights folder."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from taichinet.errors import WeightsError
from taichinet.inference.runtimes.runtime import Precision
from taichinet.storage.atomic import write_json
from taichinet.storage.digest import digest_bytes, digest_file
from taichinet.storage.documents import read_json

PACKAGED_GRAPH = "model.onnx"
"""Graph beside packaged weights, whose tensors are those of the weights file. It is used on every processor."""

PACKAGED_RECORD = f"{PACKAGED_GRAPH}.parity.json"
"""Parity record of PACKAGED_GRAPH."""

MAX_DICE_LOSS = 0.005
"""Maximum decrease in mean Dice against the ground truth."""

MIN_AGREEMENT: dict[Precision, float] = {"float32": 0.999, "bf16": 0.99, "int8": 0.995}
"""Minimum mean Dice between the masks of a runtime and of plain PyTorch.

For bf16 and int8, it only applies if no image has a ground truth.
"""


@dataclass(frozen=True)
class Parity:
    """Comparison of the masks of a runtime with those of plain PyTorch, at the original resolution of the images.

    Attributes:
        images: Number of images.
        agreement: Mean Dice between the two masks of an image (1 if both are empty).
        least_agreement: Minimum Dice between the two masks of an image.
        flipped_pixels: Number of pixels that differ between the masks.
        pixels: Total number of pixels.
        largest_difference: Maximum absolute difference of the probabilities.
        plain_dice: Mean Dice of plain PyTorch against the ground truth; None if no image has one.
        dice: Mean Dice of the runtime against the ground truth; None if no image has one.
    """

    images: int
    agreement: float
    least_agreement: float
    flipped_pixels: int
    pixels: int
    largest_difference: float
    plain_dice: float | None
    dice: float | None

    @property
    def dice_cost(self) -> float | None:
        """Dice of plain PyTorch minus Dice of the runtime; None without ground truth."""
        return None if self.dice is None or self.plain_dice is None else self.plain_dice - self.dice

    def failures(self, precision: Precision) -> list[str]:
        """Reasons why the runtime differs too much from plain PyTorch; empty if it does not."""
        cost = self.dice_cost
        if cost is not None and cost > MAX_DICE_LOSS:
            return [f"it loses {cost:.4f} Dice ({self.plain_dice:.4f} to {self.dice:.4f}), more than {MAX_DICE_LOSS}"]
        minimum = MIN_AGREEMENT[precision]
        if (cost is None or precision == "float32") and self.agreement < minimum:
            return [f"its masks have Dice {self.agreement:.4f} with those of plain PyTorch, less than {minimum}"]
        return []


@dataclass(frozen=True)
class ParityRecord:
    """Comparison of a runtime with plain PyTorch for specific weights on a specific CPU.

    Attributes:
        runtime: Name of the runtime.
        precision: Precision of the runtime.
        graph: Name of the graph, which is beside the record.
        weights_digest: SHA-256 of the weights file.
        processor: Name and extensions of the CPU.
        parity: Comparison of the masks.
        seconds: Median seconds per image of the runtime.
        tuned_seconds: Median seconds per image of tuned PyTorch, measured alternately.
        plain_seconds: Median seconds per image of plain PyTorch, measured alternately.
        graph_digest: Digest of the graph (`digest_graph`). Empty in records of earlier versions, whose graph is not
            used.
    """

    runtime: str
    precision: Precision
    graph: str
    weights_digest: str
    processor: str
    parity: Parity
    seconds: float
    tuned_seconds: float
    plain_seconds: float
    graph_digest: str = ""

    @property
    def holds(self) -> bool:
        """Whether the runtime may be used instead of plain PyTorch."""
        return not self.parity.failures(self.precision)


def write_record(record: ParityRecord, file: Path) -> None:
    """Write `record` as JSON.

    Raises:
        StorageError: The file cannot be written.
    """
    write_json(file, {**asdict(record), "holds": record.holds})


def read_record(file: Path) -> ParityRecord:
    """Read the record in `file`.

    Raises:
        WeightsError: The file cannot be read, or a field is missing, has a wrong type or is out of range.
    """
    try:
        content = read_json(file, WeightsError, "Delete it, or write it again: `taichinet export`.")
        record = TypeAdapter(ParityRecord).validate_python(content)
        numbers = [value for value in {**asdict(record), **asdict(record.parity)}.values() if isinstance(value, float)]
        if not all(map(math.isfinite, numbers)) or min(record.seconds, record.tuned_seconds) <= 0:
            raise ValueError("it has numbers that are not finite, or seconds that are not positive")
    except ValueError as error:
        reason = str(error).replace("\n", " ")[:300]
        raise WeightsError(
            f"The parity record {file} cannot be read ({reason}). Delete it, or write it again: `taichinet export`."
        ) from error
    return record


def digest_graph(files: Iterable[Path]) -> str:
    """Digest of all files of a graph, see `RuntimeSpec.files`."""
    return digest_bytes("".join(digest_file(file) for file in files).encode())


def processor() -> str:
    """Name of the CPU and its extensions that affect int8 and bf16 arithmetic."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    relevant = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    return " ".join([names[0] if names else platform.machine(), *(name for name in relevant if name in flags)])


def has_int8_dot_products() -> bool:
    """Whether the CPU adds int8 products without saturation (VNNI, AMX, or not x86)."""
    return any(name in processor().split() for name in ("avx_vnni", "avx512_vnni", "amx_int8")) or (
        platform.machine() not in ("x86_64", "AMD64")
    )
