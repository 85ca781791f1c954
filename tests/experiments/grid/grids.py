"""A tiny grid on phantoms, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.experiments.grid.cells import Grid, name_data, plan_grid
from taichinet.experiments.grid.suite import Suite

SETTINGS = {
    "options.width": 2,
    "data.size": 32,
    "data.folds": 2,
    "data.validation_share": 0.25,
    "training.epochs": 2,
    "training.precision": "float32",
    "mining.epochs": 1,
    "mining.width": 2,
}


def phantoms(folder: Path, seed: int = 1) -> Path:
    return write_phantom_busi(folder / "phantoms", 12, 10, 4, seed=seed, size=(64, 80))


def suite(*recipes: str, test_on: tuple[str, ...] = (), **changes: object) -> Suite:
    """Recipes on the phantoms, which have BUSI's layout, at the `short` scale."""
    whole = {"scale": "short", "folds": (0,), "set": SETTINGS, **changes}
    return Suite.model_validate({"parts": [{"data": "busi", "recipes": recipes, "test_on": test_on}], **whole})


def tiny_grid(data: Path, out: Path, *recipes: str, more: tuple[str, ...] = (), **changes: Any) -> Grid:
    return plan_grid([suite(*recipes, **changes)], name_data([str(data), *more]), out)
