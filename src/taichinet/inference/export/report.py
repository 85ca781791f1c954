"""Report of an export, with the agreement of its masks with those of plain PyTorch, as JSON and Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from taichinet.inference.runtimes.parity import MAX_DICE_LOSS, Parity
from taichinet.inference.runtimes.runtime import Precision
from taichinet.storage.atomic import write_json, write_text
from taichinet.storage.markdown_text import escape_markdown
from taichinet.storage.output_folder import output_files


@dataclass(frozen=True)
class ExportReport:
    """An exported file and its agreement with plain PyTorch. Paths are without folders of the local machine.

    Attributes:
        precision: Precision of the convolutions.
        weights: Name of the weights folder.
        size: Input resolution of the network in pixels.
        processor: Name and extensions of the CPU.
        calibration_images: Number of images for int8 calibration.
        parity_images: Number of images for the comparison of masks.
        unseen_images: Number of these that were not used to train the weights.
        resized_apart: Fraction of pixels that the file resizes to another grey value than Pillow.
        largest_grey_difference: Largest difference of these grey values (0-255).
        rows: Parity of the file and of each measured runtime, by name.
        seconds: Median seconds per image, by name.
        versions: Versions of the packages used.
        kept: Graphs for `taichinet predict`, as `graph_file` expects them.
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
        """Plain values for JSON, with the Dice cost of every row."""
        content = asdict(self)
        for name, parity in self.rows.items():
            content["rows"][name]["dice_cost"] = parity.dice_cost
        return content


def write_report(report: ExportReport, file: Path) -> None:
    """Write FILE.parity.json and FILE.parity.md to the folder of the exported `file`."""
    with output_files(file.parent) as temporary:
        write_json(temporary / f"{file.name}.parity.json", report.to_json_dict())
        write_text(temporary / f"{file.name}.parity.md", readable(report))


def readable(report: ExportReport) -> str:
    """The report as Markdown."""

    def optional(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    plain_dice = next(iter(report.rows.values())).plain_dice
    lines = [
        f"# Parity of {escape_markdown(Path(report.file).name)}",
        "",
        f"{report.form} {report.precision}, {report.bytes / 1e6:.1f} MB, against plain PyTorch in float32 on "
        f"{report.parity_images} images at their original resolution ({report.unseen_images} not seen in training)"
        + (f"; calibrated on {report.calibration_images} others." if report.precision == "int8" else "."),
        f"Processor: {escape_markdown(report.processor)}.",
        "",
        "| | Dice between masks (mean, minimum) | flipped pixels | largest difference | Dice to truth | cost | ms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        f"| plain PyTorch | | | | {optional(plain_dice)} | | {1000 * report.seconds['plain']:.0f} |",
    ]
    for name, parity in report.rows.items():
        lines.append(
            f"| {name} | {parity.agreement:.5f}, {parity.least_agreement:.5f} | "
            f"{parity.flipped_pixels} of {parity.pixels} | {parity.largest_difference:.4f} | "
            f"{optional(parity.dice)} | {optional(parity.dice_cost)} | {1000 * report.seconds[name]:.0f} |"
        )
    lines += [
        "",
        f"int8 may lose at most {MAX_DICE_LOSS} Dice. Milliseconds are medians per image, including resizing, measured "
        "alternately.",
        f"The file resizes {report.resized_apart:.2e} of the pixels to another grey value than Pillow, by at most "
        f"{report.largest_grey_difference} of 255.",
        "",
    ]
    return "\n".join(lines)
