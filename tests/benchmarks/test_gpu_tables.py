"""The script that trains the tables within a budget: its plan, what it skips, and the table of times."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli.test_commands import TINY

from taichinet.datasets.folds import FoldPlan, Split
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import SettingError
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.grid.budget import Budget
from taichinet.experiments.grid.cells import name_data, plan_grid
from taichinet.experiments.grid.suite import vary_suite
from taichinet.experiments.recipes.catalogue import get_recipe

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import gpu_tables  # noqa: E402

SPEEDS = ROOT / "results" / "benchmarks" / "gpu_training-nvidia-h200.json"


def start(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """Exit code of the script; budgets, epochs and data are tiny."""
    monkeypatch.setattr(sys, "argv", ["gpu_tables.py", *map(str, words)])
    monkeypatch.setattr("time.process_time", lambda: 1.0)  # that of this process is of all earlier tests
    with pytest.raises(SystemExit) as ended:
        gpu_tables.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def tiny(**changes: object) -> list[str]:
    settings = {**TINY, "training.epochs": 1, **changes}
    return ["--scale", "short", *(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 12, 10, 4, seed=1, size=(64, 80))


def test_the_stages_train_the_tables_in_order_with_each_computation_once() -> None:
    stages = gpu_tables.plan_stages()
    assert list(stages) == [
        *("networks", "table1", "table4", "table2", "table3", "paper-folds", "seeds", "ddti", "drishti-gs")
    ]
    new: dict[str, list[str]] = {}
    known: set[str] = set()
    for name, stage in stages.items():
        studies = [study for study in gpu_tables.studies_of(stage.suite) if study.key not in known]
        known |= {study.key for study in studies}
        new[name] = [study.experiment.name for study in studies]
    assert new["networks"] == ["busi-taichinet", "busi-unet"]
    assert new["table1"] == [f"busi-model-{number}" for number in range(2, 8)], "Model 1 is the U-Net"
    assert len(new["table4"]) == 9 + 11, "without and with normal images"
    assert new["table2"] == ["busi-consistent"]
    assert new["table3"] == ["busi-head-a", "busi-head-b"]
    assert new["paper-folds"] == ["busi-taichinet", "busi-unet"]
    assert new["seeds"] == [f"busi-{network}+seed{seed}" for network in ("taichinet", "unet") for seed in (1, 2)], (
        "the recipes have seed 0"
    )
    assert len(new["ddti"]) == len(new["drishti-gs"]) == 9


def test_fold_results_are_counted_where_compare_writes_them() -> None:
    (fundus, *_) = gpu_tables.studies_of(gpu_tables.plan_stages()["drishti-gs"].suite)
    assert fundus.results == [Path("drishti-gs/busi-unet/official/fold-0/result.json")]
    normal = gpu_tables.studies_of(gpu_tables.plan_stages()["table4"].suite)[-1]
    assert normal.results[4] == Path("busi/busi-taichinet+normal/grouped/fold-4/result.json")
    assert len(normal.results) == 5


def test_stages_are_selected_and_left_out_without_their_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(gpu_tables.select_stages([], "table3", ["busi"])) == ["table3", "paper-folds", "seeds"]
    assert "ddti" in capsys.readouterr().err
    assert list(gpu_tables.select_stages(["ddti", "networks"], None, ["busi", "ddti"])) == ["networks", "ddti"]


@pytest.mark.parametrize(
    ("only", "start_at", "given", "says"),
    [
        (["table9"], None, ["busi"], "Unknown stage 'table9'"),
        ([], "end", ["busi"], "Unknown stage 'end'"),
        (["networks", "ddti"], None, ["busi"], "--data ddti=PATH"),
        ([], None, [], "--data busi=PATH"),
    ],
)
def test_a_stage_that_cannot_be_trained_is_refused(only: list[str], start_at: str, given: list[str], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        gpu_tables.select_stages(only, start_at, given)


def test_networks_are_tested_on_ddti_only_if_it_is_given() -> None:
    suite = gpu_tables.plan_stages()["networks"].suite
    assert gpu_tables.without_tests(suite, ["busi", "ddti"]) == suite
    assert gpu_tables.without_tests(suite, ["busi"]).parts[0].test_on == ()


def test_settings_and_scale_reach_every_study() -> None:
    suite = vary_suite(gpu_tables.plan_stages()["seeds"].suite, scale="demo", set={"training.epochs": 3})
    studies = gpu_tables.studies_of(suite)
    assert {study.experiment.training.epochs for study in studies} == {3}
    assert {study.experiment.name.partition("-")[0] for study in studies} == {"demo"}


def write_summary(folder: Path, experiment: Experiment, **changes: Any) -> None:
    """A committed summary of a study, with other settings or folds."""
    present = json.loads((ROOT / "results/busi/busi-unet/grouped/summary.json").read_text(encoding="utf-8"))
    content = {**present, "experiment": experiment.model_dump(mode="json"), **changes}
    path = folder / "busi" / experiment.name / "grouped" / "summary.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_completed_study_is_skipped_unless_folds_or_settings_differ(tmp_path: Path) -> None:
    unet = get_recipe("busi-unet")
    key = gpu_tables.study_key(unet, "busi", "grouped")
    write_summary(tmp_path / "same", vary(unet, {"name": "another-name", "training.precision": "bf16"}))
    assert gpu_tables.completed_keys([tmp_path / "same"]) == {key}
    write_summary(tmp_path / "folds", unet, folds_done=[0, 1, 3])
    assert gpu_tables.completed_keys([tmp_path / "folds"]) == set()
    others: list[dict[str, object]] = [{"training.epochs": 39}, {"training.seed": 1}, {"data.include_normal": True}]
    for number, changes in enumerate(others):
        write_summary(tmp_path / str(number), vary(unet, changes))
        assert key not in gpu_tables.completed_keys([tmp_path / str(number)])
    with pytest.raises(SettingError, match=r"--done .* contains no DATASET/RECIPE/PROTOCOL/summary.json"):
        gpu_tables.completed_keys([tmp_path / "same", tmp_path / "absent"])


@pytest.mark.slow
def test_the_budget_ends_it_and_the_same_command_continues(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, archive = tmp_path / "runs", tmp_path / "archive"
    words = ["--data", data, "--output", runs, "--only", "networks", "--archive", archive, *tiny()]
    with monkeypatch.context() as patch:  # a fast machine completes a fold in the second that `compare` always gets
        patch.setattr(Budget, "left", property(lambda budget: 0.0))
        assert start(monkeypatch, *words, "--budget", "1s") == 9
    assert "TaiChiNet and U-Net: 0 of 4 folds done, 4 left" in capsys.readouterr().out
    assert not archive.exists()
    assert start(monkeypatch, *words, "--budget", "1h") == 0
    assert "TaiChiNet and U-Net: 4 of 4 folds done\n" in capsys.readouterr().out
    assert (archive / "archive.json").is_file()
    again = ["--data", data, "--output", tmp_path / "other", "--only", "networks", "--done", runs, *tiny()]
    assert start(monkeypatch, *again) == 0, "all studies are completed in the folder of --done"
    assert "4 of 4 folds done" in capsys.readouterr().out
    assert not (tmp_path / "other").exists()


def test_the_budget_of_compare_leaves_time_for_packing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []

    def compare() -> None:
        given.extend(sys.argv)
        raise SystemExit(7)

    monkeypatch.setattr("taichinet.cli.app.main", compare)
    words = ("--data", data, "-o", tmp_path, "--only", "networks", "--budget", "1h", "-j", "3", "--archive", "a")
    assert start(monkeypatch, *words, "--archive-weights") == 7, "the exit code of compare"
    assert given[:2] == ["taichinet", "compare"]
    seconds = int(given[given.index("--budget") + 1].removesuffix("s"))
    assert 3600 - 600 < seconds <= 3600 - gpu_tables.RESERVE[1]
    assert given[given.index("--jobs") + 1] == "3"
    assert "--archive-weights" in given


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--budget", "10"], 4, "is not a time"),
        (["--data", "nowhere"], 3, "nowhere"),
        (["--costs", "{tmp}/absent.md", "--speeds", SPEEDS], 3, "absent.md"),
        (["--costs", "{tmp}/page.md", "--speeds", SPEEDS], 4, "does not contain <!-- costs: begin -->"),
        (["--costs", "{tmp}/page.md"], 2, "given together"),
    ],
)
def test_wrong_options_end_with_a_message(
    words: list[object],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "page.md").write_text("no marks", encoding="utf-8")
    assert start(monkeypatch, *(str(word).replace("{tmp}", str(tmp_path)) for word in words)) == code
    assert says in capsys.readouterr().err


def test_speeds_are_those_with_all_faster_parts(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    speed = {"plain": {"images_per_second": 1}, "CUDA graph": {"images_per_second": 2.5}}
    record.write_text(json.dumps({"taichinet": speed, "unet": {"plain": {}}, "size": 224}), encoding="utf-8")
    assert gpu_tables.read_speeds(record) == {"taichinet": 2.5}
    record.write_text(json.dumps({"unet": speed}), encoding="utf-8")
    with pytest.raises(SettingError, match="no speed of taichinet"):
        gpu_tables.read_speeds(record)


def test_times_are_written_between_the_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = {name: stage for name, stage in gpu_tables.plan_stages().items() if name in ("networks", "seeds")}
    monkeypatch.setattr(gpu_tables, "plan_stages", lambda: stages)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- costs: begin -->\nold\n<!-- costs: end -->\nafter\n", encoding="utf-8")
    gpu_tables.write_costs(page, SPEEDS)
    first = page.read_text(encoding="utf-8")
    assert first.startswith("before\n<!-- costs: begin -->\nMeasured speed (gpu_training-nvidia-h200.json)")
    assert first.endswith("<!-- costs: end -->\nafter\n")
    assert "| `networks` | 10 | 36.1 |" in first
    assert "| `seeds` | 20 | 43.3 |" in first, "the mining stages are those of the first stage"
    gpu_tables.write_costs(page, SPEEDS)
    assert page.read_text(encoding="utf-8") == first


def test_the_page_has_the_table_of_all_stages() -> None:
    text = (ROOT / "docs" / "contribute" / "gpu.md").read_text(encoding="utf-8")
    table = text.partition("<!-- costs: begin -->")[2].partition("<!-- costs: end -->")[0]
    for name, stage in gpu_tables.plan_stages().items():
        assert f"| {stage.title} | `{name}` |" in table


def test_a_fold_is_split_once_for_all_recipes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folds: list[int] = []
    split = FoldPlan.split

    def counted(plan: FoldPlan, fold: int, *rest: Any) -> Split:
        folds.append(fold)
        return split(plan, fold, *rest)

    suite = vary_suite(gpu_tables.plan_stages()["table1"].suite, scale="short", set=TINY)
    plan_grid([suite], name_data([str(data)]), tmp_path)  # draws the folds, and checks that each can be divided
    monkeypatch.setattr(FoldPlan, "split", counted)
    grid = plan_grid([suite], name_data([str(data)]), tmp_path)
    assert len(grid.cells) == 8 * 2
    assert folds == [0, 1]
