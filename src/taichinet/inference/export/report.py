"""ExportReport: what was written and how near its masks are to plain PyTorch's, as JSON and as a readable table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from taichinet.inference.runtimes.parity import MOST_DICE_COST, Parity
from taichinet.inference.runtimes.runtime import Precision
from taichinet.storage.atomic import write_json, write_text
from taichinet.storage.markdown_text import escape_markdown
from taichinet.storage.output_folder import output_files


@dataclass(frozen=True)
class ExportReport:
    """An exported file and its proof.

    `rows` has the file itself and each runtime of `taichinet predict` that was measured, by name. `resized_apart` is
    the share of network-size pixels that the file resizes to another grey value than Pillow, and
    `largest_grey_difference` by how many of 255 levels. `kept` are the graphs that `taichinet predict` will find,
    as paths in the weights folder. No field names a folder of the machine: `file` and `weights` are bare names.
    """

    file: str
    form: str
    precision: Precision
    bytes: int
    weights: str
    weights_digest: str
    size: int
    channels: int
    threshold: float
    processor: str
    calibration_images: int
    parity_images: int
    unseen_images: int
    resized_apart: float
    largest_grey_difference: int
    rows: Mapping[str, Parity]
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    kept: tuple[str, ...]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain values, with the Dice cost of every row."""
        content = asdict(self)
        for name, parity in self.rows.items():
            content["rows"][name]["dice_cost"] = parity.dice_cost
        return content


def write_report(report: ExportReport, file: Path) -> tuple[Path, Path]:
    """FILE.parity.json and FILE.parity.md beside the exported `file`."""
    as_json, as_table = (file.with_name(f"{file.name}.parity.{ending}") for ending in ("json", "md"))
    with output_files(file.parent) as temporary:
        write_json(temporary / as_json.name, report.to_json_dict())
        write_text(temporary / as_table.name, readable(report))
    return as_json, as_table


def readable(report: ExportReport) -> str:
    """The report as Markdown."""
    lines = [
        f"# Parity of {escape_markdown(Path(report.file).name)}",
        "",
        f"{report.form} {report.precision}, {report.bytes / 1e6:.1f} MB, against plain PyTorch in float32 on "
        f"{report.parity_images} images at native size ({report.unseen_images} of them not seen in training)"
        + (f"; calibrated on {report.calibration_images} others." if report.precision == "int8" else "."),
        f"Processor: {escape_markdown(report.processor)}.",
        "",
        "| | Dice between masks (mean, least) | flipped pixels | largest difference | Dice against truth | cost | ms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        f"| plain PyTorch | | | | {_optional(_plain_dice(report))} | | {1000 * report.seconds['plain']:.0f} |",
    ]
    for name, parity in report.rows.items():
        lines.append(
            f"| {name} | {parity.agreement:.5f}, {parity.least_agreement:.5f} | "
            f"{parity.flipped_pixels} of {parity.pixels} | {parity.largest_difference:.4f} | "
            f"{_optional(parity.dice)} | {_optional(parity.dice_cost)} | {1000 * report.seconds[name]:.0f} |"
        )
    lines += [
        "",
        f"int8 may cost at most {MOST_DICE_COST} Dice. Milliseconds are medians of one image with resizing both ways, "
        "taken in turn.",
        f"The file resizes {report.resized_apart:.2e} of the pixels to another grey value than Pillow, by at most "
        f"{report.largest_grey_difference} of 255.",
        "",
    ]
    return "\n".join(lines)


def _plain_dice(report: ExportReport) -> float | None:
    return next(iter(report.rows.values())).plain_dice


def _optional(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
