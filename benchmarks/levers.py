"""What each choice of the recipe `best-lite` gives, on the validation images of one fold.

    nice -n 5 python benchmarks/levers.py --data BUSI --work runs/levers -o results/benchmarks/levers.json

Each lever changes one setting of the same short training: fold 0, 128 px, eight epochs, with a third of the training
part for validation (208 images of BUSI). The test images of the fold are not read into the record. The levers that are
finished in `--work` are not trained again; several processes may train different `--levers`, and a last call without
training (`--levers` without names) writes the record.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from measuring import record

from taichinet.datasets.ultrasound.settings import UltrasoundSettings
from taichinet.errors import TaiChiNetError
from taichinet.experiments.cross_validate import train_folds
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.records import RESULT_FILE, FoldRecord, read_record
from taichinet.experiments.study_data import open_study_data

SHORT: dict[str, object] = {
    "data.size": 128,
    "data.validation_share": 0.33,
    "training.epochs": 8,
    "training.average_decay": 0.98,
}
HALVED = ("zoom", "crop", "translation", "rotation", "sector", "shadow", "speckle", "depth_gain", "gain", "contrast")
HALF_THE_AUGMENTATION: dict[str, object] = {
    f"data.augmentation.ultrasound.{effect}.probability": getattr(UltrasoundSettings(), effect).probability / 2
    for effect in HALVED
}

# The recipe and its changes.
LEVERS: dict[str, tuple[str, dict[str, object]]] = {
    "TaiChiNet-lite": ("best-lite", {}),
    "U-Net-lite": ("best-lite-unet", {}),
    "encoder rate 0.3": ("best-lite", {"training.encoder_rate": 0.3}),
    "learning rate 2e-3": ("best-lite", {"training.learning_rate": 2e-3}),
    "no presence head": ("best-lite", {"options.presence_head": False}),
    "no presence head or term": ("best-lite", {"options.presence_head": False, "objective.terms": {}}),
    "presence term 0.1": ("best-lite", {"objective.terms": {"presence": 0.1}}),
    "presence term 1": ("best-lite", {"objective.terms": {"presence": 1.0}}),
    "fixed scale of grey values": ("best-lite", {"options.input_scale": "fixed"}),
    "half the augmentation": ("best-lite", HALF_THE_AUGMENTATION),
    "paper's augmentation": ("best-lite", {"data.augmentation.kind": "paper"}),
    "no normal images": ("best-lite", {"data.include_normal": False, "objective.terms": {}}),
    "random weights": ("best-lite", {"options.encoder_weights": "none"}),
    "no average of weights": ("best-lite", {"training.average_decay": 0.0}),
    "160 px": ("best-lite", {"data.size": 160}),
}


def main() -> None:
    """Train the levers, and write the record of all that are finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="BUSI")
    parser.add_argument("--work", type=Path, required=True, help="folder of the trainings, and to continue from")
    parser.add_argument("-o", "--out", type=Path, help="the record, one file a machine")
    parser.add_argument("--levers", nargs="*", choices=LEVERS, default=list(LEVERS), metavar="LEVER")
    arguments = parser.parse_args()
    try:
        for name in arguments.levers:
            train(name, arguments.data, arguments.work)
    except TaiChiNetError as error:
        raise SystemExit(str(error)) from error
    rows = {name: figures(name, arguments.work) for name in LEVERS}
    record(arguments.out, {"settings": SHORT, "levers": {name: row for name, row in rows.items() if row}})


def recipe_of(name: str) -> Experiment:
    """The short training of a lever."""
    recipe, changes = LEVERS[name]
    return vary(get_recipe(recipe), {**SHORT, **changes, "name": "lever-" + re.sub(r"[^\w]+", "-", name)})


def train(name: str, data: str, work: Path) -> None:
    """Train a lever on fold 0, unless it is finished."""
    experiment = recipe_of(name)
    done = train_folds(experiment, open_study_data(experiment, data, "grouped", work), [0], work, existing="resume")
    print(f"{name}: {done.folder}", flush=True)


def figures(name: str, work: Path) -> dict[str, Any] | None:
    """Validation figures of a finished lever; None if it is not finished."""
    files = sorted(work.glob(f"*/{recipe_of(name).name}/grouped/fold-0/{RESULT_FILE}"))
    if not files:
        return None
    fold = read_record(files[0], FoldRecord)
    point = fold.decision
    if point is None or point.before is None or point.after is None:
        raise SystemExit(f"{files[0]} has no decision that was chosen on validation images: train it again.")
    return {
        "changes": LEVERS[name][1],
        "lesion_images": point.lesion_images,
        "normal_images": point.normal_images,
        "dice": point.dice_at_default,
        "dice_after_post_processing": point.dice_before,
        "dice_after_decision": point.dice,
        "found": point.before.found,
        "normal_predicted": point.before.normal_predicted,
        "found_after_decision": point.after.found,
        "normal_predicted_after_decision": point.after.normal_predicted,
        "decision": point.decision.model_dump(),
        "ece": [point.ece_before, point.ece_after],
        "wall_seconds": fold.wall_seconds,
        "commit": fold.commit,
    }


if __name__ == "__main__":
    main()
