"""FoldResult: what a finished fold leaves, how it is known again, and how it is read back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import ValidationError

from taichinet.datasets.folds import FoldPlan, Split
from taichinet.datasets.prepared import Prepared
from taichinet.errors import DataError, FoldError
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.records import SCORES_FILE, ScoresRecord, read_scores
from taichinet.models.backbones import pretrained_digests
from taichinet.storage.atomic import write_text
from taichinet.storage.documents import read_json, read_yaml

SETTINGS_FILE = "experiment.yaml"

# (section, key, value that changes nothing): settings that came after runs were made.
LATER_SETTINGS = (
    ("training", "accumulate", 1),
    ("mining", "accumulate", 1),
    ("objective", "taught_weight", 1.0),
    ("", "teacher", None),
)


@dataclass(frozen=True)
class FoldResult:
    """What a finished fold leaves: its folder, per-image scores, and the content of result.json."""

    folder: Path
    scores: pd.DataFrame
    result: dict[str, Any]


def read_fold(folder: Path, identity: str | None = None, change: str = "") -> FoldResult:
    """A finished fold; FoldError where it was made with other settings, images or folds than `identity`.

    `change` is what the message says of the difference.
    """
    result = read_json(folder / "result.json", FoldError, "Delete the folder.")
    if not isinstance(result, dict):
        raise FoldError(f"{folder / 'result.json'} is not the result of a fold. Delete the folder.")
    recorded = result.get("scores")
    try:
        scores = read_scores(folder / SCORES_FILE, None if recorded is None else ScoresRecord.model_validate(recorded))
    except (OSError, ValueError, DataError) as error:
        raise FoldError(f"The finished fold in {folder} cannot be read ({error}). Delete the folder.") from error
    if identity is not None and result.get("identity") != identity:
        raise FoldError(
            f"The finished fold in {folder} was made with other settings, images or folds{change}. Give another --out, "
            "or replace it with --overwrite instead of --resume."
        )
    return FoldResult(folder, scores, result)


def write_settings(experiment: Experiment, folder: Path) -> None:
    """Record the settings of the run in `folder`."""
    write_text(folder / SETTINGS_FILE, yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))


def read_settings(folder: Path) -> Experiment | None:
    """The recorded settings of the run in `folder`; None where there are none, or none that this version knows."""
    try:
        return Experiment.model_validate(read_yaml(folder / SETTINGS_FILE))
    except (DataError, ValidationError):
        return None


def run_identity(
    experiment: Experiment, data: Prepared, split: Split, plan: FoldPlan, bf16: bool, teacher: str | None = None
) -> str:
    """Digest of all that decides the result: settings (but the recipe's name), images, masks, split, number format.

    `teacher` is the digest of the teacher's weights.
    """
    settings = experiment.model_dump(mode="json", exclude={"name"})
    for parent, key, default in LATER_SETTINGS:  # runs from before they existed keep their identity
        place = settings[parent] if parent else settings
        if place[key] == default:
            del place[key]
    masks = hashlib.sha256(data.lesion.numpy().tobytes()).hexdigest()
    content = [settings, plan.digest, masks, plan.protocol, split.train, split.validation, split.test, bf16]
    if pretrained := pretrained_digests(experiment.options):
        content.append(pretrained)
    if teacher is not None:
        content.append(teacher)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
