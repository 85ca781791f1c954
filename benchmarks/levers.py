"""What each choice of the recipe `best-lite` gives, on the validation images of one fold.

    nice -n 5 python benchmarks/levers.py --data BUSI --work runs/levers -o results/benchmarks/levers.json

Each lever changes one choice of the same short training, which lacks the last additions to the recipe: fold 0, 128 px,
eight epochs, with a third of the training part for validation (208 images of BUSI). The test images of the fold are not
read into the record. The levers that are finished in `--work` are not trained again; several processes may train
different `--levers`, and a last call without training (`--levers` without names) writes the record.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measuring import record, write_between

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
START: dict[str, object] = {
    "options.presence_head": False,
    "options.input_scale": "fixed",
    "objective.terms": {"presence": 0.1},
}
HALVED = ("zoom", "crop", "translation", "rotation", "sector", "shadow", "speckle", "depth_gain", "gain", "contrast")
HALF_THE_AUGMENTATION: dict[str, object] = {
    f"data.augmentation.ultrasound.{effect}.probability": getattr(UltrasoundSettings(), effect).probability / 2
    for effect in HALVED
}

# Changes of the recipe without what was added last (START), and the whole recipe.
LEVERS: dict[str, dict[str, object]] = {
    "start": {},
    "U-Net-lite": {"model": "unet-lite"},
    "encoder rate 0.3": {"training.encoder_rate": 0.3},
    "learning rate 2e-3": {"training.learning_rate": 2e-3},
    "no presence term": {"objective.terms": {}},
    "presence head": {"options.presence_head": True},
    "presence head, term 0.3": {"options.presence_head": True, "objective.terms": {"presence": 0.3}},
    "presence head, term 1": {"options.presence_head": True, "objective.terms": {"presence": 1.0}},
    "scale of each image": {"options.input_scale": "image"},
    "half the augmentation": HALF_THE_AUGMENTATION,
    "paper's augmentation": {"data.augmentation.kind": "paper"},
    "no normal images": {"data.include_normal": False, "objective.terms": {}},
    "random weights": {"options.encoder_weights": "none"},
    "no average of weights": {"training.average_decay": 0.0},
    "160 px": {"data.size": 160},
    "16 epochs": {"training.epochs": 16, "training.average_decay": 0.99},
    "best-lite": {
        "options.presence_head": True,
        "options.input_scale": "image",
        "objective.terms": {"presence": 0.3},
    },
}


def main() -> None:
    """Train the levers, and write the record of all that are finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="BUSI")
    parser.add_argument("--work", type=Path, required=True, help="folder of the trainings, and to continue from")
    parser.add_argument("-o", "--output", type=Path, help="the record, one file a machine")
    parser.add_argument("--page", type=Path, help="write the table into this page, between the marks of `levers`")
    parser.add_argument("--levers", nargs="*", choices=LEVERS, default=list(LEVERS), metavar="LEVER")
    arguments = parser.parse_args()
    try:
        for name in arguments.levers:
            train(name, arguments.data, arguments.work)
    except TaiChiNetError as error:
        raise SystemExit(str(error)) from error
    rows = {name: row for name in LEVERS if (row := figures(name, arguments.work))}
    record(arguments.output, {"settings": {**SHORT, **START}, "levers": rows})
    if arguments.page:
        write_between(arguments.page, "levers", table(rows))


def recipe_of(name: str) -> Experiment:
    """The short training of a lever."""
    changes = {**SHORT, **START, **LEVERS[name]}
    return vary(get_recipe("best-lite"), {**changes, "name": "lever-" + re.sub(r"[^\w]+", "-", name)})


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
        "changes": LEVERS[name],
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


def table(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [
        "| change | Dice before the presence decision | lesions found | normal images with a prediction | "
        "after: Dice | lesions found | normal images with a prediction |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    for name, row in rows.items():
        dice, found, normal = (
            [row[key + after] for after in ("", "_after_decision")] for key in ("dice", "found", "normal_predicted")
        )
        dice[0] = row["dice_after_post_processing"]
        rates = ["" if share is None else f"{share:.1%}" for share in normal]  # without normal images for validation
        cells = (f"{dice[at]:.3f} | {found[at]:.1%} | {rates[at]}" for at in (0, 1))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
