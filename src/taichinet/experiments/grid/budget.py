"""Time budget of a grid: which tasks can still finish, and the stop at its end.

The time of a training is its FLOP (cost.py) divided by a measured speed: that of finished trainings of the same network
on this machine, otherwise that of a few training steps, corrected by the ratio of both speeds for other networks.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

import pandas as pd

from taichinet.errors import TaiChiNetError
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.grid.cells import Transfer
from taichinet.experiments.grid.cost import Work, calibrate, mining_flop, speed_key, training_flop, work_of
from taichinet.experiments.grid.progress import Entry, Progress
from taichinet.experiments.provenance import describe_machine
from taichinet.experiments.records import (
    RESULT_FILE,
    SUMMARY_FILE,
    EvaluationRecord,
    FoldRecord,
    read_record,
)
from taichinet.experiments.training_run import HISTORY_FILE

REPEAT_SECONDS = 10.0  # the alarm is repeated, as Python discards an exception that is raised in a destructor
HARDWARE = ("processor", "accelerator")


class BudgetEndedError(KeyboardInterrupt):
    """The budget has ended: the running tasks are stopped as by Ctrl-C."""


class Estimates:
    """Seconds that the tasks of a grid need, from the tasks that have finished."""

    def __init__(self, measure_steps: bool = True, say: Callable[[str], None] = lambda line: None) -> None:
        """Create estimates without measurements.

        Args:
            measure_steps: Whether to time training steps of a network without a finished training. False if the
                tasks run on other machines.
            say: Prints messages on the progress.
        """
        self._measure_steps = measure_steps
        self._say = say
        self._speeds: dict[str, list[float]] = {}  # FLOP/s of finished trainings by `speed_key`
        self._step_speeds: dict[str, float] = {}  # FLOP/s of training steps by `speed_key`
        self._mining_speeds: list[float] = []
        self._mined: set[str] = set()  # keys of the mining stages whose result is in the cache
        self._evaluations: dict[str, list[float]] = {}  # seconds per network by data set
        self._known: set[Path] = set()

    def learn(self, progress: Progress) -> None:
        """Read the times of the tasks that have finished since the last call.

        Of tasks that an earlier command has finished, only those of this hardware are read.
        """
        for entry in progress.entries:
            if entry.state == "done" and entry.task.folder not in self._known:
                self._known.add(entry.task.folder)
                with suppress(TaiChiNetError):  # the record is absent or damaged: nothing is learned from it
                    self._read(entry)

    def seconds(self, entry: Entry, measure: bool = True) -> float | None:
        """Estimated seconds that a task still needs.

        Args:
            entry: The task and its completed epochs.
            measure: Whether training steps may be timed, if no training of the network has finished.

        Returns:
            The estimate; None if there is no measurement.
        """
        if isinstance(entry.task, Transfer):
            times = self._evaluations.get(entry.task.dataset)
            return median(times) * len(entry.task.needs) if times else None
        speed = self._speed(entry.task.experiment, measure and self._measure_steps)
        if speed is None:
            return None
        work = work_of(entry.task, entry.epoch)
        mined = entry.epoch > 0 or work.mining_key in self._mined
        mining_speed = median(self._mining_speeds) if self._mining_speeds else speed
        return training_flop(work) / speed + (0.0 if mined else mining_flop(work) / mining_speed)

    def _speed(self, recipe: Experiment, measure: bool) -> float | None:
        key = speed_key(recipe)
        if key in self._speeds:
            return median(self._speeds[key])
        if key not in self._step_speeds and measure:
            self._step_speeds |= calibrate([recipe], self._say)
        if key not in self._step_speeds:
            return None
        ratios = [median(self._speeds[k]) / self._step_speeds[k] for k in self._speeds if k in self._step_speeds]
        return self._step_speeds[key] * (median(ratios) if ratios else 1.0)

    def _read(self, entry: Entry) -> None:
        if isinstance(entry.task, Transfer):
            evaluation = read_record(entry.task.folder / SUMMARY_FILE, EvaluationRecord)
            if evaluation.wall_seconds and evaluation.networks and self._applies(entry, evaluation.machine):
                times = self._evaluations.setdefault(entry.task.dataset, [])
                times.append(evaluation.wall_seconds / len(evaluation.networks))
            return
        record = read_record(entry.task.folder / RESULT_FILE, FoldRecord)
        work = work_of(entry.task)
        mining = record.mining
        if mining is not None and (entry.task.out / "mining" / mining.identity / "provenance.json").exists():
            self._mined.add(work.mining_key)
        if record.copied_from or not self._applies(entry, record.machine):
            return
        seconds = _training_seconds(entry.task.folder, record)
        if seconds > 0:
            self._speeds.setdefault(speed_key(entry.task.experiment), []).append(training_flop(work) / seconds)
        if mining is not None and mining.seconds:
            self._mining_speeds.append(mining_flop(work) / mining.seconds)

    @staticmethod
    def _applies(entry: Entry, machine: dict[str, Any]) -> bool:
        return not entry.done_before or _is_this_hardware(machine)


def finished_speeds(out: Path) -> dict[str, float]:
    """FLOP/s of the finished trainings below `out` on this hardware, by `speed_key`: the median of each network."""
    speeds: dict[str, list[float]] = {}
    for path in sorted(out.rglob(RESULT_FILE)):
        with suppress(TaiChiNetError):  # a damaged record
            record = read_record(path, FoldRecord)
            work = Work(record.experiment, record.dataset, "", "", record.images.train, record.images.validation)
            seconds = _training_seconds(path.parent, record)
            if seconds > 0 and not record.copied_from and _is_this_hardware(record.machine):
                speeds.setdefault(speed_key(record.experiment), []).append(training_flop(work) / seconds)
    return {key: median(of_network) for key, of_network in speeds.items()}


def _is_this_hardware(machine: dict[str, Any]) -> bool:
    here = describe_machine()
    return all(machine.get(name) == here.get(name) for name in HARDWARE)


def _training_seconds(folder: Path, record: FoldRecord) -> float:
    """Duration of a fold without the mining stage, which a run does only if no other has done it before."""
    mining = record.mining.seconds if record.mining is not None and record.mining.seconds else 0.0
    try:
        epochs = float(pd.read_csv(folder / HISTORY_FILE)["seconds"].sum())
    except (OSError, ValueError, KeyError):
        return record.wall_seconds
    return record.wall_seconds - (mining if record.wall_seconds > epochs + mining else 0.0)


class Budget:
    """A time in which tasks are started only if they can finish."""

    def __init__(self, seconds: float, estimates: Estimates | None = None, began: float | None = None) -> None:
        """The time of `seconds` from `began`, a value of `time.monotonic()`; by default from now."""
        self.total = seconds
        self.estimates = estimates or Estimates()
        self._end = (time.monotonic() if began is None else began) + seconds

    @property
    def left(self) -> float:
        """Seconds until the end; negative after it."""
        return self._end - time.monotonic()

    def allows(self, entry: Entry, progress: Progress) -> bool:
        """Whether a task can finish within what is left. A task without an estimate is allowed until the end."""
        if self.left <= 0:
            return False
        self.estimates.learn(progress)
        entry.estimate = self.estimates.seconds(entry)
        return self.left > (entry.estimate or 0.0)

    def estimate_left(self, progress: Progress) -> None:
        """Set the estimates of the tasks that are not done, as far as they are known without a further measurement."""
        self.estimates.learn(progress)
        for entry in progress.unfinished:
            entry.estimate = None if entry.copy_of is not None else self.estimates.seconds(entry, measure=False)

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """Raise BudgetEndedError in the block when the budget ends. Outside the main thread, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            raise BudgetEndedError

        before = signal.signal(signal.SIGALRM, stop)
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, max(self.left, 0.001), REPEAT_SECONDS)
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)  # again, as the alarm may have rung before the line above
            signal.signal(signal.SIGALRM, before)
