"""ParityRecord: what was measured of a runtime against plain PyTorch, kept beside the weights."""

from __future__ import annotations

import math
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from taichinet.errors import WeightsError
from taichinet.inference.runtimes.runtime import Precision, RuntimeDescription, RuntimeName
from taichinet.storage.atomic import write_json
from taichinet.storage.digest import digest_bytes, digest_file
from taichinet.storage.documents import read_json

RUNTIMES_FOLDER = "runtimes"
"""The folder within a weights folder that holds network-size graphs and their records."""

MOST_DICE_COST = 0.005
"""What a runtime may lose in mean Dice against the truth."""

LEAST_AGREEMENT: dict[Precision, float] = {"float32": 0.999, "bf16": 0.99, "int8": 0.995}
"""The mean Dice between a runtime's masks and plain PyTorch's that is asked where no image has a truth."""


@dataclass(frozen=True)
class Parity:
    """One runtime's masks against plain PyTorch's on the same images, at native size.

    `agreement` and `least_agreement` are the mean and the lowest Dice between the two masks of an image (1 where both
    are empty); `flipped_pixels` of `pixels` in all differ in the mask; `largest_difference` is over all probabilities.
    `dice` and `plain_dice` are the mean Dice against the truth, None where no image has one.
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
        """By how much the runtime's Dice is below plain PyTorch's."""
        return None if self.dice is None or self.plain_dice is None else self.plain_dice - self.dice

    def failures(self, precision: Precision) -> list[str]:
        """Why the parity does not hold; empty where it does."""
        cost = self.dice_cost
        if cost is not None and cost > MOST_DICE_COST:
            return [f"it costs {cost:.4f} Dice ({self.plain_dice:.4f} to {self.dice:.4f}), more than {MOST_DICE_COST}"]
        least = LEAST_AGREEMENT[precision]
        if (cost is None or precision == "float32") and self.agreement < least:
            return [f"its masks agree with plain PyTorch's at Dice {self.agreement:.4f} only, less than {least}"]
        return []


@dataclass(frozen=True)
class ParityRecord:
    """A proven runtime: for which weights, on which processor, which graph, how fast.

    `seconds`, `tuned_seconds` and `plain_seconds` are the medians of one image through the runtime, through tuned and
    through plain PyTorch, taken in turn. `graph` is the name of the graph in RUNTIMES_FOLDER and `graph_digest` its
    digest (`digest_graph`); records written before there was one have "", and their graph is not used.
    """

    runtime: RuntimeName
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
    def description(self) -> RuntimeDescription:
        """The runtime that the record is of."""
        return RuntimeDescription(self.runtime, self.precision)

    @property
    def holds(self) -> bool:
        """Whether the runtime may be used in the place of plain PyTorch."""
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
        WeightsError: The file cannot be read, or a field is absent, of another type, or out of range.
    """
    try:
        content = read_json(file, WeightsError, "Delete it, or write it again: `taichinet export`.")
        record = TypeAdapter(ParityRecord).validate_python(content)
        numbers = [value for value in {**asdict(record), **asdict(record.parity)}.values() if isinstance(value, float)]
        if not all(map(math.isfinite, numbers)) or min(record.seconds, record.tuned_seconds) <= 0:
            raise ValueError("it holds numbers that are not finite, or seconds that are not positive")
    except ValueError as error:
        reason = str(error).replace("\n", " ")[:300]
        raise WeightsError(
            f"The parity record {file} cannot be read ({reason}). Delete it, or write it again: `taichinet export`."
        ) from error
    return record


def digest_graph(file: Path) -> str:
    """The SHA-256 of a graph: of the file, and for OpenVINO also of the .bin beside it that holds the weights."""
    parts = [file, *([file.with_suffix(".bin")] if file.suffix == ".xml" else [])]
    return digest_bytes("".join(digest_file(part) for part in parts).encode())


def processor() -> str:
    """The processor's name and the extensions that decide how int8 and bf16 are computed."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    deciding = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    return " ".join([names[0] if names else platform.machine(), *(name for name in deciding if name in flags)])


def has_int8_dot_products() -> bool:
    """Whether the processor sums int8 products without saturating (VNNI or AMX); older ones lose bits of weights."""
    return any(name in processor().split() for name in ("avx_vnni", "avx512_vnni", "amx_int8")) or (
        platform.machine() not in ("x86_64", "AMD64")
    )
