"""The plan that trains our own recipes within a time budget."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import gpu_best

from taichinet.experiments.recipes.catalogue import get_recipe

FILES = {"busi": Path("busi.zip"), "bus-uclm": Path("uclm.zip")}


def test_every_fold_of_every_recipe_is_trained(tmp_path: Path) -> None:
    commands = dict(gpu_best.trainings(gpu_best.Machine(FILES, tmp_path, 0.0)))
    for recipe, names, for_use in gpu_best.PLAN:
        assert get_recipe(recipe).data.folds == gpu_best.FOLDS
        study = f"{'+'.join(names)} {recipe}"
        assert (f"{study} all images" in commands) is for_use
        words = commands[f"{study} fold 4"]
        assert words[:3] == ["train", recipe, "--resume"]
        assert [word for word in words if "zip" in word] == [f"{name}={FILES[name]}" for name in names]


def test_studies_of_one_data_set_are_scored_on_the_other(tmp_path: Path) -> None:
    machine = gpu_best.Machine(FILES, tmp_path, 0.0)
    assert gpu_best.evaluations(machine) == []
    for study in ("busi/best/grouped", "bus-uclm/best-lite-224/grouped", "busi+bus-uclm/best-lite-224/grouped"):
        (tmp_path / study / "fold-0").mkdir(parents=True)
        (tmp_path / study / "fold-0" / "result.json").write_text("{}")
    names = [name for name, _ in gpu_best.evaluations(machine)]
    assert names == ["bus-uclm best-lite-224 on busi", "busi best on bus-uclm"]


def test_a_command_is_ended_with_the_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = time.monotonic()
    gpu_best.Machine({}, tmp_path, now + 60).run("wrong", ["train", "no such recipe"])
    gpu_best.Machine({}, tmp_path, time.monotonic() + 0.05).run("long", ["data", "list"])
    gpu_best.Machine({}, tmp_path, now).run("late", ["data", "list"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("wrong: exit code 2, see ")
    assert "Missing option" in (tmp_path / "logs" / "wrong.txt").read_text()
    assert printed[1].startswith("long: interrupted")
    assert printed[2] == "not started: late"
