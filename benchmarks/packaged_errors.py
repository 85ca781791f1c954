"""How often the recipe of the packaged network is wrong. Writes the table of docs/segment/how-often-wrong.md.

    python benchmarks/packaged_errors.py

The scores are those of results/: of the networks of the folds, and of networks that were trained on one of the two data
sets and tested on the other. The packaged network was trained on all images and has no test images.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from measuring import write_between

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "segment" / "how-often-wrong.md"
STUDIES = ROOT / "results" / "busi+bus-uclm" / "best-lite"
GOOD_DICE = 0.8
NAMES = {"busi": "BUSI", "bus-uclm": "BUS-UCLM"}


def main() -> None:
    """Write the table into the page."""
    write_between(PAGE, "errors", table())


def table() -> list[str]:
    """The lines between the marks `errors`: one row for each data set, and for each protocol."""
    lines = [
        "| test images | trained on | images with a lesion | lesion found | mask close to the reference | mean Dice | "
        "images without a lesion | lesion drawn by mistake |",
        "| --- | --- | --: | --: | --: | --: | --: | --: |",
    ]
    for protocol in ("grouped", "leave-one-dataset-out"):
        scores = pd.read_csv(STUDIES / protocol / "scores.csv")
        for data, name in NAMES.items():
            (other,) = NAMES.keys() - {data}
            trained = f"other images of {name}, and {NAMES[other]}" if protocol == "grouped" else f"{NAMES[other]} only"
            lines.append(f"| {name} | {trained} | {_figures(scores[scores['dataset'] == data])} |")
    return lines


def _figures(scores: pd.DataFrame) -> str:
    """Cells of one row, from the scores of its images at the original resolution."""
    normal = scores["label"] == "normal"
    lesions = scores[~normal]
    good = lesions["dice_native"] >= GOOD_DICE
    mistaken = scores[normal]["predicted_pixels_native"] > 0
    cells = [
        f"{len(lesions)}",
        f"{(lesions['lesions_found'] > 0).mean():.0%}",
        f"{good.mean():.0%}",
        f"{lesions['dice_native'].mean():.2f}",
        f"{len(mistaken)}",
        f"{mistaken.mean():.0%}",
    ]
    return " | ".join(cells)


if __name__ == "__main__":
    main()
