"""Scores of trained weights, again or on other data: what `taichinet evaluate` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from taichinet.datasets.busi import read_busi
from taichinet.datasets.prepared import prepare
from taichinet.errors import FoldError, WeightsError
from taichinet.evaluation.aggregate import Summary, aggregate
from taichinet.experiments.scoring import score_images
from taichinet.models.weights import CONFIG_FILE, load_weights
from taichinet.training.device import choose_placement


@dataclass(frozen=True)
class Evaluation:
    """Per-image scores, their summary, and what was scored: `note` is a sentence for the user."""

    scores: pd.DataFrame
    summary: Summary
    note: str


def evaluate_weights(path: Path, data: Path, include_normal: bool | None = None) -> Evaluation:
    """Score the weights of `path` (a study, a run folder, or a weights folder) on the BUSI-like set at `data`.

    On the pictures that the weights were trained with, only the test images of their fold are scored; on other data,
    all. `include_normal` None means as in training. Raises FoldError where pictures of the training are among
    `data` without being the same set, or where several folds' weights meet data that has no folds.
    """
    folders = find_weights(path)
    frames, notes = [], []
    for folder in folders:
        loaded = load_weights(folder)
        origin = loaded.config.provenance
        trained_on_normal = bool(origin.get("include_normal", False))
        with_normal = trained_on_normal if include_normal is None else include_normal
        if with_normal and not trained_on_normal and len(folders) > 1:
            raise FoldError(
                f"The {len(folders)} networks of {path} were trained without normal images, so no fold holds them out. "
                f"Choose one network, e.g. {folders[0]}, or leave --normal out."
            )
        manifest = read_busi(data, include_normal=with_normal)
        own = set(manifest.keys)
        seen = _seen_images(origin)
        same_pictures = seen is not None and origin.get("dataset") == manifest.name and bool(seen & own)
        if same_pictures:
            if origin.get("dataset_digest") != read_busi(data, trained_on_normal, verify=False).digest():
                raise FoldError(
                    f"{data} shares names with the training images of {folder} but is another edition: some of its "
                    "pictures may have been trained on. Evaluate on the set of the training, or on foreign data."
                )
            fold = int(origin["fold"])
            keys = [key for key in manifest.keys if key not in (seen or set())]
            notes.append(f"fold {fold}: {len(keys)} images that took no part in the training")
        else:
            if len(folders) > 1:
                raise FoldError(
                    f"{path} holds the weights of {len(folders)} folds, and {data} is not what they were trained on. "
                    f"Choose one of them, e.g. {folders[0]}."
                )
            fold, keys = 0, list(manifest.keys)
            notes.append(f"all {len(keys)} images of foreign data")
        prepared = prepare(manifest.subset(set(keys)), loaded.config.size, loaded.channels)
        placement = choose_placement()
        network = placement.place(loaded.network)
        frames.append(score_images(network, manifest, prepared, fold, placement, loaded.config.threshold))
    scores = pd.concat(frames, ignore_index=True)
    return Evaluation(scores, aggregate(scores), "Scored " + "; ".join(notes) + ".")


def find_weights(path: Path) -> tuple[Path, ...]:
    """The weights folders of a study (all its folds), of a run, or the folder itself."""
    if path.name == "model.safetensors":
        path = path.parent
    if (path / CONFIG_FILE).is_file():
        return (path,)
    if (path / "weights" / CONFIG_FILE).is_file():
        return (path / "weights",)
    folds = tuple(sorted(config.parent for config in path.glob(f"fold-*/weights/{CONFIG_FILE}")))
    if not folds:
        raise WeightsError(
            f"No weights at {path}. Give a weights folder, a run folder (RUNS/recipe/protocol/fold-0), or a study "
            "(RUNS/recipe/protocol)."
        )
    return folds


def _seen_images(origin: dict[str, object]) -> set[str] | None:
    train, validation = origin.get("train_keys"), origin.get("validation_keys")
    if not isinstance(train, list) or not isinstance(validation, list):
        return None
    return {*train, *validation}
