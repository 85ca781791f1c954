"""Time budgets of a grid: what is not started, what is stopped, and the estimates from finished tasks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from experiments.grid.grids import SETTINGS, phantoms, tiny_grid
from taichinet.experiments.grid import budget as budget_module
from taichinet.experiments.grid.budget import Budget, BudgetEndedError, Estimates
from taichinet.experiments.grid.cells import Cell
from taichinet.experiments.grid.cost import mining_flop, speed_key, training_flop, work_of
from taichinet.experiments.grid.executors import Processes, Serial
from taichinet.experiments.grid.progress import Progress, read_progress
from taichinet.experiments.grid.run_grid import run_grid
from taichinet.experiments.grid.work import Task, TaskResult
from taichinet.experiments.records import read_fold


class Recorder:
    """An executor that trains nothing: every task ends as failed."""

    slots = 1

    def __init__(self) -> None:
        self.started: list[Task] = []
        self._ended: list[TaskResult] = []

    def start(self, task: Task) -> None:
        self.started.append(task)
        self._ended.append(TaskResult(task, "failed", "not trained"))

    def wait(self, seconds: float) -> list[TaskResult]:
        ended, self._ended = self._ended, []
        return ended

    def stop(self) -> None:
        pass


class FixedSpeeds(Estimates):
    """Estimates with given FLOP/s of the training steps of each network."""

    def __init__(self, speeds: dict[str, float]) -> None:
        super().__init__(measure_steps=False)
        self._step_speeds = speeds


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantoms(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Progress]:
    """A grid with an easy-to-hard recipe and a plain one, fold 0, within a budget that is long enough."""
    out = tmp_path_factory.mktemp("trained")
    grid = tiny_grid(data, out, "taichinet", "unet")
    progress = run_grid(read_progress(grid.cells, ()), Serial(), tick_seconds=0.05, budget=Budget(3600))
    return out, progress


def planned(data: Path, out: Path, *recipes: str, **changes: Any) -> Progress:
    grid = tiny_grid(data, out, *recipes, **changes)
    return read_progress(grid.cells, grid.transfers)


def long(epochs: int) -> dict[str, Any]:
    return {"set": {**SETTINGS, "training.epochs": epochs}}


def test_a_long_enough_budget_changes_nothing(trained: tuple[Path, Progress]) -> None:
    _, progress = trained
    assert [entry.state for entry in progress.entries] == ["done", "done"]
    assert progress.unfinished == []


def test_a_cell_that_cannot_finish_is_not_started_and_a_shorter_one_is(data: Path, tmp_path: Path) -> None:
    progress = planned(data, tmp_path, "taichinet", "unet")
    speeds = {}
    for entry, seconds in zip(progress.entries, (100.0, 5.0), strict=True):
        assert isinstance(entry.task, Cell)
        work = work_of(entry.task)
        speeds[speed_key(entry.task.experiment)] = (training_flop(work) + mining_flop(work)) / seconds
    executor = Recorder()
    run_grid(progress, executor, tick_seconds=0.01, budget=Budget(50, FixedSpeeds(speeds)))
    assert [task.title for task in executor.started] == ["busi short-unet grouped fold 0"]
    left = progress.unfinished
    assert [entry.task.title for entry in left] == ["busi short-taichinet grouped fold 0"]
    assert left[0].estimate == pytest.approx(100.0)


def test_nothing_is_started_after_the_end(data: Path, tmp_path: Path) -> None:
    progress, executor = planned(data, tmp_path, "unet", folds=(0, 1)), Recorder()
    run_grid(progress, executor, budget=Budget(1, FixedSpeeds({}), began=time.monotonic() - 2))
    assert executor.started == []
    assert len(progress.unfinished) == 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_running_cell_is_stopped_at_the_end_and_resumed(jobs: int, data: Path, tmp_path: Path) -> None:
    progress = planned(data, tmp_path, "unet", **long(100_000))
    epochs: list[int] = []
    executor = Serial(lambda phase, row, number: epochs.append(row["epoch"])) if jobs == 1 else Processes(jobs)
    began = time.monotonic()
    seconds = 20 if jobs == 1 else 60
    run_grid(progress, executor, tick_seconds=0.2, budget=Budget(seconds, FixedSpeeds({})))
    assert time.monotonic() - began < seconds + 60
    entry = progress.entries[0]
    assert entry.state == "waiting"
    assert entry.epoch > 0
    assert (entry.task.folder / "checkpoint.pt").exists()
    if jobs > 1:
        return
    assert not (entry.task.folder / "lock").exists()
    again = planned(data, tmp_path, "unet", **long(100_000))
    assert again.entries[0].note == f"interrupted after epoch {entry.epoch}"
    resumed: list[int] = []
    budget = Budget(20, FixedSpeeds({}))
    run_grid(again, Serial(lambda phase, row, number: resumed.append(row["epoch"])), budget=budget)
    assert resumed[0] in (entry.epoch, entry.epoch + 1)  # an epoch may have been stopped before its checkpoint


def test_ctrl_c_within_a_budget_is_still_an_interruption(data: Path, tmp_path: Path) -> None:
    def interrupt(phase: str, row: dict[str, Any], epochs: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run_grid(planned(data, tmp_path, "unet"), Serial(interrupt), budget=Budget(3600, FixedSpeeds({})))
    assert not isinstance(caught.value, BudgetEndedError)


def test_a_finished_cell_gives_the_estimate_of_its_network(data: Path, trained: tuple[Path, Progress]) -> None:
    out, _ = trained
    progress = planned(data, out, "unet", folds=(0, 1))
    estimates = Estimates(measure_steps=False)
    estimates.learn(progress)
    done = progress.entries[0].task
    record = read_fold(done.folder).record
    assert isinstance(done, Cell)
    new = progress.entries[1].task
    assert isinstance(new, Cell)
    expected = record.wall_seconds * training_flop(work_of(new)) / training_flop(work_of(done))
    assert estimates.seconds(progress.entries[1]) == pytest.approx(expected)


def test_the_mining_stage_counts_once(data: Path, trained: tuple[Path, Progress]) -> None:
    out, _ = trained
    progress = planned(data, out, "taichinet", folds=(0, 1), seeds=(0, 1))
    estimates = Estimates(measure_steps=False)
    estimates.learn(progress)
    by_title = {entry.task.title: estimates.seconds(entry) for entry in progress.entries}
    mined = by_title["busi short-taichinet+seed1 grouped fold 0"]
    unmined = by_title["busi short-taichinet+seed1 grouped fold 1"]
    record = read_fold(progress.entries[0].task.folder).record
    assert mined is not None
    assert unmined is not None
    assert record.mining is not None
    assert unmined - mined == pytest.approx(record.mining.seconds, rel=0.3)  # one image more or less


def test_results_of_other_hardware_are_not_used(
    data: Path, trained: tuple[Path, Progress], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = trained
    monkeypatch.setattr(budget_module, "describe_machine", lambda: {"processor": "another", "accelerator": "H100"})
    progress = planned(data, out, "unet", folds=(0, 1))
    estimates = Estimates(measure_steps=False)
    estimates.learn(progress)
    assert estimates.seconds(progress.entries[1]) is None


def test_training_steps_are_timed_without_a_finished_training_and_corrected_by_others(
    data: Path, trained: tuple[Path, Progress], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = trained
    progress = planned(data, out, "unet", "taichinet", "attention-unet", set={**SETTINGS})
    new = progress.entries[2]
    unet, attention = (speed_key(progress.entries[i].task.experiment) for i in (0, 2))  # type: ignore[union-attr]
    timed: list[str] = []

    def calibrate(experiments: Any, say: Any) -> dict[str, float]:
        timed.extend(recipe.name for recipe in experiments)
        return {speed_key(recipe): 1e9 for recipe in experiments}

    monkeypatch.setattr(budget_module, "calibrate", calibrate)
    estimates = Estimates()
    assert isinstance(new.task, Cell)
    assert estimates.seconds(new, measure=False) is None
    assert estimates.seconds(new) == pytest.approx(training_flop(work_of(new.task)) / 1e9)
    estimates.seconds(progress.entries[0])
    assert timed == ["short-attention-unet", "short-unet"]
    estimates.learn(progress)
    ratio = estimates._speeds[unet][0] / estimates._step_speeds[unet]
    assert estimates.seconds(new) == pytest.approx(training_flop(work_of(new.task)) / 1e9 / ratio)
    assert attention not in estimates._speeds
