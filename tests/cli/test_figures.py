"""`taichinet figures` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.random_runs import make_fake_run
from typer.testing import CliRunner

from taichinet.cli.app import app
from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import FoldError, PartialFailureError, SettingError


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder with runs of TaiChiNet and U-Net, and the folder with their data."""
    data = write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 6, 4, 0, seed=1, size=(64, 96))
    out = tmp_path_factory.mktemp("runs")
    manifest = open_dataset(data, include_normal=False)
    for recipe in ("demo-taichinet", "demo-unet"):
        make_fake_run(out, manifest, recipe, manifest.keys[::2])
    return out, data


def figures(runs: tuple[Path, Path], *args: object) -> str:
    """Output of `taichinet figures`; errors of the command are raised."""
    out, data = runs
    command = ["figures", str(out), "--data", str(data), *map(str, args)]
    result = CliRunner().invoke(app, command)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_selected_figures_and_cases_are_written(runs: tuple[Path, Path], tmp_path: Path) -> None:
    key = "benign (3)"
    folder = tmp_path / "a" / "b"
    output = figures(runs, "--figure", 11, "--method", "unet", "--method", "taichinet", "--case", key, "-o", folder)
    assert "fig-11.png" in output
    assert sorted(path.name for path in folder.glob("fig-*")) == ["fig-11.json", "fig-11.pdf", "fig-11.png"]
    record = json.loads((folder / "fig-11.json").read_text())
    assert [row["label"] for row in record["rows"]] == [key]
    assert [run["recipe"] for run in record["runs"]] == ["demo-unet", "demo-taichinet"]


def test_single_figure_with_a_missing_run_raises_its_own_error(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(FoldError, match="taichinet train demo-model-5"):
        figures(runs, "--figure", 9, "-o", tmp_path)
    assert not list(tmp_path.iterdir())


def test_figures_with_missing_runs_do_not_stop_the_others(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(
        PartialFailureError, match=r"(?s)2 of 3 figures.*figure 8: .*demo-model-2.*figure 9: "
    ) as caught:
        figures(runs, "--figure", 8, "--figure", 4, "--figure", 9, "-o", tmp_path)
    assert "demo-model-1" not in str(caught.value)  # the run of U-Net is used as Model 1
    assert {path.stem for path in tmp_path.glob("fig-*")} == {"fig-4"}


def test_unknown_figure_number_is_rejected(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"Unknown figure '3'.*Known: 4, 7, 8, 9, 11, 12"):
        figures(runs, "--figure", 3, "-o", tmp_path)
