"""The metadata at the beginning of a model card, which the Hugging Face Hub reads: YAML between two lines `---`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from taichinet.datasets.catalogue import named_dataset
from taichinet.evaluation.aggregate import Summary
from taichinet.reports.document.format import LONG, PROTOCOLS, title_of
from taichinet.reports.model_card.subject import subject_of

METRICS = {"dice": "dice", "jaccard": "jaccard", "precision": "precision", "sensitivity": "recall"}
"""Scores, and their names on the hub."""

_NOT_IN_NAMES = re.compile(r"[^\w.+ -]+")  # a record that was changed by hand may contain markup
_TASK = {"type": "image-segmentation", "name": "Image segmentation"}


def front_matter(name: str, datasets: Sequence[str], protocol: str, summaries: Mapping[str, Summary]) -> str:
    """The metadata of a model card.

    Args:
        name: Name of the recipe.
        datasets: Names of the data sets of the training.
        protocol: Fold protocol of the scores.
        summaries: Scores by name of the data set; several joined as "a+b". Only images that were not used to train the
            scored network.

    Returns:
        The block with its two lines `---`. The licence is "other", because that of the training data decides.
    """
    content = {
        "library_name": "taichinet",
        "pipeline_tag": _TASK["type"],
        "tags": [*subject_of("+".join(datasets)).tags, "medical-imaging", "segmentation"],
        "license": "other",
        "license_name": "see-training-data",
        "datasets": [_NOT_IN_NAMES.sub("?", data) for data in datasets],
        "metrics": list(METRICS.values()),
        "model-index": [
            {
                "name": name,
                "results": [
                    _result(_NOT_IN_NAMES.sub("?", data), protocol, summary) for data, summary in summaries.items()
                ],
            }
        ],
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)}---\n"


def _result(data: str, protocol: str, summary: Summary) -> dict[str, Any]:
    """The mean scores on the lesion images of one data set, and how often a normal image has a prediction."""
    lesion, normal = summary.lesion, summary.normal_images
    title = " and ".join(title_of(name) for name in data.split("+"))
    folds = len(lesion.images_per_fold)
    over = f"mean of {folds} cross-validated networks" if folds > 1 else "one test fold"
    metrics = [
        {"type": kind, "name": f"{LONG[score]} at original resolution, {over}", "value": round(mean, 4)}
        for score, kind in METRICS.items()
        if (mean := lesion.score(score, "native").mean) is not None
    ]
    if normal.false_positive_rate is not None:
        share = {"type": "false-positive-rate", "name": f"Share of {normal.images} normal images with a prediction"}
        metrics.append({**share, "value": round(normal.false_positive_rate, 4)})
    shown = " with a lesion" if named_dataset(data.split("+")[0]).regions == ("lesion",) else ""
    images = f"{title}, {lesion.images} images{shown}, {PROTOCOLS.get(protocol, protocol)}"
    return {"task": dict(_TASK), "dataset": {"type": data, "name": images}, "metrics": metrics}
