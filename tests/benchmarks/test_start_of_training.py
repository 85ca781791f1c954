"""The benchmark of the start of training: the first epochs of runs, and the runs that it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from cli.test_commands import TINY
from helpers import discs

from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.recipes.catalogue import get_recipe

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import start_of_training  # noqa: E402


def start(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["start_of_training.py", *map(str, words)])
    start_of_training.main()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a record, record.json, and the runs of two tiny networks that trained for three epochs."""
    folder = tmp_path_factory.mktemp("work")
    tiny = {key: value for key, value in TINY.items() if key.startswith(("mining.", "options."))}
    with pytest.MonkeyPatch.context() as patch:
        no_easy_step = {**tiny, "training.easy_share": 0.0}
        variants = {"unet": ("demo-unet", {"options.width": 2}), "no easy step": ("demo-taichinet", no_easy_step)}
        patch.setattr(start_of_training, "VARIANTS", variants)
        words = ("--work", folder, "--size", 32, "--images", 24, "--epochs", 3, "--seeds", 0)
        start(patch, *words, "-o", folder / "record.json", "--variants", *variants)
    return folder


def copy_run(work: Path, to: Path, history: list[object] | None, **data: object) -> Path:
    """A copy of result.json of a run, with changed settings of the data and another history.csv (None: no file)."""
    to.mkdir()
    result = json.loads((work / "busi" / "unet-seed0" / "grouped" / "fold-0" / "result.json").read_text())
    result["experiment"]["data"] |= data
    (to / "result.json").write_text(json.dumps(result))
    if history is not None:
        pd.DataFrame({"epoch": range(1, len(history) + 1), "validation_dice": history}).to_csv(to / "history.csv")
    return to


def test_record_has_the_dice_of_every_epoch_of_each_variant_and_seed(work: Path) -> None:
    content = json.loads((work / "record.json").read_text())
    assert (content["size"], content["phantoms"]) == (32, 24)
    assert list(content["variants"]) == ["unet", "no easy step"]
    for name, variant in content["variants"].items():
        (row,) = variant["runs"]
        history = pd.read_csv(work / "busi" / f"{name.replace(' ', '-')}-seed0" / "grouped" / "fold-0" / "history.csv")
        assert row["validation_dice"] == [round(value, 4) for value in history["validation_dice"]]
        assert (row["epochs"], row["easy_epochs"], row["seed"]) == (3, 0, 0)
        assert row["steps_per_epoch"] == 2, "14 images in batches of 8"
        assert row["final_dice"] == row["validation_dice"][-1]
    assert content["variants"]["no easy step"]["changes"]["training.easy_share"] == 0


def test_first_epochs_of_a_finished_run_are_added_with_the_step_that_exceeds_each_threshold(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_run(work, tmp_path / "run", [0.0, 0.1, 0.2, 0.1, 0.25, 0.3, 0.2, 0.2, 0.2, 0.31, 0.5])
    copy_run(work, tmp_path / "never", [0.0, 0.05])
    start(monkeypatch, "--variants", "--runs", tmp_path, "-o", tmp_path / "record.json")
    content = json.loads((tmp_path / "record.json").read_text())
    never, row = content["finished_runs"]
    assert content["variants"] == {}
    assert row["validation_dice"] == [0.0, 0.1, 0.2, 0.1, 0.25, 0.3, 0.2, 0.2], "the first eight epochs"
    assert row["step_above"] == {"0.1": 2 * 3, "0.3": 2 * 10}, "above, not equal; also after the first epochs"
    assert (row["recipe"], row["epochs"], row["final_dice"]) == ("unet-seed0", 11, 0.5)
    assert never["step_above"] == {"0.1": None, "0.3": None}


def test_runs_that_cannot_be_compared_are_refused_with_their_path(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    copy_run(work, tmp_path / "no-history", None)
    copy_run(work, tmp_path / "not-validated", [0.1, None])
    copy_run(work, tmp_path / "with-normal", [0.1, 0.2], include_normal=True)
    copy_run(work, tmp_path / "truncated", [0.1])
    (tmp_path / "truncated" / "result.json").write_text('{"identity": ')
    for name, reason in {
        "empty": "has no finished run",
        "no-history": "cannot be read",
        "not-validated": "an epoch without a validation Dice",
        "with-normal": "images without a lesion",
        "truncated": "Leave out this run",
    }.items():
        with pytest.raises(SystemExit, match=rf"(?s){name}.*{reason}"):
            start(monkeypatch, "--variants", "--runs", tmp_path / name)


@pytest.mark.parametrize("images", [2, 7, 8, 9, 16, 17, 18])
def test_steps_of_an_epoch_are_the_number_of_its_batches(images: int) -> None:
    experiment: Experiment = vary(get_recipe("demo-unet"), {"training.batch_size": 8})
    batches = discs(images).shuffled_rows(8, torch.Generator())
    assert start_of_training.steps_per_epoch(images, experiment) == len(batches)


def test_every_variant_is_a_valid_recipe() -> None:
    for recipe, changes in start_of_training.VARIANTS.values():
        vary(get_recipe(recipe), changes)
