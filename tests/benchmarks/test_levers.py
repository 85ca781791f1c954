"""The ablation of the recipe `best-lite`: its trainings, which are continued, and its record."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import levers
from fakes.busi import make_fake_busi

from taichinet.experiments.experiment import flat_settings, vary
from taichinet.experiments.recipes.catalogue import get_recipe

TINY = {
    "data.size": 32,
    "data.folds": 2,
    "data.validation_share": 0.5,
    "training.epochs": 1,
    "training.warmup_epochs": 0,
    "options.encoder_weights": "none",
    "options.decoder_width": 4,
}


def test_every_lever_changes_only_what_it_names() -> None:
    start = flat_settings(levers.recipe_of("start"))
    names = set()
    for name, changes in levers.LEVERS.items():
        settings = flat_settings(levers.recipe_of(name))
        changed = {key for key in {*start, *settings} if start.get(key) != settings.get(key)} - {"name"}
        if "model" not in changes:  # another network has other options
            assert all(key.startswith(tuple(changes)) for key in changed), name
        assert changed or name == "start"
        names.add(settings["name"])
    assert len(names) == len(levers.LEVERS)


def test_the_last_lever_is_the_recipe() -> None:
    short = vary(get_recipe("best-lite"), {**levers.SHORT, "name": "lever-best-lite"})
    assert levers.recipe_of("best-lite") == short


def test_levers_are_trained_once_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_fake_busi(tmp_path / "busi", benign=6, malignant=4, normal=4)
    monkeypatch.setattr(levers, "SHORT", TINY)
    record, work = tmp_path / "levers.json", tmp_path / "work"
    command = ["levers", "--data", f"busi={folder}", "--work", str(work), "-o", str(record), "--levers"]
    monkeypatch.setattr(sys, "argv", [*command, "start"])
    levers.main()
    monkeypatch.setattr(levers, "train_folds", None)
    monkeypatch.setattr(sys, "argv", command)
    levers.main()
    rows = json.loads(record.read_text())["levers"]
    assert list(rows) == ["start"]
    row = rows["start"]
    assert (row["lesion_images"], row["normal_images"]) == (2, 1)
    assert 0 <= row["dice_after_decision"] <= 1
