"""`taichinet compare` and `taichinet cost` from the command line: suites, failures, costs and rejected arguments."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from cli.test_commands import TINY, run
from taichinet.cli import app as command_line
from taichinet.cli import compare_table
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import DataError, PartialFailureError, SettingError
from taichinet.experiments.grid.suite import Suite
from taichinet.experiments.training_run import RUN_IMAGES

TWO_RECIPES = {"scale": "short", "folds": [0], "set": TINY, "parts": [{"data": "busi", "recipes": ["unet", "model-1"]}]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 12, 10, 4, seed=1, size=(64, 80))


def write(folder: Path, content: object, name: str = "suite.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_suite_runs_once_and_is_printed_as_json(data: Path, tmp_path: Path) -> None:
    args = ("compare", write(tmp_path, TWO_RECIPES), "--data", data, "-o", tmp_path / "runs", "--json")
    printed = json.loads(run(*args))
    cells = printed["cells"]
    counts = {"used": 22, "empty_mask": 0, "skipped": 4, "why": ["4 normal, not requested"]}
    assert printed["used_and_skipped"] == {"busi": counts}
    assert [(cell["state"], cell["done_before"]) for cell in cells] == [("done", False), ("done", False)]
    assert cells[0]["key"] == cells[1]["key"]
    for cell in cells:  # the second is a copy of the first
        assert all((tmp_path / "runs" / cell["folder"] / name).exists() for name in RUN_IMAGES)
    assert [cell["done_before"] for cell in json.loads(run(*args))["cells"]] == [True, True]
    planned = json.loads(run("cost", *args[1:], "--seed", "0,1"))
    assert [cell["state"] for cell in planned["cells"]] == ["done", "waiting", "done", "waiting"]
    assert planned["trainings"] == 1  # the two recipes have the same content


def test_failures_are_reported_at_the_end_with_exit_code_7(data: Path, tmp_path: Path) -> None:
    args = ("compare", write(tmp_path, TWO_RECIPES), "--data", data, "-o", tmp_path / "runs")
    done = CliRunner().invoke(command_line.app, [str(arg) for arg in args])
    line = "Images of busi: 22 used, 0 of them with an empty mask; 4 skipped (4 normal, not requested)."
    assert done.stderr.splitlines()[-1] == line
    with pytest.raises(PartialFailureError, match=r"training\.epochs") as caught:
        run(*args, "--set", "training.epochs=1")
    assert caught.value.exit_code == 7


def test_former_name_of_cost_command_works_and_prints_the_new_name(tmp_path: Path) -> None:
    args = ("table2", "--scale", "short", "--gpu-tflops", "50")
    new = CliRunner().invoke(command_line.app, ["cost", *args, "--write", str(tmp_path / "new.json")])
    old = CliRunner().invoke(command_line.app, ["compare", *args, "--dry-run", "--cost", str(tmp_path / "old.json")])
    assert (tmp_path / "old.json").read_bytes() == (tmp_path / "new.json").read_bytes()
    assert (new.exit_code, old.exit_code) == (0, 0)
    assert old.stdout == new.stdout
    assert "is now `taichinet cost`" in old.stderr


def test_cost_without_data_uses_published_image_counts(tmp_path: Path) -> None:
    out = tmp_path / "cost.json"
    run("cost", "table2", "--scale", "short", "--write", out, "--gpu-tflops", 50, "--utilisation", 0.5)
    cost = json.loads(out.read_text())
    assert (cost["trainings"], cost["preparations"]) == (15, 5)  # three rows, five folds; one preparation per fold
    flop = (cost["training_pflop"] + cost["preparation_pflop"]) * 1e15
    assert cost["one_gpu"]["hours"] == pytest.approx(flop / 25e12 / 3600, abs=0.01)
    assert cost["this_machine"]["hours"] is None


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (["tabel1"], SettingError, "Did you mean 'table1'"),
        (["table1"], DataError, "--data busi=FOLDER"),
        (["table1", "--scale", "big"], SettingError, "scale 'big'"),
        (["table1", "--protocol", "group"], SettingError, "Did you mean 'grouped'"),
        (["table1", "--fold", "x"], SettingError, "0,2-4"),
    ],
)
def test_invalid_compare_arguments_raise_before_data_are_read(
    args: list[str], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        run("compare", *args, "--output", tmp_path)


def test_unknown_suite_key_is_reported_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"wrong.yaml is not valid: recipies"):
        run("compare", write(tmp_path, {**TWO_RECIPES, "recipies": []}, "wrong.yaml"))


def test_every_table_suite_contains_the_rows_of_its_table() -> None:
    from taichinet.experiments.grid.suite import table_suite
    from taichinet.experiments.paper import paper_tables

    for name, table in paper_tables().items():
        suite = table_suite(name)
        assert [list(part.recipes) for part in suite.parts] == [[r.variation for r in p.rows] for p in table.parts]
    assert table_suite("table5").parts[1].test_on == ("udiat",)


def test_fold_protocol_defaults_to_that_of_the_table() -> None:
    from taichinet.experiments.grid.suite import table_suite, vary_suite

    names = ("busi", "udiat", "tn-scui2020", "refuge")

    def protocols(suite: Suite) -> dict[str, set[str]]:
        return {
            data: {p for part in suite.parts if part.data == data for p in suite.protocols_of(part)} for data in names
        }

    default = {"busi": {"grouped"}, "udiat": {"grouped"}, "tn-scui2020": {"grouped"}, "refuge": {"official"}}
    assert protocols(table_suite("paper")) == default
    assert table_suite("table7").protocols_of(table_suite("table7").parts[0]) == ("official",)
    assert protocols(vary_suite(table_suite("paper"), protocols=["paper"])) == {name: {"paper"} for name in names}


def test_last_table_on_a_terminal_shows_the_final_state(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Redrawing at most twice per second must not leave finished rows as "running"."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then assumes a terminal
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(compare_table, "time", SimpleNamespace(monotonic=lambda: 100.0))  # no time passes
    suite = write(tmp_path, TWO_RECIPES)
    command_line.app(["compare", str(suite), "--data", str(data), "-o", str(tmp_path / "runs")], standalone_mode=False)
    output = capsys.readouterr().err
    assert "1 running" in output, "nothing was drawn before the end"
    last = output.rpartition("epoch")[2]
    assert "2 of 2 done, 0 failed, 0 running" in last
    assert "running" not in last.replace("0 running", "")


def test_calibrate_times_each_network_on_this_machine(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "cost.json"
    settings: dict[str, object] = {**TINY, "options.width": 8, "data.size": 64, "training.epochs": 1000}
    larger = {**TWO_RECIPES, "set": settings}
    run("cost", write(tmp_path, larger), "--data", data, "--calibrate", "--write", out, "--output", tmp_path)
    cost = json.loads(out.read_text())["this_machine"]
    assert cost["speed_from"].startswith("a training step of each network")
    assert cost["hours"] > 0
    assert not (tmp_path / "busi").exists(), "a network was trained"


@pytest.mark.parametrize("option", ["--fold", "--seed"])
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["0-9999999999"], "'0-9999999999' contains more than 10000 numbers"),
        (["0-999999999999"], "neither a number of up to 10 digits nor a range"),
        (["0-9000", "20000-22000"], "'20000-22000' contains more than 10000 numbers"),
        (["5-3"], "'5-3' ends before it begins. Write 3-5"),
        (["9" * 5000], "neither a number of up to 10 digits nor a range"),
        (["²"], "neither a number of up to 10 digits nor a range"),
    ],
)
def test_large_number_ranges_are_rejected_before_expansion(option: str, args: list[str], message: str) -> None:
    start = time.perf_counter()
    with pytest.raises(SettingError, match=message) as caught:
        run("compare", "table1", *(part for arg in args for part in (option, arg)))
    assert time.perf_counter() - start < 5
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "args",
    [
        ["data", "export", "x", "--format", "monai", "-o", "y", "--seed", "-1"],
        ["data", "export", "x", "--format", "monai", "-o", "y", "--seed", "9" * 30],
        ["data", "export", "x", "--format", "monai", "-o", "y", "--fold-count", "9" * 12],
        ["demo", "--seed", "9" * 30],
        ["models", "--size", "9" * 14],
        ["models", "--size", "0"],
    ],
    ids=" ".join,
)
def test_number_out_of_range_is_a_usage_error(args: list[str]) -> None:
    result = CliRunner().invoke(command_line.app, args)
    assert result.exit_code == 2
    assert f"Invalid value for '{args[-2]}'" in result.output
