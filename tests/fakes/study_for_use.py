"""A study of two data sets with two folds and a network trained on all images, written without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from helpers import tiny_network

from fakes.runs import fold_record, recipe
from fakes.scores import lesion_row, normal_row, with_detection
from taichinet.evaluation.decision import Decision, mean_decision
from taichinet.evaluation.operating_point import CurvePoint, OperatingPoint
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.records import EvaluationRecord, TrainingRecord, write_record, write_scores
from taichinet.models.weights import save_weights
from taichinet.models.weights_folder import WeightsConfig

DATASET = "busi+bus-uclm"
KEYS = ("busi/a", "busi/n", "bus-uclm/a", "busi/b", "bus-uclm/b", "bus-uclm/c")
DECISIONS = (
    Decision(temperature=1.2, threshold=0.3, smallest_component=0.002, fill_holes=True, presence=0.6),
    Decision(temperature=1.0, threshold=0.5, smallest_component=0.004, fill_holes=True, presence=0.8),
)
MEAN = mean_decision(DECISIONS)


def experiment(**changes: object) -> Experiment:
    """The recipe of the study."""
    return recipe(
        "short-unet",
        **{
            "options__width": 2,
            "data__size": 32,
            "data__include_normal": True,
            "data__folds": 2,
            "decision__calibrate": True,
            **changes,
        },
    )


def rows(fold: int) -> list[dict[str, object]]:
    """Native Dice by fold: busi 0.75 and 0.55, bus-uclm 0.35 and the mean of 0.15 and 0; 0.25 before the presence."""
    if fold == 0:
        scored = [
            with_detection(lesion_row("busi/a", 0.8), 1, [0.9]) | {"dice_before_native": 0.75},
            with_detection(normal_row("busi/n", 3), 0, false=[0.7]),
            with_detection(lesion_row("bus-uclm/a", 0.4, "malignant"), 1, [0.8]) | {"dice_before_native": 0.35},
        ]
    else:
        scored = [
            with_detection(lesion_row("busi/b", 0.6, fold=1), 1, [0.9]) | {"dice_before_native": 0.55},
            with_detection(lesion_row("bus-uclm/b", 0.2, fold=1), 1, [0.7]) | {"dice_before_native": 0.15},
            with_detection(lesion_row("bus-uclm/c", 0.0, fold=1), 1) | {"dice_before_native": 0.25},
        ]
    return [row | {"region": "lesion", "dataset": str(row["key"]).partition("/")[0]} for row in scored]


def operating_point(fold: int) -> OperatingPoint:
    """Fold 0: 4 lesion and 2 normal images; fold 1: 6 lesion images and 1 normal image."""
    points = (((0.5, 1.0, 1.0), (0.7, 0.5, 0.5)), ((0.65, 1.0, 1.0), (0.9, 0.5, 0.0)))[fold]
    curve = tuple(CurvePoint(presence=p, found=found, normal_predicted=normal) for p, found, normal in points)
    return OperatingPoint(
        decision=DECISIONS[fold],
        sensitivity=0.9,
        lesion_images=(4, 6)[fold],
        normal_images=(2, 1)[fold],
        dice=0.5,
        curve=curve,
        ece_before=(0.03, 0.05)[fold],
        ece_after=0.02,
        notes=("The validation split is small.",),
    )


def write_fold(study: Path, fold: int, **changes: Any) -> Path:
    """Write a completed fold with weights; returns its folder."""
    folder = study / f"fold-{fold}"
    folder.mkdir(parents=True)
    content = {
        "dataset": DATASET,
        "fold": fold,
        "folds": 2,
        "scores": write_scores(folder / "scores.csv", pd.DataFrame(rows(fold))),
        "decision": operating_point(fold),
        "calibration": {
            "region": "lesion",
            "ece_all_pixels": (0.01, 0.03)[fold],
            "ece_uncertain_pixels": 0.1,
            "brier_all_pixels": None,
        },
    }
    of_fold = changes.pop("experiment", experiment())
    write_record(folder / "result.json", fold_record(of_fold, rows(fold), **{**content, **changes}))
    save_weights(tiny_network("unet", seed=fold), WeightsConfig("unet", {"width": 2}, 32), folder / "weights")
    return folder


def write_all_images(study: Path, **changes: Any) -> Path:
    """Write a complete training on all images; returns its folder."""
    content = {
        "identity": "0123456789abcdef",
        "experiment": experiment(),
        "dataset": DATASET,
        "dataset_digest": "digest of busi",
        "protocol": "grouped",
        "folds": 2,
        "fold_seed": 0,
        "images": len(KEYS),
        "decision": MEAN,
        "decision_folds": (0, 1),
        "parameters": 1234,
        "gflops": 0.25,
        "placement": "cpu float32 channels-last",
        "wall_seconds": 90.0,
        "commit": "3f2c1a9be012",
        "machine": {"processor": "A Processor", "cores": 2, "torch": "2.14.1"},
    }
    folder = study / "all-images"
    folder.mkdir(parents=True)
    write_record(folder / "training.json", TrainingRecord.model_validate({**content, **changes}))
    provenance = {"train_keys": list(KEYS), "fold": None}
    config = WeightsConfig("unet", {"width": 2}, 32, MEAN.threshold, provenance, decision=MEAN.model_dump(mode="json"))
    save_weights(tiny_network("unet", seed=2), config, folder / "weights")
    return folder


def write_study(root: Path) -> Path:
    """Write the whole study; returns its folder."""
    study = root / "runs" / DATASET / "short-unet" / "grouped"
    for fold in (0, 1):
        write_fold(study, fold)
    write_all_images(study)
    return study


def write_evaluation_of(study: Path, folder: Path, dataset: str = "ddti", folds: tuple[int, ...] = (0, 1)) -> Path:
    """Write an evaluation of the networks of `folds` on another data set, with shifts; returns `folder`."""
    digests = [json.loads((study / f"fold-{k}/weights/config.json").read_text())["digest"] for k in folds]
    shifts = [("none", 0.5, 0.0), ("gain 0.6", 0.4, 0.1), ("gain 1.6", 0.45, 0.05), ("marks", 0.48, 0.02)]
    content = {
        "dataset": dataset,
        "networks": [{"weights_sha256": digest} for digest in digests],
        "summary": fold_record(experiment(), rows(0)).summary,
        "shifts": [
            {
                "shift": name,
                "lesion_images": 2,
                "dice": dice,
                "lost_dice": lost,
                "normal_images": 1,
                "false_positive_rate": 0.25,
            }
            for name, dice, lost in shifts
        ],
    }
    folder.mkdir(parents=True)
    write_record(folder / "summary.json", EvaluationRecord.model_validate(content))
    return folder
