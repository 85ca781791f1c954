"""Speed of the packaged network with the default installation, beside that of the full TaiChiNet in plain PyTorch.

    python benchmarks/packaged_speed.py -o RECORD.json --page docs/segment/packaged-network.md

One image of 224 px, and a folder of phantoms of a usual size, from the files to the maps. The full TaiChiNet has
random weights, on which the speed does not depend, and takes the images of the folder one after the other; the packaged
network takes them as `taichinet predict` does. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from measuring import record, seconds_in_turn, write_between
from PIL import Image

from taichinet.datasets.image_io import read_grey
from taichinet.datasets.phantoms.phantom import make_phantom
from taichinet.inference.ensemble import PredictorChoices, open_predictor
from taichinet.inference.folder import predict_files
from taichinet.inference.outputs import output_files, write_maps
from taichinet.inference.predictor import Predictor
from taichinet.inference.runtimes.eager import PLAIN
from taichinet.inference.shipped import shipped_weights
from taichinet.models.catalogue import create_model
from taichinet.models.weights_folder import LoadedWeights, WeightsConfig

IMAGE_GOAL, FOLDER_GOAL = 0.5, 4.0


def main() -> None:
    """Measure, print, and write the record and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="the record, one file per machine")
    parser.add_argument("--page", type=Path, help="write the sentences into this page, between the marks of `speed`")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=24, help="images of the folder")
    arguments = parser.parse_args()
    entry = record(arguments.output, measure(arguments.rounds, arguments.images))
    if arguments.page:
        write_between(arguments.page, "speed", sentences(entry))


def measure(rounds: int, images: int) -> dict[str, Any]:
    """The content of the record."""
    full = LoadedWeights(lambda: create_model("taichinet").eval(), WeightsConfig("taichinet", {}, 224))
    plain = Predictor(full, PLAIN)
    packaged, _ = open_predictor(shipped_weights(), PredictorChoices())
    single = phantoms(1, 224, 224)[0]
    one = seconds_in_turn(
        {"full": partial(plain.predict, single), "packaged": partial(packaged.predict, single)}, rounds
    )
    with tempfile.TemporaryDirectory() as temporary:
        files = [Path(temporary) / f"{number}.png" for number in range(images)]
        for file, image in zip(files, phantoms(images, 470, 560), strict=True):
            Image.fromarray(image).save(file)
        many = seconds_in_turn(folder_calls(plain, packaged, files), rounds=2)
    single_ms = {name: round(1000 * median(seconds), 1) for name, seconds in one.items()}
    rates = {name: round(images / median(seconds), 2) for name, seconds in many.items()}
    return {
        "what": "the packaged network with its default runtime, and the full TaiChiNet in plain PyTorch, in turn",
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "packaged_size": packaged.size,
        "image_milliseconds": single_ms,
        "image_ratio": round(single_ms["packaged"] / single_ms["full"], 3),
        "folder_images": images,
        "folder_images_per_second": rates,
        "folder_ratio": round(rates["packaged"] / rates["full"], 1),
    }


def folder_calls(plain: Predictor, packaged: Predictor, files: list[Path]) -> dict[str, Callable[[], object]]:
    """Predict all files and write their maps."""
    output = files[0].parent / "out"
    output.mkdir()

    def one_after_the_other() -> None:
        for file in files:
            write_maps(plain.predict(read_grey(file)), output_files(output, file.stem))

    names = {file: file.stem for file in files}
    return {"full": one_after_the_other, "packaged": lambda: list(predict_files(packaged, names, output))}


def phantoms(count: int, height: int, width: int) -> list[np.ndarray]:
    """Images of phantoms with a lesion."""
    rng = np.random.default_rng(0)
    return [make_phantom(rng, "malignant" if i % 2 else "benign", height, width).image for i in range(count)]


def sentences(entry: Mapping[str, Any]) -> list[str]:
    """What the page says."""
    one, many, machine = entry["image_milliseconds"], entry["folder_images_per_second"], entry["machine"]
    return [
        f"On {machine['processor']}, {entry['threads']} cores, with the default installation: one image of 224 px, "
        f"from pixels to mask, takes {one['packaged']:g} ms; the full TaiChiNet in plain PyTorch takes "
        f"{one['full']:g} ms (ratio {entry['image_ratio']:g}, goal at most {IMAGE_GOAL:g}). A folder is predicted and "
        f"written at {many['packaged']:g} images/s, {many['full']:g} images/s with the full TaiChiNet (ratio "
        f"{entry['folder_ratio']:g}, goal at least {FOLDER_GOAL:g}). Medians of calls in turn."
    ]


if __name__ == "__main__":
    main()
