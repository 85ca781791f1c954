"""Files that commands write for sharing contain no path of this machine."""

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
    """A folder with a data set, a damaged copy of it, and a run; its name is unique."""
    root = tmp_path_factory.mktemp("machine-path")
    write_phantom_busi(root / "phantoms", 12, 10, 8, seed=1, size=(64, 64))
    write_phantom_busi(root / "damaged", 12, 10, 8, seed=1, size=(64, 64))
    next((root / "damaged").rglob("*(3).png")).write_bytes(b"no image")
    next((root / "damaged").rglob("*(4)_mask.png")).unlink()
    run("train", "demo-taichinet", "--data", root / "phantoms", "--fold", 0, "-o", root / "runs", *settings())
    return root


def files_with_paths(folder: Path, root: Path) -> Iterator[str]:
    """The files in `folder` that contain the path of `root`, of the package or of Python's environment."""
    paths = [str(path).encode() for path in (root, Path(taichinet.__file__).parent, sys.prefix)]
    for file in sorted(folder.rglob("*")):
        if file.is_file() and any(path in file.read_bytes() for path in paths):
            yield file.name


def weights(root: Path) -> Path:
    return next((root / "runs").rglob("fold-0")) / "weights"


@pytest.mark.parametrize(
    ("form", "package", "name"), [("onnx", "onnxruntime", "lesion.onnx"), ("openvino", "openvino", "lesion.xml")]
)
def test_export_and_parity_record_contain_no_path(form: str, package: str, name: str, root: Path) -> None:
    if find_spec(package) is None:
        pytest.skip(f"needs {package}")
    out = root / form
    args = ("export", weights(root), "--format", form, "--images", f"busi={root / 'phantoms'}", "-o", out / name)
    printed = run(*args, "--json")
    assert list(files_with_paths(out, root)) == []
    assert list(files_with_paths(weights(root), root)) == []
    assert str(root) not in printed


@pytest.mark.parametrize("data", ["phantoms", "damaged"])
def test_data_check_contains_no_path(data: str, root: Path) -> None:
    (root / "page").mkdir(exist_ok=True)
    args = ["data", "check", f"busi={root / data}", "--report", str(root / f"page/{data}.html"), "--json"]
    printed = CliRunner().invoke(command_line.app, args).stdout
    assert json.loads(printed)["readable"] == (data == "phantoms")
    assert str(root) not in printed
    assert list(files_with_paths(root / "page", root)) == []


def test_compare_and_cost_contain_no_path(root: Path) -> None:
    suite = root / "suite.yaml"
    content = {"scale": "short", "folds": [0], "set": TINY, "parts": [{"data": "busi", "recipes": ["unet"]}]}
    suite.write_text(yaml.safe_dump(content), encoding="utf-8")
    args = ("compare", suite, "--data", f"busi={root / 'phantoms'}", "-o", root / "grid", "--json")
    assert str(root) not in run(*args)
    assert str(root) not in run("cost", *args[1:], "--write", root / "cost.json")
    assert str(root) not in (root / "cost.json").read_text(encoding="utf-8")
    assert list(files_with_paths(root / "grid", root)) == []


@pytest.mark.parametrize("ending", ["html", "md"])
def test_evaluation_and_card_contain_no_path(ending: str, root: Path) -> None:
    out = root / f"evaluated-{ending}"
    card = root / f"cards-{ending}" / f"card.{ending}"
    args = ("evaluate", weights(root), "--data", f"busi={root / 'phantoms'}", "-o", out, "--card", card)
    run(*args)
    assert list(files_with_paths(out, root)) == []
    assert list(files_with_paths(card.parent, root)) == []


def test_runs_report_and_packed_weights_contain_no_path(root: Path) -> None:
    run("report", root / "runs", "-o", root / "report")
    run("package-weights", weights(root).parent, "-o", root / "packed")
    for folder in ("runs", "report", "packed"):
        assert list(files_with_paths(root / folder, root)) == []
