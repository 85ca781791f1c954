"""`taichinet cost` uses the speed of finished trainings in --output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.runs import fold_record
from fakes.scores import lesion_row

from cli.test_commands import run
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.grid.budget import finished_speeds
from taichinet.experiments.grid.cost import speed_key
from taichinet.experiments.provenance import describe_machine
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.records import RESULT_FILE, write_record

SUITE = "scale: short\nfolds: [0]\nparts: [{data: busi, recipes: [unet, taichinet]}]\n"


def write_fold(out: Path, name: str, seconds: float, fold: int = 0, **changes: Any) -> Experiment:
    """A finished fold of a recipe on this machine."""
    recipe = get_recipe(name)
    folder = out / "busi" / name / "grouped" / f"fold-{fold}"
    folder.mkdir(parents=True)
    fields = {"machine": describe_machine(), "wall_seconds": seconds} | changes
    write_record(folder / RESULT_FILE, fold_record(recipe, [lesion_row("a", 0.5)], **fields))
    return recipe


def this_machine(folder: Path, *words: object) -> dict[str, Any]:
    (folder / "suite.yaml").write_text(SUITE)
    machine: dict[str, Any] = json.loads(run("cost", folder / "suite.yaml", "-o", folder / "runs", *words, "--json"))[
        "this_machine"
    ]
    return machine


def test_hours_are_those_of_finished_trainings_of_the_same_networks(tmp_path: Path) -> None:
    for name in ("short-unet", "short-taichinet"):
        write_fold(tmp_path / "runs", name, 60.0)
    once = this_machine(tmp_path)
    assert once["speed_from"].startswith("finished trainings of each network in --output")

    for path in (tmp_path / "runs").rglob(RESULT_FILE):
        path.write_text(path.read_text().replace('"wall_seconds": 60.0', '"wall_seconds": 120.0'))

    assert this_machine(tmp_path)["hours"] == pytest.approx(2 * once["hours"], rel=0.01)


def test_hours_are_unknown_if_a_network_has_no_finished_training(tmp_path: Path) -> None:
    write_fold(tmp_path / "runs", "short-unet", 60.0)

    told = this_machine(tmp_path)

    assert told["hours"] is None
    assert told["speed_from"] == "not measured for 1 of 2 networks: add --calibrate or --throughput FILE"


def test_speed_is_the_median_of_trainings_on_this_hardware(tmp_path: Path) -> None:
    unet = write_fold(tmp_path, "short-unet", 60.0)
    alone = finished_speeds(tmp_path)[speed_key(unet)]
    write_fold(tmp_path, "short-unet", 6.0, 1, machine={"processor": "another"})
    write_fold(tmp_path, "short-unet", 0.6, 2, copied_from="elsewhere")
    write_fold(tmp_path, "demo-taichinet", 1.0)
    (tmp_path / "busi/demo-taichinet/grouped/fold-0" / RESULT_FILE).write_text("{")

    assert finished_speeds(tmp_path) == {speed_key(unet): alone}

    write_fold(tmp_path, "short-unet", 30.0, 3)
    write_fold(tmp_path, "short-unet", 20.0, 4)
    assert finished_speeds(tmp_path)[speed_key(vary(unet, {"training.epochs": 3}))] == pytest.approx(2 * alone)


def test_time_of_the_mining_stage_does_not_count_as_training(tmp_path: Path) -> None:
    recipe = write_fold(tmp_path, "short-taichinet", 90.0, mining={"identity": "x", "seconds": 30.0})
    mined = finished_speeds(tmp_path)[speed_key(recipe)]
    (tmp_path / "busi/short-taichinet/grouped/fold-0/history.csv").write_text("epoch,seconds\n1,50\n")

    assert finished_speeds(tmp_path)[speed_key(recipe)] == pytest.approx(mined * 90 / 60)
