"""What a tracker logs of a training, by name."""

from __future__ import annotations

from math import isfinite
from typing import Any

from taichinet.evaluation.undefined import SUFFIX
from taichinet.experiments.records import FoldRecord, TrainingRecord


def epoch_values(row: dict[str, Any]) -> dict[str, float]:
    """The finite numbers of a row of history.csv, e.g. training/loss; without the number of the epoch."""
    numbers = {name: value for name, value in row.items() if isinstance(value, int | float) and name != "epoch"}
    return {f"training/{name}": float(value) for name, value in numbers.items() if isfinite(value)}


def final_values(record: FoldRecord | TrainingRecord) -> dict[str, float]:
    """The selected epoch and its validation Dice, and the scores of the test images; only the time for all images."""
    values: dict[str, float | None] = {"final/wall_seconds": record.wall_seconds}
    if isinstance(record, FoldRecord):
        values["final/selected_epoch"] = record.selection.epoch
        values["final/validation_dice"] = record.selection.validation_dice
        lesion, normal = record.summary.lesion, record.summary.normal_images
        values |= {f"test/{name}": score.mean for name, score in lesion.network.items()}
        values |= {f"test/{name}{SUFFIX['native']}": score.mean for name, score in lesion.native.items()}
        values["test/false_positive_rate_of_normal_images"] = normal.false_positive_rate
    return {name: float(value) for name, value in values.items() if value is not None}
