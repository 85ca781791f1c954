"""The image of docs/segment/read-the-results.md: the maps of the packaged network for one example image.

    taichinet data examples -o examples
    python benchmarks/example_maps.py examples/images/FLKA_003.png -o docs/images/example-maps.png

Only an example image of the package may be shown (CC BY 4.0, with attribution).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import taichinet

WIDTH, GAP, LABEL = 460, 12, 40  # pixels of a panel, between panels, and below a panel
INK, PAPER = (60, 66, 74), (255, 255, 255)


def main() -> None:
    """Predict, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    draw_maps(arguments.image).save(arguments.output, optimize=True)


def draw_maps(file: Path) -> Image.Image:
    """Overlay, mask, probability and disagreement, two in a row, with labels below."""
    result = taichinet.segment(file)
    if result.disagreement is None:
        raise SystemExit("The packaged network has no second path, so that there is no disagreement map.")
    panels = {
        "overlay": result.overlay(),
        "mask": _grey(result.mask.astype(np.float32)),
        "probability": _grey(result.probability),
        "disagreement": _grey(result.disagreement),
    }
    height = round(WIDTH * result.mask.shape[0] / result.mask.shape[1])
    sheet = Image.new("RGB", (2 * WIDTH + GAP, 2 * (height + LABEL)), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=20)
    for number, (name, panel) in enumerate(panels.items()):
        left, top = (number % 2) * (WIDTH + GAP), (number // 2) * (height + LABEL)
        sheet.paste(panel.convert("RGB").resize((WIDTH, height), Image.Resampling.BICUBIC), (left, top))
        draw.text((left, top + height + 6), name, fill=INK, font=font)
    return sheet


def _grey(values: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.round(values * np.float32(255)).astype(np.uint8))


if __name__ == "__main__":
    main()
