"""What commands write to be handed on names no folder of the machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import taichinet
from cli.test_commands import TINY, run, settings
from taichinet.cli import app as command_line
from taichinet.datasets.phantoms.folder import write_phantom_busi


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, a damaged copy of it, and a run; its name occurs nowhere else."""
    root = tmp_path_factory.mktemp("machine-path")
    write_phantom_busi(root / "phantoms", 12, 10, 8, seed=1, size=(64, 64))
    write_phantom_busi(root / "damaged", 12, 10, 8, seed=1, size=(64, 64))
    next((root / "damaged").rglob("*(3).png")).write_bytes(b"no image")
    next((root / "damaged").rglob("*(4)_mask.png")).unlink()
    run("train", "demo-taichinet", "--data", root / "phantoms", "--fold", 0, "-o", root / "runs", *settings())
    return root


def naming(folder: Path, root: Path) -> Iterator[str]:
    """The files in `folder` that hold the path of `root`, of the package or of Python's environment."""
    paths = [str(path).encode() for path in (root, Path(taichinet.__file__).parent, sys.prefix)]
    for file in sorted(folder.rglob("*")):
        if file.is_file() and any(path in file.read_bytes() for path in paths):
            yield file.name


def weights(root: Path) -> Path:
    return next((root / "runs").rglob("fold-0")) / "weights"


@pytest.mark.parametrize(
    ("form", "package", "name"), [("onnx", "onnxruntime", "lesion.onnx"), ("openvino", "openvino", "lesion.xml")]
)
def test_an_export_and_its_parity_record(form: str, package: str, name: str, root: Path) -> None:
    if find_spec(package) is None:
        pytest.skip(f"needs {package}")
    out = root / form
    words = ("export", weights(root), "--format", form, "--images", f"busi={root / 'phantoms'}", "-o", out / name)
    printed = run(*words, "--json")
    assert list(naming(out, root)) == []
    assert list(naming(weights(root), root)) == []
    assert str(root) not in printed


@pytest.mark.parametrize("data", ["phantoms", "damaged"])
def test_a_data_check(data: str, root: Path) -> None:
    (root / "page").mkdir(exist_ok=True)
    words = ["data", "check", f"busi={root / data}", "--report", str(root / f"page/{data}.html"), "--json"]
    printed = CliRunner().invoke(command_line.app, words).stdout
    assert json.loads(printed)["readable"] == (data == "phantoms")
    assert str(root) not in printed
    assert list(naming(root / "page", root)) == []


def test_the_cells_of_a_comparison(root: Path) -> None:
    suite = root / "suite.yaml"
    content = {"scale": "short", "folds": [0], "set": TINY, "parts": [{"data": "busi", "recipes": ["unet"]}]}
    suite.write_text(yaml.safe_dump(content), encoding="utf-8")
    words = ("compare", suite, "--data", f"busi={root / 'phantoms'}", "-o", root / "grid", "--json")
    assert str(root) not in run(*words)
    assert str(root) not in run("cost", *words[1:], "--write", root / "cost.json")
    assert str(root) not in (root / "cost.json").read_text(encoding="utf-8")
    assert list(naming(root / "grid", root)) == []


@pytest.mark.parametrize("ending", ["html", "md"])
def test_an_evaluation_and_its_card(ending: str, root: Path) -> None:
    out = root / f"evaluated-{ending}"
    card = root / f"cards-{ending}" / f"card.{ending}"
    words = ("evaluate", weights(root), "--data", f"busi={root / 'phantoms'}", "-o", out, "--card", card)
    run(*words)
    assert list(naming(out, root)) == []
    assert list(naming(card.parent, root)) == []


def test_a_run_a_report_and_packed_weights(root: Path) -> None:
    run("report", root / "runs", "-o", root / "report")
    run("package-weights", weights(root).parent, "-o", root / "packed")
    for folder in ("runs", "report", "packed"):
        assert list(naming(root / folder, root)) == []
