"""Run all tasks of a grid in an order that respects their dependencies."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import islice

from taichinet.errors import TaiChiNetError
from taichinet.experiments.cross_validate import summarise_study
from taichinet.experiments.grid.budget import Budget, BudgetEndedError
from taichinet.experiments.grid.cells import Cell, Transfer
from taichinet.experiments.grid.executors import Executor
from taichinet.experiments.grid.progress import Entry, Progress, read_epoch
from taichinet.experiments.grid.work import TaskResult, copy_result
from taichinet.experiments.records import RESULT_FILE
from taichinet.experiments.study_data import teacher_folder

BUSY_SECONDS = 5.0  # delay before a cell that is locked by another process is tried again
ATTEMPTS = 3  # for a task whose worker died, as its machine may have been the cause


def run_grid(
    progress: Progress,
    executor: Executor,
    on_change: Callable[[Progress], None] = lambda progress: None,
    tick_seconds: float = 1.0,
    busy_seconds: float = BUSY_SECONDS,
    budget: Budget | None = None,
) -> Progress:
    """Run all tasks that are not done.

    Copies and evaluations run as soon as the cells that they need are done. If a task fails, the tasks that need it
    fail too, and all others are run. A task whose worker died is tried `ATTEMPTS` times, each time from the last
    checkpoint. A cell that is locked by another command is tried again until it is done or free. After an
    interruption, the same command resumes.

    Args:
        progress: State of all tasks; it is updated and returned.
        executor: Runs the tasks.
        on_change: Called with the updated state.
        tick_seconds: Interval of the updates.
        busy_seconds: Delay before a locked cell is tried again.
        budget: A task that cannot finish within it is not started, and at its end the running tasks are stopped as by
            an interruption. Such tasks remain in the state "waiting".
    """
    not_before: dict[int, float] = {}
    running: set[int] = set()
    _summarise_earlier(progress)
    try:
        with nullcontext() if budget is None else budget.enforced():
            while progress.count("waiting", "running", "elsewhere"):
                _settle(progress)
                startable = _startable(progress, running)
                free = [n for n in startable if not_before.get(n, 0) <= time.monotonic()]
                allowed = (n for n in free if budget is None or budget.allows(progress.entries[n], progress))
                chosen = list(islice(allowed, max(executor.slots - len(running), 0)))
                if startable and free == startable and not chosen and not running:
                    break  # none can finish within the budget
                for number in chosen:
                    entry = progress.entries[number]
                    entry.state = "running" if entry.state == "waiting" else entry.state
                    running.add(number)
                    executor.start(entry.task)
                on_change(progress)
                for ended in executor.wait(tick_seconds):
                    number = next(i for i in running if progress.entries[i].task.folder == ended.task.folder)
                    running.discard(number)
                    if ended.outcome == "busy":
                        not_before[number] = time.monotonic() + busy_seconds
                    _note(progress, progress.entries[number], ended)
                progress.read_epochs()
    except BudgetEndedError:
        _stop(progress, executor, running)
    except BaseException:
        _stop(progress, executor, running)
        raise
    if budget is not None:
        budget.estimate_left(progress)
    on_change(progress)
    return progress


def _startable(progress: Progress, running: set[int]) -> list[int]:
    """Numbers of the tasks that are not running here and need no other task."""
    return [
        number
        for number, entry in enumerate(progress.entries)
        if entry.state in ("waiting", "elsewhere")
        and number not in running
        and entry.copy_of is None
        and all(other.state == "done" for other in _needs(progress, entry))
    ]


def _stop(progress: Progress, executor: Executor, running: set[int]) -> None:
    """Stop the running tasks. One that has written its result before is done."""
    executor.stop()
    progress.read_epochs()
    for entry in (progress.entries[number] for number in running):
        entry.state = "waiting"
        if isinstance(entry.task, Cell) and (entry.task.folder / RESULT_FILE).exists():
            _note(progress, entry, TaskResult(entry.task, "done"))


def _note(progress: Progress, entry: Entry, ended: TaskResult) -> None:
    if ended.outcome == "busy":
        entry.state, entry.note = "elsewhere", ended.reason
        return
    if ended.outcome == "lost":
        entry.attempts += 1
        if entry.attempts < ATTEMPTS:
            entry.state, entry.note = "waiting", f"again, attempt {entry.attempts + 1}: {ended.reason}"
            return
    entry.state = "done" if ended.outcome == "done" else "failed"
    tries = f" ({entry.attempts} attempts)" if entry.attempts > 1 and ended.outcome == "lost" else ""
    entry.note = "" if ended.outcome == "done" else f"{ended.reason}{tries}"
    if entry.state == "done" and isinstance(entry.task, Cell):
        read_epoch(entry)
        entry.epoch = entry.epochs
        _summarise(progress, entry.task)


def _settle(progress: Progress) -> None:
    """Copy results whose original is done, and mark tasks whose requirements failed."""
    for entry in progress.entries:
        if entry.state != "waiting":
            continue
        if entry.copy_of is not None:
            original = progress.of(entry.copy_of)
            if original.state == "done":
                _copy(progress, entry, entry.copy_of)
            elif original.state == "failed":
                entry.state, entry.note = "failed", f"the same training failed as {entry.copy_of.title}"
        elif failed := [other.task.title for other in _needs(progress, entry) if other.state == "failed"]:
            entry.state, entry.note = "failed", f"needs {', '.join(failed)}, which failed"


def _copy(progress: Progress, entry: Entry, original: Cell) -> None:
    cell = entry.task
    if not isinstance(cell, Cell):
        return
    try:
        copy_result(cell, original)
    except (TaiChiNetError, OSError) as error:
        entry.state, entry.note = "failed", str(error)
        return
    entry.state, entry.note = "done", f"as {original.folder.relative_to(original.out)}"
    entry.epoch = entry.epochs
    _summarise(progress, cell)


def _needs(progress: Progress, entry: Entry) -> list[Entry]:
    """Entries that must be done first: the networks of an evaluation, or the teacher of a cell."""
    if isinstance(entry.task, Transfer):
        return [progress.of(cell) for cell in entry.task.needs]
    teacher = teacher_folder(entry.task.experiment, entry.task.folder)
    return [other for other in progress.entries if teacher is not None and other.task.folder == teacher]


def _summarise_earlier(progress: Progress) -> None:
    """Summarise earlier studies: another command may have died between a fold and its summary."""
    done = {e.task.folder.parent: e.task for e in progress.entries if e.done_before and isinstance(e.task, Cell)}
    for cell in done.values():
        _summarise(progress, cell)


def _summarise(progress: Progress, cell: Cell) -> None:
    try:
        summarise_study(cell.folder.parent)
    except TaiChiNetError as error:
        progress.studies_failed.append(str(error))
