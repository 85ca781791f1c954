"""From an own network to a table with a verdict: `compare --against`, `report`, and the commands of `train`."""

from __future__ import annotations

import json
import pickle
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.test_commands import run
from taichinet.cli import app as command_line
from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import DataError, SettingError, WeightsError
from taichinet.experiments.grid.cells import name_data, plan_grid
from taichinet.experiments.grid.suite import recipe_suite, vary_suite
from taichinet.experiments.grid.work import run_task
from taichinet.models import catalogue

NETWORK = """
from torch import nn


class MyNet(nn.Sequential):
    def __init__(self, in_channels=1, num_classes=1, width=2):
        first, last = nn.Conv2d(in_channels, width, 3, padding=1), nn.Conv2d(width, num_classes, 1)
        super().__init__(first, nn.ReLU(), last)
"""
SETTINGS = {
    "options.width": 2,
    "data.size": 32,
    "data.folds": 2,
    "data.validation_share": 0.25,
    "training.epochs": 1,
    "training.batch_size": 8,
}
SET = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(autouse=True)
def _separate_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: no network of a file is loaded."""
    for module in ("models.catalogue", "models.weights"):
        monkeypatch.setattr(f"taichinet.{module}.CATALOGUE", catalogue.CATALOGUE)
    forget_code()


def forget_code() -> None:
    for model in [model for model in catalogue.CATALOGUE if "@" in model]:
        del catalogue.CATALOGUE[model]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 8, 8, 2, seed=1, size=(64, 96))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("networks") / "mynet.py"
    file.write_text(NETWORK, encoding="utf-8")
    return f"{file}:MyNet"


@pytest.fixture(scope="module")
def runs(data: Path, network: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An own network and the baseline on both folds."""
    out = tmp_path_factory.mktemp("runs")
    printed = json.loads(run("compare", network, "--against", "unet", "--data", data, "--output", out, "--json", *SET))
    assert [cell["state"] for cell in printed["cells"]] == ["done"] * 4
    (comparison,) = printed["against"]["comparisons"]
    assert printed["against"]["reference"] == "cpu-unet"
    assert (comparison["method"], comparison["images"], comparison["folds"]) == ("own-MyNet", 16, [0, 1])
    low, high = comparison["interval"]
    assert low <= comparison["difference"] <= high
    assert comparison["verdict"] in ("higher", "lower", "unclear")
    return out


def test_compared_runs_are_those_of_train(runs: Path, data: Path, network: str) -> None:
    run("train", network, "--data", data, "--output", runs, *SET, "--resume")
    args = ("compare", network, "unet", "--data", data, "--output", runs, *SET)
    result = CliRunner().invoke(command_line.app, [str(arg) for arg in args])
    assert "4 of 4 completed" in result.stdout
    assert "4 of them before" in result.stdout


def test_cell_of_an_own_network_runs_in_another_process(data: Path, network: str, tmp_path: Path) -> None:
    """As on a cluster: the cell is sent to a process that has not executed the file."""
    suite = vary_suite(recipe_suite(network, "busi", "cpu"), folds=(0,), set=SETTINGS)
    grid = plan_grid([suite], name_data([f"busi={data}"]), tmp_path)
    sent = pickle.dumps(grid.cells[0])
    forget_code()
    result = run_task(pickle.loads(sent))  # noqa: S301 - written above
    assert (result.outcome, result.reason) == ("done", "")


def test_report_tests_and_shows_an_own_network(runs: Path, data: Path, tmp_path: Path) -> None:
    forget_code()
    args = ("report", runs, "-o", tmp_path / "report", "--against", "own-MyNet", "--data", data, "--worst", 1)
    with pytest.raises(WeightsError, match=r"mynet\.py .*--trust-code"):
        run(*args)
    assert not (tmp_path / "report").exists()
    run(*args, "--trust-code")
    assert pd.read_csv(tmp_path / "report" / "against.csv")["method"].tolist() == ["cpu-unet"]
    assert "data:image/png" in (tmp_path / "report" / "index.html").read_text()
    with pytest.raises(SettingError, match=r"--against and --scores need the whole report"):
        run("report", runs, "-o", tmp_path / "page.md", "--against", "unet")


def test_scored_masks_and_evaluations_are_rows_of_the_report(runs: Path, data: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    manifest = open_dataset(data, include_normal=False)
    for sample in manifest:
        Image.fromarray(manifest.region_masks(sample)[0]).convert("L").save(masks / f"{sample.key}.png")
    (plan,) = (runs / "folds").glob("*.json")
    run("score", masks, "--data", data, "--folds", plan, "-o", tmp_path / "scores", "--name", "nnU-Net")
    run("evaluate", runs / "busi/cpu-unet/grouped", "--data", data, "-o", tmp_path / "again")
    scores = ("--scores", tmp_path / "scores", "--scores", f"U-Net again={tmp_path / 'again'}")
    run("report", runs, "-o", tmp_path / "report", "--against", "unet", *scores)
    tests = pd.read_csv(tmp_path / "report" / "against.csv").set_index("method")
    assert tests.loc["nnU-Net", "verdict"] == "higher"
    assert tests.loc["U-Net again", "difference"] == pytest.approx(0, abs=1e-4)
    with pytest.raises(DataError, match="Give trainings as RUNS"):
        run("report", runs, "-o", tmp_path / "x", "--scores", runs / "busi/cpu-unet/grouped")


def test_figure_and_archive_of_an_own_network_need_trust(runs: Path, data: Path, tmp_path: Path) -> None:
    forget_code()
    methods = ("--figure", 11, "--method", "own-MyNet", "--method", "unet", "--rows", 1, "--dpi", 72)
    figure = ("figures", runs, "--data", data, "-o", tmp_path / "figures", *methods)
    archive = ("archive", runs, "-o", tmp_path / "archive", "--with-weights")
    for command in (figure, archive):
        with pytest.raises(WeightsError, match="--trust-code"):
            run(*command)
        forget_code()
        run(*command, "--trust-code")
        forget_code()
    run("archive", "--unpack", tmp_path / "archive", "-o", tmp_path / "unpacked")
    study = tmp_path / "unpacked" / "busi/own-MyNet/grouped"
    assert (study / "fold-0/weights/mynet.py").read_text() == NETWORK
    run("evaluate", study, "--data", data, "--trust-code")


def test_commands_that_train_prints_can_be_run(
    data: Path, network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ("--fold", "0", "--protocol", "paper", "--output", "my runs")
    printed = run("train", network, "--data", data, *SET, *given)
    image = next((data / "benign").glob("*).png"))
    commands = dict(re.findall(r"^  ([\w ]+): +(taichinet .+)$", printed, re.MULTILINE))
    assert set(commands) == {"remaining folds", "report on all runs", "masks of new images"}
    forget_code()
    later = [run(*(str(image) if word == "IMAGES" else word for word in shlex.split(c)[1:])) for c in commands.values()]
    study = tmp_path / "my runs/busi/own-MyNet/paper"
    assert json.loads((study / "summary.json").read_text())["folds_done"] == [0, 1]
    assert (tmp_path / "masks" / f"{image.stem}_mask.png").is_file()
    assert (tmp_path / "my runs-report" / "index.html").is_file()
    (for_use,) = re.findall(r"^  one network for use: +taichinet (.+)$", later[0], re.MULTILINE)
    run(*shlex.split(for_use))
    assert (study / "all-images" / "training.json").is_file()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["unett"], "Unknown table, recipe or file 'unett'.*Did you mean 'unet'"),
        (["unet"], "add --data FOLDER"),
        (["unet", "--data", "{data}", "--against", "table1"], "Unknown network or recipe for --against 'table1'"),
        (["unet", "--data", "{data}", "--mix", "equal"], "data.mix=equal is for several data sets"),
        (["{suite}", "--data", "{data}"], "whose code would be executed. Give it as an argument"),
    ],
)
def test_invalid_comparisons_are_refused_before_the_training(
    args: list[str], message: str, data: Path, tmp_path: Path
) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text("parts: [{data: busi, recipes: ['mynet.py:MyNet']}]")
    with pytest.raises(SettingError, match=message):
        run("compare", *(arg.format(data=f"busi={data}", suite=suite) for arg in args), "-o", tmp_path / "runs")
    assert not (tmp_path / "runs" / "busi").exists()
