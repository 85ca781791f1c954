"""Draw the three images of README and docs/index: segment.png, compare.png and ship.png in docs/images.

    python benchmarks/readme_images.py segment --weights RUNS/.../leave-one-dataset-out/fold-1/weights
    python benchmarks/readme_images.py compare taichinet-demo --method demo-taichinet --against demo-unet
    python benchmarks/readme_images.py ship lesion.onnx onnx.json lesion-int8.onnx int8.json

`segment` shows example images with the outlines of a network that was trained on BUSI only and has seen no image of
BUS-UCLM, to which the examples belong: those whose Dice is nearest to the lower quartile, the median and the upper
quartile of all lesion images, and a normal image whose predicted area is nearest to the median of all normal images. Of
equal ones it is the first. The Dice must be those in results/, within a tolerance.
`compare` shows the test of a method against a reference, as `compare --against` makes it, from a folder of runs.
`ship` shows one example in PyTorch and in files of `taichinet export --json`; all figures are those of the records.

The images are dark, as the page of the demo in a dark colour scheme, and legible on white and on black.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from taichinet.datasets.examples import Example, list_examples
from taichinet.datasets.image_io import read_grey
from taichinet.evaluation.metrics import dice_score
from taichinet.evaluation.uncertainty import RESAMPLES
from taichinet.experiments.records import network_title
from taichinet.inference.ensemble import PredictorChoices, open_predictor
from taichinet.inference.shipped import shipped_weights
from taichinet.reports.differences import Colours, draw_differences
from taichinet.reports.document.format import interval, probability
from taichinet.reports.overlay import PREDICTION, TRUTH, Mask, outline, wrap
from taichinet.reports.paper_tables.comparisons import SCORE, compare_against
from taichinet.reports.paper_tables.runs import read_groups, read_methods
from taichinet.reports.paper_tables.tested import Selection
from taichinet.runner import Model

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/images"
SCORES = ROOT / "results/busi+bus-uclm/best-lite/leave-one-dataset-out/scores.csv"
DATASET = "bus-uclm"
PAPER, INK, SOFT = (22, 24, 27), (229, 226, 219), (160, 158, 152)
DARK = Colours(ink="#e5e2db", faint="#34373c", dots="#5fb8ec", mean="#f09a5b")
WIDTH, GAP, TEXT = 1200, 16, 23  # pixels; README shows the images at 800 pixels
TOLERANCE = 0.005  # of a Dice in results/: on another processor or in another precision, a few border pixels differ


def main() -> None:
    """Draw one image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    segment = kinds.add_parser("segment")
    segment.add_argument("--weights", type=Path, required=True)
    compare = kinds.add_parser("compare")
    compare.add_argument("runs", type=Path)
    compare.add_argument("--method", required=True)
    compare.add_argument("--against", required=True)
    ship = kinds.add_parser("ship")
    ship.add_argument("files", type=Path, nargs="+", help="FILE.onnx RECORD.json, once or several times")
    arguments = parser.parse_args()
    if arguments.kind == "segment":
        save(draw_segment(arguments.weights), "segment")
    elif arguments.kind == "compare":
        save(draw_compare(arguments.runs, arguments.method, arguments.against), "compare")
    else:
        save(draw_ship(list(zip(arguments.files[::2], arguments.files[1::2], strict=True))), "ship")


def draw_segment(weights: Path) -> Image.Image:
    """Examples with the outlines of a network that has seen no image of their data set."""
    scores = pd.read_csv(SCORES)
    scores = scores[scores["dataset"] == DATASET].set_index("key")
    predictor, _ = open_predictor(weights, PredictorChoices(disagreement=False))
    tiles = []
    for example, place in representative(scores):
        image, truth = read_grey(example.image), read_grey(example.mask) > 0
        mask = predictor.predict(image).mask
        row = scores.loc[key_of(example)]
        dice = dice_score(mask, truth)
        if example.lesion and abs(dice - row["dice_native"]) > TOLERANCE:
            raise SystemExit(f"{example.image.name}: Dice {dice:.4f}, but {row['dice_native']:.4f} in {SCORES}.")
        if bool(mask.any()) != bool(row["predicted_pixels_native"]):
            raise SystemExit(f"{example.image.name}: the predicted area differs from {SCORES}.")
        found = f"Dice {dice:.2f}" if mask.any() else "missed"
        text = found if example.lesion else "one outlined" if mask.any() else "none outlined"
        tiles.append((image, truth, mask, (text, place)))
    return sheet(tiles, ("outline of the experts", "outline of a network that has seen no image of this data set"))


def representative(scores: pd.DataFrame) -> list[tuple[Example, str]]:
    """The examples nearest to quartiles of all images of `scores`, with the value of the quartile."""
    lesions = scores[scores["true_pixels_native"] > 0]["dice_native"]
    normals = scores[scores["true_pixels_native"] == 0]["predicted_pixels_native"]
    chosen: list[tuple[Example, str]] = []
    for name, share in (("lower quartile", 0.25), ("median", 0.5), ("upper quartile", 0.75)):
        value = float(lesions.quantile(share))
        places = [example for example in list_examples() if example.lesion]
        nearest = min(places, key=lambda example: abs(lesions[key_of(example)] - value))
        chosen.append((nearest, f"{name} of {len(lesions)}: {value:.2f}"))
    median = float(normals.median())
    places = [example for example in list_examples() if not example.lesion]
    nearest = min(places, key=lambda example: abs(normals[key_of(example)] - median))
    return [*chosen, (nearest, f"no lesion: none in {int((normals == 0).sum())} of {len(normals)}")]


def key_of(example: Example) -> str:
    """The key of an example in the tables of results/."""
    return f"{DATASET}/{example.image.stem}"


def draw_compare(runs: Path, method: str, reference: str) -> Image.Image:
    """The differences per image, their mean with its interval, and the verdict."""
    methods = [found for found in read_methods(runs) if found.name in (method, reference)]
    against = compare_against(methods, reference, read_groups(runs), RESAMPLES)
    (comparison,) = against.comparisons
    ours, theirs = (
        tested.per_image(Selection(), SCORE, comparison.folds) for tested in (comparison.method, comparison.reference)
    )
    differences = [float(ours[key] - theirs[key]) for key in ours.index]
    titles = {found.name: network_title(found.experiment.model) for found in methods}
    first, second = titles[comparison.method.name], titles[comparison.reference.name]
    figure = draw_differences(differences, comparison.test, first, second, DARK)
    red, green, blue = (value / 255 for value in PAPER)
    figure.set_facecolor((red, green, blue))
    for axes in figure.axes:
        axes.set_facecolor("none")
    figure.set_dpi(WIDTH / figure.get_figwidth())
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    chart = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]
    verdict = {
        "higher": f"{first} has the higher Dice",
        "lower": f"{first} has the lower Dice",
        "unclear": "No clear difference",
    }[comparison.verdict]
    numbers = f"mean difference in Dice {interval(comparison.test.difference)}, {comparison.test.images} test images"
    p = probability(comparison.p_holm)
    image = Image.new("RGB", (chart.width, chart.height + 110), PAPER)
    pen = ImageDraw.Draw(image)
    pen.text((2 * GAP, GAP), verdict, INK, font(34, bold=True))
    pen.text((2 * GAP, GAP + 48), f"{numbers}{f', p {p}' if p else ''}", SOFT, font(TEXT))
    image.paste(chart, (0, 110))
    return image


def draw_ship(files: Sequence[tuple[Path, Path]]) -> Image.Image:
    """One example in PyTorch and in exported files, with the figures of the records of the export."""
    lesions = [example for example in list_examples() if example.lesion]
    example = lesions[len(lesions) // 2]
    image, truth = read_grey(example.image), read_grey(example.mask) > 0
    records = [json.loads(record.read_text(encoding="utf-8")) for _, record in files]
    plain, _ = open_predictor(shipped_weights(), PredictorChoices(runtime="eager", disagreement=False))
    seconds = records[0]["seconds"]["plain"]
    tiles = [(image, truth, plain.predict(image).mask, ("PyTorch", f"{1000 * seconds:.0f} ms per image"))]
    for (file, _), record in zip(files, records, strict=True):
        tiles.append((image, truth, run_file(file, image), describe(record)))
    return sheet(tiles, ("outline of the experts", "outline of the network"))


def run_file(file: Path, image: NDArray[np.uint8]) -> Mask:
    """The mask of an exported file by the runner, which needs no PyTorch."""
    mask: Mask = np.asarray(Model(file).segment(image).mask) > 0
    return mask


def describe(record: dict[str, Any]) -> tuple[str, str]:
    """Name, and agreement, size and time of an exported file."""
    row = record["rows"]["the file"]
    name = "ONNX file" if record["precision"] == "float32" else f"ONNX file, {record['precision']}"
    megabytes = record["bytes"] / 1e6
    return (
        name,
        f"{1000 * record['seconds']['the file']:.0f} ms, {megabytes:.0f} MB; masks agree with PyTorch to "
        f"{row['agreement']:.3f} (mean Dice of {row['images']} images)",
    )


def sheet(
    tiles: Sequence[tuple[NDArray[np.uint8], Mask, Mask, tuple[str, str]]], legend: tuple[str, str]
) -> Image.Image:
    """Images in a row with both outlines and two texts below each, and the legend below all."""
    width = (WIDTH - GAP * (len(tiles) + 1)) // len(tiles)
    height = max(round(width * image.shape[0] / image.shape[1]) for image, _, _, _ in tiles)
    small = font(TEXT - 3)
    notes = [wrap(text, width, small.getlength) for *_, (_, text) in tiles]
    lines = max(len(note) for note in notes)
    bottom = GAP + height + 40 + 28 * lines
    drawn = Image.new("RGB", (WIDTH, bottom + 52), PAPER)
    pen = ImageDraw.Draw(drawn)
    for number, ((image, truth, mask, (title, _)), note) in enumerate(zip(tiles, notes, strict=True)):
        left = GAP + number * (width + GAP)
        drawn.paste(outlined(image, truth, mask, width), (left, GAP))
        pen.text((left, GAP + height + 8), title, INK, font(TEXT, bold=True))
        for line, text in enumerate(note):
            pen.text((left, GAP + height + 40 + 28 * line), text, SOFT, small)
    left = GAP
    for text, stroke in zip(legend, (TRUTH, PREDICTION), strict=True):
        for start in range(0, 48, 48 if stroke.dash is None else 18):
            end = min(48, start + (48 if stroke.dash is None else 12))
            pen.line([(left + start, bottom + 26), (left + end, bottom + 26)], stroke.colour, 4)
        pen.text((left + 60, bottom + 12), text, SOFT, small)
        left += 60 + round(small.getlength(text)) + 40
    return drawn


def outlined(image: NDArray[np.uint8], truth: Mask, mask: Mask, width: int) -> Image.Image:
    """The image at `width`, with both outlines."""
    scale = 2
    drawn = Image.fromarray(image).resize((scale * image.shape[1], scale * image.shape[0]), Image.Resampling.BICUBIC)
    drawn = drawn.convert("RGB")
    for outlined_mask, stroke in ((truth, TRUTH), (mask, PREDICTION)):
        dash = None if stroke.dash is None else (2 * stroke.dash[0], 2 * stroke.dash[1])
        outline(drawn, outlined_mask, type(stroke)(stroke.name, stroke.colour, 2 * stroke.width, dash), scale)
    return drawn.resize((width, round(width * image.shape[0] / image.shape[1])), Image.Resampling.LANCZOS)


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu, which is included in matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf", name), size)


def save(image: Image.Image, name: str) -> None:
    """Write docs/images/NAME.png with 256 colours, which the outlines and grey values need no more of."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    reduced = image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    reduced.save(FOLDER / f"{name}.png", optimize=True)
    print(FOLDER / f"{name}.png", f"{(FOLDER / f'{name}.png').stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
