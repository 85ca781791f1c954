"""`--json`: standard output is one JSON document with the keys of docs/reference/command-line.md."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from cli.test_commands import settings
from taichinet.cli.app import app
from taichinet.datasets.phantoms.folder import write_phantom_busi

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"
LISTS = ("models", "data list", "predict")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, and with one trained fold and a network on all images of U-Net."""
    folder = tmp_path_factory.mktemp("json")
    data = write_phantom_busi(folder / "data", 8, 8, 2, seed=1, size=(64, 80))
    train = ("train", "short-unet", "--data", data, "-o", folder / "runs", *settings())
    check("train", read(*train))
    check("train", read(*train, "--all-images"))
    networks = read(*train, "--all-images", "--seed", "1,2", "--set", "training.epochs=1")["networks"]
    assert len({network["folder"] for network in networks}) == 2
    return folder


def read(*args: object) -> Any:
    """The parsed standard output of a command with --json; nothing else may be on it."""
    result = CliRunner().invoke(app, [*map(str, args), "--json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def documented_keys(command: str) -> set[str]:
    """All names in the row of `command` in the table of docs/reference/command-line.md."""
    row = re.search(rf"^\| `{command}` \| (.*) \|$", PAGE.read_text(encoding="utf-8").split("## JSON")[1], re.MULTILINE)
    assert row, f"{PAGE.name} does not document the JSON of {command}"
    return set(re.findall(r"`([a-z_]+)`", row[1]))


def check(command: str, content: Any) -> Any:
    rows = content if isinstance(content, list) else [content]
    assert isinstance(content, list) == (command in LISTS)
    for row in rows:
        assert set(row) <= documented_keys(command), command
    return content


def test_every_command_documents_its_json() -> None:
    def names(group: Any, path: str = "") -> list[str]:
        return [
            name
            for key, entry in group.commands.items()
            for name in (names(entry, f"{key} ") if hasattr(entry, "commands") else [f"{path}{key}"])
            if not getattr(entry, "hidden", False)
        ]

    for name in names(get_command(app)):
        assert documented_keys(name) or name == "predict"


def test_commands_on_data_print_json(folder: Path) -> None:
    data, bundle = folder / "data", folder / "data.zip"
    check("models", read("models"))
    check("data list", read("data", "list"))
    check("data check", read("data", "check", data))
    check("data export", read("data", "export", data, "--format", "monai", "--fold-count", 2, "-o", folder / "monai"))
    written = check("data bundle", read("data", "bundle", data, "--size", 32, "-o", bundle))
    assert check("data verify-bundle", read("data", "verify-bundle", bundle, data)) == written


def test_commands_on_runs_print_json(folder: Path) -> None:
    data, runs, study = folder / "data", folder / "runs", folder / "runs/busi/short-unet/grouped"
    scores = folder / "evaluation"
    check("evaluate", read("evaluate", study, "--data", data, "--shifts", "-o", scores))
    check("archive", read("archive", runs, "-o", folder / "packed"))
    check("archive", read("archive", "--unpack", folder / "packed", "-o", folder / "unpacked"))
    assert check("report", read("report", runs, "-o", folder / "report"))["recipes"] == ["short-unet"]
    assert check("report", read("report", runs, "-o", folder / "results.md"))["results"] == 1
    figure = ("figures", runs, "--data", data, "--figure", 11, "--method", "unet", "--rows", 1, "--dpi", 72)
    assert check("figures", read(*figure, "-o", folder / "figures"))["figures"][0]["figure"] == 11
    packed = check("package-weights", read("package-weights", study, "-o", folder / "weights"))
    assert {path.name for path in (folder / "weights").glob("[!.]*")} == set(packed["files"])


def test_predicted_masks_and_exported_network_print_json(folder: Path) -> None:
    data, weights = folder / "data", folder / "runs/busi/short-unet/grouped/fold-0"
    masks, flat = folder / "masks", folder / "flat"
    rows = read("predict", data / "benign", data / "malignant", "-w", weights, "-o", masks, "--runtime", "eager")
    assert len(rows) == 16
    flat.mkdir()
    for mask in masks.rglob("*_mask.png"):
        shutil.copy(mask, flat)
    (plan,) = (folder / "runs/folds").glob("*.json")
    check("score", read("score", flat, "--data", data, "--folds", plan, "--size", 32))
    network = folder / "unet.onnx"
    check("export", read("export", weights / "weights", "-o", network, "--images", data, "--most-images", 2))


def test_grid_and_its_cost_print_json(folder: Path) -> None:
    suite = folder / "suite.yaml"
    options = dict(setting.split("=") for setting in settings()[1::2])
    parts = [{"data": "busi", "recipes": ["unet"]}]
    changed = {key: yaml.safe_load(value) for key, value in options.items()}
    suite.write_text(yaml.safe_dump({"scale": "short", "folds": [0], "set": changed, "parts": parts}))
    args = (suite, "--data", folder / "data", "-o", folder / "runs")
    done = check("compare", read("compare", *args, "--budget", "9m"))
    assert [cell["state"] for cell in done["cells"]] == ["done"]
    check("cost", read("cost", *args))
