"""Grids from suite to results: no repeated work, resuming, copies, failures, several processes, other data sets."""

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


class SimulatedInterruptError(BaseException):
    """Simulates Ctrl-C."""


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


def test_finished_cells_are_not_run_again(data: Path, tmp_path: Path) -> None:
    first = run(data, tmp_path, "unet", "model-3")
    assert states(first) == ["done", "done"]
    before = stamps(tmp_path)
    reported: list[int] = []
    again = run(data, tmp_path, "unet", "model-3", executor=Serial(lambda phase, row, epochs: reported.append(1)))
    assert states(again) == ["done", "done"]
    assert all(entry.done_before for entry in again.entries)
    assert not reported
    assert stamps(tmp_path) == before
    assert (tmp_path / "busi/short-unet/grouped/summary.json").is_file()


def test_identical_cells_are_trained_once_and_copied(data: Path, tmp_path: Path) -> None:
    trained: list[int] = []
    progress = run(
        data,
        tmp_path,
        "model-1",
        "unet",
        executor=Serial(lambda phase, row, epochs: trained.append(row["epoch"])),
    )
    assert trained == [1, 2]
    assert states(progress) == ["done", "done"]
    first, copied = (read_fold(tmp_path / f"busi/short-{name}/grouped/fold-0") for name in ("model-1", "unet"))
    assert copied.record.copied_from == "busi/short-model-1/grouped/fold-0"
    assert "copied_from" not in json.loads((first.folder / "result.json").read_text())
    assert copied.record.experiment.name == "short-unet"
    pd.testing.assert_frame_equal(first.scores, copied.scores)
    assert (copied.folder / "weights/model.safetensors").read_bytes() == (
        first.folder / "weights/model.safetensors"
    ).read_bytes()
    assert states(run(data, tmp_path, "model-1", "unet")) == ["done", "done"]


def test_identical_cell_with_most_epochs_is_resumed(data: Path, tmp_path: Path) -> None:
    def interrupt(phase: str, row: dict[str, Any], epochs: int) -> None:
        raise SimulatedInterruptError

    with pytest.raises(SimulatedInterruptError):
        run(data, tmp_path, "unet", executor=Serial(interrupt))
    reported: list[int] = []
    executor = Serial(lambda phase, row, epochs: reported.append(row["epoch"]))
    assert states(run(data, tmp_path, "model-1", "unet", executor=executor)) == ["done", "done"]
    assert reported == [2]
    copied = read_fold(tmp_path / "busi/short-model-1/grouped/fold-0").record
    assert copied.copied_from == "busi/short-unet/grouped/fold-0"


def test_interrupted_grid_resumes_to_identical_weights(data: Path, tmp_path: Path) -> None:
    def interrupt(phase: str, row: dict[str, Any], epochs: int) -> None:
        if (phase, row["epoch"]) == ("train", 1):
            raise SimulatedInterruptError

    with pytest.raises(SimulatedInterruptError):
        run(data, tmp_path / "cut", "taichinet", executor=Serial(interrupt))
    grid = tiny_grid(data, tmp_path / "cut", "taichinet")
    progress = read_progress(grid.cells, grid.transfers)
    assert progress.entries[0].note == "interrupted after epoch 1"
    reported: list[tuple[str, int]] = []
    executor = Serial(lambda phase, row, epochs: reported.append((phase, row["epoch"])))
    assert states(run_grid(progress, executor)) == ["done"]
    assert reported == [("train", 2)]
    run(data, tmp_path / "whole", "taichinet")
    cell = "busi/short-taichinet/grouped/fold-0/weights/model.safetensors"
    assert (tmp_path / "cut" / cell).read_bytes() == (tmp_path / "whole" / cell).read_bytes()


def test_folder_with_other_settings_fails_only_its_cell_and_is_not_changed(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path, "unet")
    result = tmp_path / "busi/short-unet/grouped/fold-0/result.json"
    before = result.read_bytes()
    other = run(data, tmp_path, "unet", "model-3", set=SETTINGS_OF_ONE_EPOCH)
    assert states(other) == ["failed", "done"]
    assert "setting training.epochs (2, requested: 1)" in other.failed[0].note
    assert result.read_bytes() == before


def test_failed_cell_does_not_stop_others_and_is_named_by_dependent_cells(data: Path, tmp_path: Path) -> None:
    bad = {**SETTINGS_OF_ONE_EPOCH, "objective.positive_weight": 1e39, "training.batch_size": 3}
    grid = tiny_grid(data, tmp_path, "unet", "model-1", test_on=("busi",), set=bad)
    good = tiny_grid(data, tmp_path, "model-3", set=SETTINGS_OF_ONE_EPOCH)
    progress = run_grid(read_progress((*grid.cells, *good.cells), grid.transfers), Serial())
    assert states(progress) == ["failed", "failed", "done", "failed", "failed"]
    assert "learning rate" in progress.entries[0].note
    assert progress.entries[1].note == "the same training failed as busi short-unet grouped fold 0"
    assert progress.entries[3].note == "needs busi short-unet grouped fold 0, which failed"


def test_unexpected_error_writes_traceback_to_cell_folder(data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from taichinet.experiments.grid import work

    monkeypatch.setattr(work, "run_fold", lambda *_: 1 / 0)
    progress = run(data, tmp_path, "unet")
    assert "ZeroDivisionError" in progress.failed[0].note
    assert "ZeroDivisionError" in (progress.failed[0].task.folder / "failure.txt").read_text()


@pytest.mark.timeout(600)  # every process imports torch
def test_several_processes_write_same_files_as_one(data: Path, tmp_path: Path) -> None:
    recipes = ("taichinet", "head-a")  # both need the same mined regions
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
    """The first call ends its process with SIGKILL."""
    mark = task.folder.parent / "died"
    if not mark.exists():
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return run_task(task)


def always_killed(task: Task) -> TaskResult:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.timeout(600)  # every process imports torch
def test_killed_process_is_replaced_and_repeated_kills_are_reported(
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


def test_networks_are_scored_on_other_data_set_after_training(data: Path, tmp_path: Path) -> None:
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


def test_cell_locked_by_another_command_is_retried(data: Path, tmp_path: Path) -> None:
    grid = tiny_grid(data, tmp_path, "unet")
    (cell,) = grid.cells

    class Elsewhere(Serial):
        """Reports the cell as busy at the first call, as if another command worked on it."""

        waits = 0

        def wait(self, seconds: float) -> list[TaskResult]:
            self.waits += 1
            if self.waits == 1:
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


def test_key_depends_on_content_and_not_on_name(data: Path, tmp_path: Path) -> None:
    def key(*recipes: str, **changes: Any) -> Cell:
        return tiny_grid(data, tmp_path, *recipes, **changes).cells[0]

    unet = key("unet")
    assert key("model-1").key == unet.key
    assert replace(unet).key == unet.key
    others = [key("model-3"), key("unet", folds=(1,)), key("unet", protocols=("paper",)), key("unet", seeds=(1,))]
    assert len({unet.key, *(other.key for other in others)}) == 5
    assert others[3].experiment.name == "short-unet+seed1"


def test_images_of_every_data_set_of_the_grid_are_counted(data: Path, tmp_path: Path) -> None:
    other = make_fake_ddti(tmp_path / "other")
    grid = tiny_grid(data, tmp_path / "runs", "unet", more=(f"ddti={other}",), test_on=("ddti",))
    counts = count_images(grid)
    assert list(counts) == ["busi", "ddti"]
    assert (counts["busi"].used, counts["busi"].empty, counts["busi"].normal) == (22, 0, 4)
    assert (counts["ddti"].used, counts["ddti"].skipped) == (len(open_dataset(f"ddti={other}").samples), 0)
    next(other.rglob("*.PNG")).write_bytes(b"damaged since")
    assert list(count_images(grid)) == ["busi"]  # the evaluation on the unreadable data set fails with the reason
    settings = {**SETTINGS, "data.include_normal": True, "data.validation_share": 0.5}
    both = plan_grid([suite("unet"), suite("unet", set=settings)], name_data([str(data)]), tmp_path / "both")
    used = {title: (counted.used, counted.empty) for title, counted in count_images(both).items()}
    assert used == {"busi": (22, 0), "busi with normal images": (26, 4)}
