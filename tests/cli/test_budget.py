"""`compare --budget`, `compare --archive` and `archive` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from cli.test_commands import TINY, run
from taichinet.cli import app as command_line
from taichinet.cli.compare_budget import parse_time
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import DataError, SettingError, StorageError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 12, 10, 4, seed=1, size=(64, 80))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = {"scale": "short", "folds": [0], "set": TINY, "parts": [{"data": "busi", "recipes": ["unet", "model-1"]}]}
    path = tmp_path_factory.mktemp("suite") / "suite.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(data: Path, suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/ and archive/, both written by one command."""
    root = tmp_path_factory.mktemp("trained")
    run("compare", suite, "--data", data, "-o", root / "runs", "--budget", "3h", "--archive", root / "archive")
    return root


def invoke(*words: object) -> Result:
    return CliRunner().invoke(command_line.app, [str(word) for word in words])


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2h", 7200), (" 1h0m5s ", 3605)]
)
def test_a_time_has_hours_minutes_and_seconds(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "600", "0s", "-5m", "10 m", "1m1h", "1.5h", "m", "10min", "١m", "9" * 400 + "s"])
def test_another_time_is_refused_before_the_data_are_read(text: str, suite: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="is not a time"):
        run("compare", suite, "--data", f"busi={tmp_path / 'absent'}", "-o", tmp_path / "runs", f"--budget={text}")


def test_what_is_left_is_listed_with_exit_code_9(
    data: Path, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taichinet.cli.compare_budget.parse_time", lambda text: 0.001)  # over when the data are read
    words = ("compare", suite, "--data", data, "-o", tmp_path / "runs", "--budget", "1s")
    done = invoke(*words, "--json")
    assert done.exit_code == 9
    told = json.loads(done.stdout)
    assert [(row["epoch"], row["epochs"], row["estimated_seconds"]) for row in told["left"]] == [(0, 2, None)] * 2
    assert {cell["state"] for cell in told["cells"]} == {"waiting"}
    lines = invoke(*words)
    assert lines.exit_code == 9
    assert "2 left at the end of the budget" in lines.stderr
    assert "busi short-unet grouped fold 0: needs an unknown time, 0 of 2 epochs completed" in lines.stderr
    assert "copied from busi short-unet grouped fold 0" in lines.stderr


def test_a_command_that_ends_within_its_budget_has_exit_code_0_and_nothing_left(
    data: Path, suite: Path, trained: Path
) -> None:
    words = ("compare", suite, "--data", data, "-o", trained / "runs", "--budget", "1h", "--json")
    assert json.loads(run(*words))["left"] == []


def test_nothing_is_packed_if_all_runs_failed_and_a_line_says_so(
    data: Path, suite: Path, trained: Path, tmp_path: Path
) -> None:
    from taichinet.errors import PartialFailureError

    archive = tmp_path / "archive"
    words = ("compare", suite, "--data", data, "-o", trained / "runs", "--set", "training.epochs=1")
    done = invoke(*words, "--archive", archive)
    assert isinstance(done.exception, PartialFailureError)
    assert f"Nothing was packed into {archive}: none of the 2 runs is completed." in done.stderr
    assert not archive.exists()


def test_an_archive_is_packed_by_compare_and_unpacked_by_archive(trained: Path, tmp_path: Path) -> None:
    told = json.loads(run("archive", "--unpack", trained / "archive", "-o", tmp_path / "runs", "--json"))
    assert told["identical"] == 0
    assert told["written"] == sum(path.is_file() for path in (tmp_path / "runs").rglob("*"))
    again = run("archive", trained / "archive", "--unpack", "-o", tmp_path / "runs")
    assert f"0 files written to {tmp_path / 'runs'}, {told['written']} were present" in again


def test_the_command_packs_what_compare_packs(trained: Path, tmp_path: Path) -> None:
    told = json.loads(run("archive", trained / "runs", "-o", tmp_path / "archive", "--json"))
    assert told["folds"] == 2
    assert told["bytes"] == sum(part.stat().st_size for part in (tmp_path / "archive").glob("*.part"))
    for name in ("archive.json", "runs-0001.part"):
        assert (tmp_path / "archive" / name).read_bytes() == (trained / "archive" / name).read_bytes()
    weights = run("archive", trained / "runs", "-o", tmp_path / "archive", "--with-weights")
    assert weights.startswith("2 completed folds in 1 file(s)")


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["archive", "{root}/absent", "-o", "{tmp}/a"], DataError, "No completed run"),
        (["archive", "--unpack", "{root}/runs", "-o", "{tmp}/a"], DataError, "No archive.json"),
        (["archive", "--unpack", "{root}/archive", "--with-weights", "-o", "{tmp}/a"], SettingError, "--with-weights"),
        (["compare", "{suite}", "--archive-weights", "-o", "{tmp}/a"], SettingError, "needs --archive"),
        (["compare", "{suite}", "--archive", "{suite}", "-o", "{tmp}/a"], SettingError, "is a file"),
        (["compare", "{suite}", "--archive", "{tmp}", "-o", "{tmp}/a"], StorageError, "not written by taichinet"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(
    words: list[str], error: type[Exception], says: str, trained: Path, suite: Path, tmp_path: Path
) -> None:
    (tmp_path / "archive.json").write_text("{}")
    with pytest.raises(error, match=says):
        run(*(word.format(root=trained, tmp=tmp_path, suite=suite) for word in words))
    assert not (tmp_path / "a").exists()
