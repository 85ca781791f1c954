"""Cost of `taichinet data check` by the number of images, and recall of planted near-duplicates.

    nice -n 10 python benchmarks/data_check_scaling.py -o results/benchmarks/data_check_scaling.json

Small phantoms are simulated once. Every tenth is a near-duplicate of an earlier one: rescaled, cropped, darkened, or
cropped and rescaled. For each size, a separate process checks that number of images, from the files on disk to the
report. The exponent is the slope of a line fitted to log(CPU seconds) over log(images): 1 is linear, 2 is quadratic.
CPU time is fitted and not wall time, because it depends less on the load of the machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import linear_regression
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from taichinet.datasets.checks.check import DataReport, check_dataset
from taichinet.datasets.manifest import Manifest, Mask, Sample
from taichinet.datasets.phantoms.phantom import LABELS, Label, make_phantom
from taichinet.experiments.provenance import describe_machine, source_commit

SIZES = (1250, 2500, 5000, 10000)
SIDES = (72, 96)  # pixels; height and width
EVERY = 10  # one image in EVERY is a near-duplicate
BACK = 7  # distance to the original; not a multiple of EVERY, so that the original is not a near-duplicate itself
WARM_UP = 20  # images


@dataclass(frozen=True)
class Change:
    """Crop to `box` (top, bottom, left, right; fractions), scaling by `scale` and brightness change by `gamma`."""

    name: str
    box: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 1.0)
    scale: float = 1.0
    gamma: float = 1.0

    def apply(self, image: np.ndarray, resampling: Image.Resampling) -> np.ndarray:
        """Crop and rescale `image` (H, W)."""
        height, width = image.shape
        top, bottom, left, right = self.box
        part = image[round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
        size = round(self.scale * part.shape[1]), round(self.scale * part.shape[0])
        return np.asarray(Image.fromarray(part).resize(size, resampling))


BOX = (0.10, 0.87, 0.15, 0.88)
CHANGES = (
    Change("rescaled", scale=0.8),
    Change("cropped", box=BOX),
    Change("darkened", gamma=1.5),
    Change("cropped and rescaled", box=BOX, scale=1.25),
)


def main() -> None:
    """Simulate, measure each size in its own process, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--folder", type=Path, help="Folder in which the phantoms are kept; existing ones are used.")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # the folder, in a process of one size
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.sizes[0])))
        return
    with TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        missing = [number for number in range(max(arguments.sizes)) if not (folder / f"{number}_mask.png").exists()]
        with ProcessPoolExecutor(2) as pool:
            list(pool.map(partial(draw, folder), missing, chunksize=50))
        rows = []
        for size in arguments.sizes:
            command = [sys.executable, __file__, "--measure", str(folder), "--sizes", str(size)]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            report(rows, arguments.output)  # after each size, because the last one takes half of the time


def report(rows: list[dict[str, Any]], out: Path | None) -> None:
    """Print the measurements so far and write them to `out`."""
    result = {
        "what": "taichinet data check on phantoms: cost by the number of pictures, and planted copies found",
        "phantom_size": SIDES,
        "copies": f"1 picture in {EVERY}",
        "sizes": rows,
        "exponent_of_cpu_seconds": exponent(rows, "cpu_seconds"),
        "exponent_of_wall_seconds": exponent(rows, "wall_seconds"),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "commit": source_commit(),
        "machine": describe_machine(),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8")


def change_of(number: int) -> Change | None:
    """The change of image `number` from image `number - BACK`; None for an original."""
    return CHANGES[number // EVERY % len(CHANGES)] if number % EVERY == EVERY - 1 else None


def draw(folder: Path, number: int) -> None:
    """Write image `number` and its mask; a near-duplicate has the seed of its original and is then changed."""
    change = change_of(number)
    source = number if change is None else number - BACK
    phantom = make_phantom(np.random.default_rng(source), _label(source), *SIDES)
    image, lesion = phantom.image, phantom.lesion
    if change is not None:
        image = change.apply(image, Image.Resampling.BILINEAR)
        image = np.rint(255 * (image / 255) ** change.gamma).astype(np.uint8)
        lesion = change.apply(lesion, Image.Resampling.NEAREST)
    Image.fromarray(image).save(folder / f"{number}.png", compress_level=1)
    Image.fromarray(lesion).save(folder / f"{number}_mask.png")


def measure(folder: Path, count: int) -> dict[str, Any]:
    """Cost of checking the first `count` images in `folder`, and recall of the planted pairs."""
    samples = [
        Sample(str(number), _label(number), folder / f"{number}.png", (Mask(folder / f"{number}_mask.png"),))
        for number in range(count)
    ]
    check_dataset(Manifest("phantoms", tuple(samples[:WARM_UP])))
    at_start = _peak_memory_mib()
    before, began = os.times(), time.perf_counter()
    checked = check_dataset(Manifest("phantoms", tuple(samples)))
    wall, after = time.perf_counter() - began, os.times()
    return {
        "images": count,
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(after.user + after.system - before.user - before.system, 1),
        "peak_memory_mib": _peak_memory_mib(),
        "peak_memory_of_the_first_20_mib": at_start,
        **found_copies(checked, count),
    }


def found_copies(report: DataReport, count: int) -> dict[str, Any]:
    """Recall of the planted pairs, in total and by change, and number of pairs of unrelated images that were joined."""
    found = {frozenset((pair.first, pair.second)) for pair in report.duplicates.pairs}
    planted = {frozenset((str(n), str(n - BACK))): change.name for n in range(count) if (change := change_of(n))}
    hit: dict[str, list[bool]] = {}
    for pair, name in planted.items():
        hit.setdefault(name, []).append(pair in found)
    return {
        "planted_pairs": len(planted),
        "recall": round(len(found & planted.keys()) / len(planted), 4),
        "recall_by_change": {name: round(sum(hits) / len(hits), 4) for name, hits in hit.items()},
        "stranger_pairs": len(found - planted.keys()),
    }


def exponent(rows: Sequence[dict[str, Any]], cost: str) -> float | None:
    """Slope of log(cost) over log(images); None for a single size."""
    if len(rows) < 2:
        return None
    slope, _ = linear_regression([math.log(row["images"]) for row in rows], [math.log(row[cost]) for row in rows])
    return round(slope, 3)


def _peak_memory_mib() -> int:
    """Peak memory of this process in MiB; Linux reports it in KiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _label(number: int) -> Label:
    return LABELS[number % len(LABELS)]


if __name__ == "__main__":
    main()
