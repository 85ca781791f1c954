"""A grid from suite to results: once only, resumed, copied, going on past failures; several processes; other data."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from fakes.ddti import make_fake_ddti

from experiments.grid.grids import SETTINGS, phantoms, suite, tiny_grid
from taichinet.datasets.catalogue import open_dataset
from taichinet.experiments.grid.cells import Cell, count_images, name_data, plan_grid
from taichinet.experiments.grid.executors import Processes, Serial
from taichinet.experiments.grid.progress import Progress, read_progress
from taichinet.experiments.grid.run_grid import run_grid
from taichinet.experiments.grid.work import Task, TaskResult, run_task
from taichinet.experiments.records import read_fold

SETTINGS_OF_ONE_EPOCH = {**SETTINGS, "training.epochs": 1}


class PowerCutError(BaseException):
    """Stands for Ctrl-C."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantoms(tmp_path_factory.mktemp("data"))


def run(data: Path, out: Path, *recipes: str, executor: Any = None, **changes: Any) -> Progress:
    grid = tiny_grid(data, out, *recipes, **changes)
    return run_grid(
        read_progress(grid.cells, grid.transfers), executor or Serial(), tick_seconds=0.05, busy_seconds=0.2
    )


def states(progress: Progress) -> list[str]:
    return [entry.state for entry in progress.entries]


def stamps(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}


def test_what_is_done_is_never_done_again(data: Path, tmp_path: Path) -> None:
    first = run(data, tmp_path, "unet", "model-3")
    assert states(first) == ["done", "done"]
    before = stamps(tmp_path)
    heard: list[int] = []
    again = run(data, tmp_path, "unet", "model-3", executor=Serial(lambda phase, row, epochs: heard.append(1)))
    assert states(again) == ["done", "done"]
    assert all(entry.done_before for entry in again.entries)
    assert not heard
    assert stamps(tmp_path) == before
    assert (tmp_path / "busi/short-unet/grouped/summary.json").is_file()


def test_the_same_content_under_two_names_trains_once_and_says_so(data: Path, tmp_path: Path) -> None:
    trained: list[int] = []
    progress = run(
        data, tmp_path, "model-1", "unet", executor=Serial(lambda phase, row, epochs: trained.append(row["epoch"]))
    )
    assert trained == [1, 2]
    assert states(progress) == ["done", "done"]
    one, other = (read_fold(tmp_path / f"busi/short-{name}/grouped/fold-0") for name in ("model-1", "unet"))
    assert other.record.copied_from == "busi/short-model-1/grouped/fold-0"
    assert "copied_from" not in json.loads((one.folder / "result.json").read_text())
    assert other.record.experiment.name == "short-unet"
    pd.testing.assert_frame_equal(one.scores, other.scores)
    assert (other.folder / "weights/model.safetensors").read_bytes() == (
        one.folder / "weights/model.safetensors"
    ).read_bytes()
    assert states(run(data, tmp_path, "model-1", "unet")) == ["done", "done"]


def test_of_equal_cells_the_one_that_has_come_farthest_is_gone_on_with(data: Path, tmp_path: Path) -> None:
    def cut(phase: str, row: dict[str, Any], epochs: int) -> None:
        raise PowerCutError

    with pytest.raises(PowerCutError):
        run(data, tmp_path, "unet", executor=Serial(cut))
    heard: list[int] = []
    executor = Serial(lambda phase, row, epochs: heard.append(row["epoch"]))
    assert states(run(data, tmp_path, "model-1", "unet", executor=executor)) == ["done", "done"]
    assert heard == [2]
    copied = read_fold(tmp_path / "busi/short-model-1/grouped/fold-0").record
    assert copied.copied_from == "busi/short-unet/grouped/fold-0"


def test_an_interrupted_grid_goes_on_where_it_stopped_and_ends_alike(data: Path, tmp_path: Path) -> None:
    def cut(phase: str, row: dict[str, Any], epochs: int) -> None:
        if (phase, row["epoch"]) == ("train", 1):
            raise PowerCutError

    with pytest.raises(PowerCutError):
        run(data, tmp_path / "cut", "taichinet", executor=Serial(cut))
    grid = tiny_grid(data, tmp_path / "cut", "taichinet")
    progress = read_progress(grid.cells, grid.transfers)
    assert progress.entries[0].note == "interrupted after epoch 1"
    heard: list[tuple[str, int]] = []
    executor = Serial(lambda phase, row, epochs: heard.append((phase, row["epoch"])))
    assert states(run_grid(progress, executor)) == ["done"]
    assert heard == [("train", 2)]
    run(data, tmp_path / "whole", "taichinet")
    cell = "busi/short-taichinet/grouped/fold-0/weights/model.safetensors"
    assert (tmp_path / "cut" / cell).read_bytes() == (tmp_path / "whole" / cell).read_bytes()


def test_a_folder_of_other_settings_fails_its_cell_alone_and_stays_as_it_is(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path, "unet")
    result = tmp_path / "busi/short-unet/grouped/fold-0/result.json"
    before = result.read_bytes()
    other = run(data, tmp_path, "unet", "model-3", set=SETTINGS_OF_ONE_EPOCH)
    assert states(other) == ["failed", "done"]
    assert "setting training.epochs (2, requested: 1)" in other.failed[0].note
    assert result.read_bytes() == before


def test_what_fails_stops_no_other_and_what_needs_it_fails_with_its_name(data: Path, tmp_path: Path) -> None:
    bad = {**SETTINGS_OF_ONE_EPOCH, "objective.positive_weight": 1e39, "training.batch_size": 3}
    grid = tiny_grid(data, tmp_path, "unet", "model-1", test_on=("busi",), set=bad)
    good = tiny_grid(data, tmp_path, "model-3", set=SETTINGS_OF_ONE_EPOCH)
    progress = run_grid(read_progress((*grid.cells, *good.cells), grid.transfers), Serial())
    assert states(progress) == ["failed", "failed", "done", "failed", "failed"]
    assert "learning rate" in progress.entries[0].note
    assert progress.entries[1].note == "the same training failed as busi short-unet grouped fold 0"
    assert progress.entries[3].note == "needs busi short-unet grouped fold 0, which failed"


def test_a_defect_leaves_its_traceback_beside_the_cell(data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from taichinet.experiments.grid import work

    monkeypatch.setattr(work, "run_fold", lambda *_: 1 / 0)
    progress = run(data, tmp_path, "unet")
    assert "ZeroDivisionError" in progress.failed[0].note
    assert "ZeroDivisionError" in (progress.failed[0].task.folder / "failure.txt").read_text()


@pytest.mark.timeout(600)  # every process imports torch anew
def test_several_processes_end_with_the_files_of_one(data: Path, tmp_path: Path) -> None:
    recipes = ("taichinet", "head-a")  # both wait for one preparation
    run(data, tmp_path / "one", *recipes)
    progress = run(data, tmp_path / "two", *recipes, executor=Processes(2, threads=torch.get_num_threads()))
    assert states(progress) == ["done", "done"]
    assert len(list((tmp_path / "two/mining").glob("*/provenance.json"))) == 1
    assert not list((tmp_path / "two").rglob("*lock*"))
    for name in recipes:
        cell = f"busi/short-{name}/grouped/fold-0"
        for file in ("weights/model.safetensors", "scores.csv"):
            assert (tmp_path / "one" / cell / file).read_bytes() == (tmp_path / "two" / cell / file).read_bytes()


def killed_once(task: Task) -> TaskResult:
    """Dies the first time by a signal that no process can catch."""
    mark = task.folder.parent / "died"
    if not mark.exists():
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return run_task(task)


def always_killed(task: Task) -> TaskResult:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.timeout(600)  # every process imports torch anew
def test_a_process_that_is_killed_is_replaced_and_one_that_always_dies_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = run(data, tmp_path, "unet", executor=Processes(1, threads=1, work=killed_once))
    assert states(progress) == ["done"]
    assert progress.entries[0].attempts == 1
    monkeypatch.setattr("taichinet.experiments.grid.run_grid.ATTEMPTS", 2)
    progress = run(data, tmp_path / "again", "unet", executor=Processes(1, threads=1, work=always_killed))
    assert states(progress) == ["failed"]
    assert "SIGKILL" in progress.failed[0].note
    assert "2 attempts" in progress.failed[0].note


def test_networks_are_scored_on_another_data_set_when_their_folds_are_done(data: Path, tmp_path: Path) -> None:
    other = make_fake_ddti(tmp_path / "other")
    arguments = {"more": (f"ddti={other}",), "test_on": ("ddti",), "folds": (0, 1)}
    progress = run(data, tmp_path / "runs", "unet", **arguments)
    assert states(progress) == ["done", "done", "done"]
    folder = tmp_path / "runs/busi/short-unet/grouped/on-ddti"
    scores = pd.read_csv(folder / "scores.csv")
    assert scores.groupby("key")["fold"].nunique().eq(2).all()
    summary = json.loads((folder / "summary.json").read_text())
    lesion = next(group for group in summary["summary"]["groups"] if group["group"] == "lesion")
    by_fold = scores[scores["true_pixels"] > 0].fillna({"dice": 0}).groupby("fold")["dice"].mean()
    assert lesion["network"]["dice"]["mean"] == pytest.approx(by_fold.mean(), abs=1e-5)
    assert lesion["network"]["dice"]["std"] == pytest.approx(by_fold.std(), abs=1e-5)
    again = run(data, tmp_path / "runs", "unet", **arguments)
    assert again.entries[2].done_before


def test_a_cell_that_another_command_works_on_is_waited_for(data: Path, tmp_path: Path) -> None:
    grid = tiny_grid(data, tmp_path, "unet")
    (cell,) = grid.cells

    class Elsewhere(Serial):
        """Busy the first time, as if another command had the cell."""

        asked = 0

        def wait(self, seconds: float) -> list[TaskResult]:
            self.asked += 1
            if self.asked == 1:
                return [TaskResult(self._tasks.pop(), "busy", "worked on by process 1 on node")]
            return super().wait(seconds)

    seen: list[str] = []
    progress = run_grid(
        read_progress((cell,), ()),
        Elsewhere(),
        lambda p: seen.append(p.entries[0].state),
        tick_seconds=0.05,
        busy_seconds=0.1,
    )
    assert "elsewhere" in seen
    assert states(progress) == ["done"]


def test_a_key_is_of_the_content_and_not_of_the_name(data: Path, tmp_path: Path) -> None:
    def key(*recipes: str, **changes: Any) -> Cell:
        return tiny_grid(data, tmp_path, *recipes, **changes).cells[0]

    unet = key("unet")
    assert key("model-1").key == unet.key
    assert replace(unet).key == unet.key
    others = [key("model-3"), key("unet", folds=(1,)), key("unet", protocols=("paper",)), key("unet", seeds=(1,))]
    assert len({unet.key, *(other.key for other in others)}) == 5
    assert others[3].experiment.name == "short-unet+seed1"


def test_images_are_counted_of_every_data_set_that_a_grid_reads(data: Path, tmp_path: Path) -> None:
    other = make_fake_ddti(tmp_path / "other")
    grid = tiny_grid(data, tmp_path / "runs", "unet", more=(f"ddti={other}",), test_on=("ddti",))
    counts = count_images(grid)
    assert list(counts) == ["busi", "ddti"]
    assert (counts["busi"].used, counts["busi"].empty, counts["busi"].normal) == (22, 0, 4)
    assert (counts["ddti"].used, counts["ddti"].skipped) == (len(open_dataset(f"ddti={other}").samples), 0)
    next(other.rglob("*.PNG")).write_bytes(b"damaged since")
    assert list(count_images(grid)) == ["busi"]  # the evaluation on the other one fails with the reason
    settings = {**SETTINGS, "data.include_normal": True, "data.validation_share": 0.5}
    both = plan_grid([suite("unet"), suite("unet", set=settings)], name_data([str(data)]), tmp_path / "both")
    used = {title: (one.used, one.empty) for title, one in count_images(both).items()}
    assert used == {"busi": (22, 0), "busi with normal images": (26, 4)}
