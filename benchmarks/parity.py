"""Compare every export of a trained network with PyTorch on real images. Writes the tables of docs/ship/parity.md.

    python benchmarks/parity.py --images busi=BUSI -o results/benchmarks/parity-MACHINE.json --page docs/ship/parity.md
    python benchmarks/parity.py --from results/benchmarks --page docs/ship/parity.md

The network is the one included in the package. If it was trained on all images of the data set, the Dice against the
ground truth only shows what a format changes. int8 is calibrated on 64 of the images. Each row is a complete `taichinet
export`; refused exports are listed with the reason. The page shows the records of all machines in the folder, because
the accuracy of int8 depends on the processor.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import read_record, record, write_between

from taichinet.errors import WeightsError
from taichinet.inference.export.export import ExportRequest, export
from taichinet.inference.runtimes.catalogue import find_runtime
from taichinet.inference.shipped import shipped_weights

FORMATS = ("onnx", "openvino")
NAMES = {"onnx": "ONNX", "openvino": "OpenVINO"}


def main() -> None:
    """Export, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", help="NAME=DIR of a data set with masks")
    parser.add_argument("--most-images", type=int, default=150)
    parser.add_argument("-o", "--output", type=Path, help="the record, one file per machine: parity-MACHINE.json")
    parser.add_argument("--page", type=Path, help="write the tables into this page, between the marks of `parity`")
    parser.add_argument("--from", dest="known", type=Path, help="only write the page, from the records of this folder")
    arguments = parser.parse_args()
    if arguments.known:
        folder = arguments.known
    else:
        if not arguments.images or not arguments.output:
            parser.error("measuring needs --images and -o")
        content = {
            "what": "masks of every export against plain PyTorch's at native size; the weights of the package",
            "exports": [row for form in FORMATS for row in measure(form, arguments.images, arguments.most_images)],
        }
        record(arguments.output, content)
        folder = arguments.output.parent
    if arguments.page:
        records = [read_record(path) for path in sorted(folder.glob("parity-*.json"))]
        write_between(arguments.page, "parity", tables(records))


def measure(form: str, images: str, most_images: int) -> list[dict[str, Any]]:
    """A report for each precision of `form`, or why the export was refused."""
    rows = []
    for int8 in (False, True):
        with tempfile.TemporaryDirectory() as name:
            weights = Path(name) / "weights"  # exports write beside them
            shutil.copytree(shipped_weights(), weights)
            output = Path(name) / f"lesion{find_runtime(form).suffix}"
            request = ExportRequest(weights, form, int8, output, images, most_images=most_images)
            row: dict[str, Any] = {"form": form, "precision": request.precision}
            try:
                report = export(request, lambda line: print(line, flush=True)).to_json_dict()
            except WeightsError as refusal:
                if "is refused" not in str(refusal):
                    raise
                rows.append({**row, "refused": str(refusal)})
                continue
            kept = ("bytes", "calibration_images", "parity_images", "unseen_images", "rows", "seconds", "versions")
            rows.append({**row, **{key: report[key] for key in kept}})
    return rows


def tables(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown lines: a table for each machine."""
    lines: list[str] = []
    for entry in records:
        machine = entry["machine"]
        lines += ["", f"### {machine['processor']}, commit `{entry['commit']}`", "", *_table(entry["exports"])]
    return lines[1:]


def _table(exports: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "| export | file size | images | Dice between masks (mean, minimum) | changed mask pixels | "
        "largest difference of probabilities | Dice against ground truth | cost |",
        "| --- | ---: | ---: | --- | --- | ---: | ---: | ---: |",
    ]
    refused: list[str] = []
    has_tuned = False  # tuned PyTorch is the same for every export
    for one in exports:
        name = f"{NAMES[one['form']]} {one['precision']}"
        if "refused" in one:
            refused.append(f"- {name}: {one['refused']}")
            continue
        for row, parity in one["rows"].items():
            tuned = row == "tuned PyTorch"
            if tuned and has_tuned:
                continue
            has_tuned = has_tuned or tuned
            size = "" if tuned else f"{one['bytes'] / 1e6:.1f} MB"
            lines.append(
                f"| {row if tuned else f'{name}, {row}'} | {size} | "
                f"{parity['images']} | {parity['agreement']:.5f}, {parity['least_agreement']:.5f} | "
                f"{parity['flipped_pixels']:,} of {parity['pixels']:,} | {parity['largest_difference']:.4f} | "
                f"{parity['dice']:.4f} | {parity['dice_cost']:+.4f} |"
            )
    return [*lines, *(["", "Refused:", "", *refused] if refused else [])]


if __name__ == "__main__":
    main()
