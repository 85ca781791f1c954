"""Digest of everything that determines the result of a fold."""

from __future__ import annotations

import hashlib
import json

from taichinet.datasets.folds import FoldPlan, Split
from taichinet.datasets.prepared import Prepared
from taichinet.experiments.experiment import Experiment
from taichinet.models.backbones import pretrained_digests

# (section, key, value that changes nothing): settings that came after runs were made.
LATER_SETTINGS = (
    ("training", "accumulate", 1),
    ("mining", "accumulate", 1),
    ("objective", "taught_weight", 1.0),
    ("", "teacher", None),
)


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
