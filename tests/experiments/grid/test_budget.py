"""Time budgets of a grid: what is not started, what is stopped, and the estimates from finished tasks."""

from __future__ import annotations

import signal
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


def end_budget() -> None:
    """The alarm of the budget rings now."""
    signal.setitimer(signal.ITIMER_REAL, 0.001)


def test_the_end_of_the_budget_interrupts_a_computation() -> None:
    before = signal.getsignal(signal.SIGALRM)
    began = time.monotonic()
    with pytest.raises(BudgetEndedError), Budget(0.2).enforced():
        time.sleep(60)
    assert time.monotonic() - began < 30
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_cell_in_this_process_is_stopped_at_the_end_and_resumed(data: Path, tmp_path: Path) -> None:
    epochs: list[int] = []

    def after_epoch(phase: str, row: dict[str, Any], number: int) -> None:
        epochs.append(row["epoch"])
        if row["epoch"] == 2:
            end_budget()

    progress = planned(data, tmp_path, "unet", **long(1000))
    run_grid(progress, Serial(after_epoch), budget=Budget(3600, FixedSpeeds({})))
    entry = progress.entries[0]
    assert epochs[-1] < 1000
    assert entry.state == "waiting"
    assert entry.epoch in (epochs[-1], epochs[-1] + 1)  # the next epoch may have ended before the alarm
    assert (entry.task.folder / "checkpoint.pt").exists()
    assert not (entry.task.folder / "lock").exists()
    stopped = epochs[-1]
    again = planned(data, tmp_path, "unet", **long(1000))
    epochs.clear()

    def stop_after_epoch(*row: Any) -> None:
        after_epoch(*row)
        end_budget()

    run_grid(again, Serial(stop_after_epoch), budget=Budget(3600, FixedSpeeds({})))
    assert epochs[0] in (stopped + 1, stopped + 2)  # a checkpoint is written before the epoch is reported


def test_cells_in_other_processes_are_stopped_at_the_end(data: Path, tmp_path: Path) -> None:
    def on_change(progress: Progress) -> None:
        if progress.entries[0].state == "running" and progress.entries[0].epoch:
            end_budget()

    progress = planned(data, tmp_path, "unet", **long(100_000))
    executor = Processes(2)
    run_grid(progress, executor, on_change, tick_seconds=0.2, budget=Budget(3600, FixedSpeeds({})))
    assert progress.entries[0].state == "waiting"
    assert (progress.entries[0].task.folder / "checkpoint.pt").exists()
    assert executor._running == {}


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
    works = {e.task.title: work_of(e.task) for e in progress.entries if isinstance(e.task, Cell)}
    mined, unmined = (f"busi short-taichinet+seed1 grouped fold {fold}" for fold in (0, 1))
    record = read_fold(progress.entries[0].task.folder).record
    assert record.mining is not None
    assert record.mining.seconds is not None
    (speed,) = estimates._speeds[speed_key(works[mined].experiment)]
    assert by_title[mined] == pytest.approx(training_flop(works[mined]) / speed)
    mining = record.mining.seconds * mining_flop(works[unmined]) / mining_flop(works[mined])
    assert by_title[unmined] == pytest.approx(training_flop(works[unmined]) / speed + mining)


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
