"""`train` with several seeds, from trained weights, and with more epochs for a network of one's own, on phantoms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from taichinet.cli.app import app
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import FoldError, SettingError, WeightsError
from taichinet.experiments.records import FoldRecord, read_record
from taichinet.reports.paper_tables.runs import read_methods

SETTINGS = ["data.size=32", "training.epochs=1", "data.folds=2", "data.validation_share=0.5", "training.batch_size=4"]
NETWORK = """
from torch import nn

class Net(nn.Conv2d):
    def __init__(self, in_channels=1):
        super().__init__(in_channels, 1, 3, padding=1)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "data", 8, 8, 0, seed=1, size=(64, 64))


def train(recipe: str, data: Path, out: Path, *arguments: str, settings: tuple[str, ...] = ()) -> Result:
    values = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
    command = ["train", recipe, "--data", f"busi={data}", "--output", str(out), *values, *arguments]
    return CliRunner().invoke(app, command)


def test_seeds_have_folders_of_their_own_and_are_summarised_together(data: Path, tmp_path: Path) -> None:
    small = ("options.width=2",)
    arguments = ("--fold", "0", "--seed", "0-1")
    first = train("short-unet", data, tmp_path, *arguments, settings=small)
    assert first.exit_code == 0, first.output
    assert {path.name for path in (tmp_path / "busi").iterdir()} == {"short-unet", "short-unet+seed1"}
    assert " SD " in first.stdout
    again = train("short-unet", data, tmp_path, *arguments, "--resume", "--json", settings=small)
    content = json.loads(again.stdout)
    assert [row["seed"] for row in content["studies"]] == [0, 1]
    values = [row["summary"]["groups"] for row in content["studies"]]
    dice = [next(g["network"]["dice"]["mean"] for g in groups if g["group"] == "lesion") for groups in values]
    assert content["over_seeds"]["accuracy"]["seeds"] == 2
    assert content["over_seeds"]["dice"]["mean"] == pytest.approx(sum(dice) / 2)
    assert content["over_seeds"]["dice"]["std"] == pytest.approx(abs(dice[0] - dice[1]) / 2**0.5)
    # Existing runs of any seed are refused before the first is trained.
    refused = train("short-unet", data, tmp_path, "--fold", "0", "--seed", "1,7", settings=small)
    assert isinstance(refused.exception, FoldError)
    assert not (tmp_path / "busi/short-unet+seed7").exists()
    assert isinstance(train("short-unet", data, tmp_path, "--seed", "x").exception, SettingError)

    start = ("--from", str(tmp_path / "busi/short-unet/grouped"))
    tuned = train("short-unet", data, tmp_path, *start, "--fold", "0", "--seed", "1", settings=small)
    assert tuned.exit_code == 0, tuned.output
    assert "Starts from busi/short-unet/grouped/fold-*: 156 of 156 tensors." in tuned.stderr
    run = tmp_path / "busi/short-unet+finetuned+seed1/grouped/fold-0"
    assert read_record(run / "result.json", FoldRecord).initial_weights is not None
    missing = train("short-unet", data, tmp_path, *start, "--fold", "1", settings=small)
    assert isinstance(missing.exception, WeightsError)
    assert "no weights for fold 1, only for fold-0" in str(missing.exception)
    methods = read_methods(tmp_path)
    assert sorted(len(method.runs) for method in methods) == [1, 2]  # the seeds of a recipe are one method


def test_run_of_an_own_network_is_extended(data: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK, encoding="utf-8")
    recipe = f"{tmp_path / 'net.py'}:Net"
    constant = ("training.schedule=constant",)
    assert train(recipe, data, tmp_path / "runs", "--fold", "0", settings=constant).exit_code == 0
    more = (*constant, "training.epochs=3")
    extended = train(recipe, data, tmp_path / "runs", "--fold", "0", "--resume", settings=more)
    assert extended.exit_code == 0, extended.output
    assert "Extends the training to 3 epochs: fold-0 from 1 of 1." in extended.stderr
    history = tmp_path / "runs/busi/own-Net/grouped/fold-0/history.csv"
    assert len(history.read_text(encoding="utf-8").splitlines()) == 4
