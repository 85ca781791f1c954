"""Optimiser steps until TaiChiNet and U-Net begin to find lesions, with variants of the initialisation and schedule.

    nice -n 5 python benchmarks/start_of_training.py -o results/benchmarks/start_of_training.json --runs RUNS

Each variant of the demo recipe is trained on the same phantoms and split with several seeds. The phantoms are reduced
and all have a lesion: an empty prediction for an image without a lesion has Dice 1, which would hide the start. Each
`--runs` adds the first epochs of the finished runs in a folder. The steps are those of the first epoch after which the
validation Dice is above the threshold, so they are a multiple of the steps per epoch. `--work` keeps the phantoms and
runs; a further call with the same settings continues there.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from measuring import record

from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import FoldError, TaiChiNetError
from taichinet.experiments.cross_validate import train_folds
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.records import RESULT_FILE, FoldRecord, read_record
from taichinet.experiments.study_data import open_study_data
from taichinet.experiments.training_run import HISTORY_FILE

THRESHOLDS = (0.1, 0.3)  # of the validation Dice
FIRST_EPOCHS = 8  # of a finished run
PHANTOM_SIZE = (96, 128)  # pixels; height and width

# The recipe and its changes; `both` are the two above it.
VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "unet": ("demo-unet", {}),
    "taichinet": ("demo-taichinet", {}),
    "lesion prior 0.65": ("demo-taichinet", {"options.lesion_prior": 0.65}),
    "no easy step": ("demo-taichinet", {"training.easy_share": 0.0}),
    "background prior 0.5": ("demo-taichinet", {"options.background_prior": 0.5}),
    "both": ("demo-taichinet", {"options.background_prior": 0.5, "training.easy_share": 0.0}),
}


def main() -> None:
    """Train the variants, read the finished runs, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="the record, one file a machine")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--size", type=int, default=96, help="input resolution in pixels")
    parser.add_argument("--images", type=int, default=96, help="phantoms of each of the two kinds of lesion, in sum")
    parser.add_argument("--runs", type=Path, action="append", default=[], help="add the finished runs in this folder")
    parser.add_argument("--work", type=Path, help="keep phantoms and runs in this folder, and continue from it")
    arguments = parser.parse_args()
    try:
        finished = [start_of(run, FIRST_EPOCHS) for folder in arguments.runs for run in finished_runs(folder)]
        with TemporaryDirectory() as temporary:
            train_variants(arguments, arguments.work or Path(temporary), finished)
    except TaiChiNetError as error:
        raise SystemExit(str(error)) from error


def train_variants(arguments: argparse.Namespace, work: Path, finished: Sequence[dict[str, Any]]) -> None:
    """Train every variant with the first seed, then with the next one; write the record after each seed."""
    variants: dict[str, dict[str, Any]] = {
        name: {"recipe": VARIANTS[name][0], "changes": VARIANTS[name][1], "runs": []} for name in arguments.variants
    }
    content = {
        "what": "validation Dice on lesions after each epoch, and the optimiser step at which it exceeds a threshold",
        "phantoms": arguments.images,
        "size": arguments.size,
        "variants": variants,
        "finished_runs": finished,
    }
    for seed in arguments.seeds if variants else ():
        for name, variant in variants.items():
            variant["runs"].append(start_of(train(name, seed, arguments, work), arguments.epochs))
            print(name, seed, variant["runs"][-1], flush=True)
        record(arguments.output, content)
    if not variants:
        record(arguments.output, content)


def train(name: str, seed: int, arguments: argparse.Namespace, work: Path) -> Path:
    """Train a variant on the first fold of the phantoms, unless it is completed; return the run folder."""
    recipe, changes = VARIANTS[name]
    small = {"data.size": arguments.size, "data.include_normal": False, "data.validation_share": 0.25}
    run = {"name": f"{name.replace(' ', '-')}-seed{seed}", "training.epochs": arguments.epochs, "training.seed": seed}
    experiment = vary(get_recipe(recipe), {**small, **run, **changes})
    benign = arguments.images // 2
    data = write_phantom_busi(work / "phantoms", benign, arguments.images - benign, 0, seed=0, size=PHANTOM_SIZE)
    study_data = open_study_data(experiment, data, "grouped", work)
    return train_folds(experiment, study_data, [0], work, "resume").folds[0].folder


def finished_runs(folder: Path) -> Sequence[Path]:
    """The run folders of completed folds in `folder` and its subfolders, sorted by path."""
    runs = [path.parent for path in sorted(folder.rglob(RESULT_FILE))]
    if not runs:
        raise SystemExit(f"'{folder}' has no finished run ({RESULT_FILE}). Give a folder of runs.")
    return runs


def start_of(run: Path, epochs: int) -> dict[str, Any]:
    """The first epochs of a run: Dice, and the steps until it exceeds each threshold (None: not in any epoch)."""
    fold = read_record(run / RESULT_FILE, FoldRecord, FoldError, "Leave out this run.")
    experiment = fold.experiment
    if experiment.data.include_normal:
        raise SystemExit(
            f"'{run}' was trained with images without a lesion, for which an empty prediction has Dice 1. Train "
            "with data.include_normal=false."
        )
    dice = validation_dice(run / HISTORY_FILE)
    steps = steps_per_epoch(fold.images.train, experiment)
    above = {
        str(threshold): next((steps * epoch for epoch, value in enumerate(dice, 1) if value > threshold), None)
        for threshold in THRESHOLDS
    }
    return {
        "recipe": experiment.name,
        "fold": fold.fold,
        "seed": experiment.training.seed,
        "training_images": fold.images.train,
        "steps_per_epoch": steps,
        "epochs": len(dice),
        "easy_epochs": sum(experiment.training.step(epoch) == "easy" for epoch in range(len(dice))),
        "validation_dice": [round(value, 4) for value in dice[:epochs]],
        "step_above": above,
        "final_dice": round(dice[-1], 4),
    }


def validation_dice(history: Path) -> list[float]:
    """Validation Dice of every epoch in history.csv."""
    try:
        values = [float(value) for value in pd.read_csv(history)["validation_dice"]]
    except (OSError, ValueError, KeyError) as error:
        raise SystemExit(f"'{history}' cannot be read ({error}). Leave out this run.") from error
    if not values or any(map(math.isnan, values)):
        raise SystemExit(f"'{history}' has an epoch without a validation Dice. Leave out this run.")
    return values


def steps_per_epoch(images: int, experiment: Experiment) -> int:
    """Optimiser steps of an epoch; a last batch of one image is merged with the one before (`shuffled_rows`)."""
    batch = experiment.training.batch_size
    return max(math.ceil(images / batch) - (images % batch == 1), 1)


if __name__ == "__main__":
    main()
