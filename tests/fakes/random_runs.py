"""Run folders as a training writes them, of networks with random weights, for tests of code that reads runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from helpers import FLOAT32_CPU
from safetensors.torch import save_file
from torch import nn

from taichinet.datasets.manifest import Manifest
from taichinet.datasets.prepared import prepare
from taichinet.evaluation.aggregate import aggregate
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.scoring import score_images
from taichinet.models.catalogue import create_model
from taichinet.models.weights import save_weights
from taichinet.models.weights_folder import WeightsConfig
from taichinet.reports.figures.source import Source, find_runs

SIZE = 32
MINED = "0123456789abcdef"


def halves(manifest: Manifest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(training keys, held-out keys)."""
    return manifest.keys[::2], manifest.keys[1::2]


def make_fake_run(
    out: Path,
    manifest: Manifest,
    recipe: str,
    held_out: tuple[str, ...],
    fold: int = 0,
    protocol: str = "grouped",
    alter: Callable[[nn.Module], None] = lambda network: None,
) -> Path:
    """Write a finished fold of `recipe` below `out`: weights, scores of `held_out`, result.json.

    Other networks are replaced by narrow U-Nets. `alter` may change the network before it is scored and saved.
    """
    experiment = get_recipe(recipe)
    model = "taichinet" if experiment.model == "taichinet" else "unet"
    options = {**experiment.options, "width": 4} if model == "taichinet" else {"width": 4}
    torch.manual_seed(len(recipe) + fold)
    network = create_model(model, **options).eval()
    alter(network)
    folder = out / manifest.name / recipe / protocol / f"fold-{fold}"
    folder.mkdir(parents=True)
    save_weights(network, WeightsConfig(model, options, SIZE), folder / "weights")
    rows = prepare(manifest, SIZE, 1).subset(held_out)
    scores = score_images(network, manifest, rows, fold, FLOAT32_CPU).rows
    scores.to_csv(folder / "scores.csv", index=False)
    content: dict[str, Any] = experiment.model_dump(mode="json")
    content["training"]["precision"] = "float32"
    content["data"]["include_normal"] = any(sample.label == "normal" for sample in manifest)
    result = {
        "identity": f"{recipe} {fold}",
        "experiment": content,
        "dataset": manifest.name,
        "dataset_digest": manifest.digest(),
        "protocol": protocol,
        "fold": fold,
        "folds": 5,
        "fold_seed": 0,
        "images": {"train": 0, "validation": 0, "test": len(held_out)},
        "selection": {"rule": "last", "on": "nothing", "epoch": 1},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "placement": "cpu float32",
        "wall_seconds": 60.0,
        "commit": None,
        "summary": aggregate(scores).model_dump(mode="json"),
        "mining": {"identity": MINED} if experiment.training.strategy == "easy-to-hard" else None,
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return folder


def make_fake_mining(out: Path, manifest: Manifest, keys: tuple[str, ...], easy: bool = True) -> None:
    """Write a mining cache for `keys`: image i has i + 1 of every 10 lesion columns easy, the rest hard.

    Without `easy`, all of every lesion is hard.
    """
    lesion = prepare(manifest, SIZE, 1).subset(keys).lesion
    columns = torch.zeros_like(lesion)
    for i in range(len(keys) if easy else 0):
        columns[i, :, :, torch.arange(SIZE) % 10 <= i] = 1
    folder = out / "mining" / MINED
    folder.mkdir(parents=True)
    save_file({"easy": lesion * columns, "hard": lesion * (1 - columns)}, folder / "regions.safetensors")
    provenance = {
        "settings": {},
        "augmentation": {},
        "size": SIZE,
        "channels": 1,
        "images_digest": "",
        "keys": list(keys),
    }
    (folder / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")


def set_scores(folder: Path, key: str, **values: float) -> None:
    """Overwrite scores of `key` in the run's scores.csv with values that random weights do not produce."""
    scores = pd.read_csv(folder / "scores.csv")
    for name, value in values.items():
        scores.loc[scores["key"] == key, name] = value
    scores.to_csv(folder / "scores.csv", index=False)


def source_of(runs: Path) -> Source:
    """A source of `runs` without images."""
    return Source("DATA", "busi", "", {}, find_runs(runs), runs)
