"""Work for one task of a grid: train a cell, copy a result, or evaluate a study on another data set."""

from __future__ import annotations

import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from taichinet.datasets.duplicates.known_images import SEEN_FILE
from taichinet.errors import FoldError, LockedError, StorageError, TaiChiNetError
from taichinet.experiments.cross_validate import refuse_other_study
from taichinet.experiments.evaluate import evaluate_weights, write_evaluation
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.grid.cells import Cell, Transfer
from taichinet.experiments.observer import Observe
from taichinet.experiments.records import RESULT_FILE, SCORES_FILE, read_fold, write_record, write_settings
from taichinet.experiments.run import run_fold
from taichinet.experiments.study_data import StudyData, open_study_data, teacher_folder
from taichinet.experiments.training_run import HISTORY_FILE, RUN_IMAGES, OnEpoch
from taichinet.models.catalogue import register_code
from taichinet.storage.atomic import write_bytes, write_text
from taichinet.storage.lock import locked
from taichinet.training.device import use_device

Task = Cell | Transfer
FAILURE = "failure.txt"


@dataclass(frozen=True)
class TaskResult:
    """Outcome of a task. "busy": its folder is locked by another process; "lost": its worker died."""

    task: Task
    outcome: Literal["done", "failed", "busy", "lost"]
    reason: str = ""


def run_task(
    task: Task,
    on_epoch: OnEpoch = lambda phase, row, epochs: None,
    device: str | None = None,
    observers: tuple[Observe, ...] = (),
) -> TaskResult:
    """Run a task and return its outcome. No error is raised, so that the other tasks can run.

    The traceback of an unexpected error is written to failure.txt in the folder of the task. `device` is the name of
    the device in a worker process, see `use_device`; None for the one that this process has chosen. `observers` draw or
    log each training.
    """
    try:
        if device is not None:
            use_device(device)
        for cell in (task,) if isinstance(task, Cell) else task.needs:
            if cell.code is not None:  # a worker process has not executed it
                register_code(cell.code)
        if isinstance(task, Cell):
            train_cell(task, on_epoch, observers)
        else:  # as `taichinet evaluate -o`, with the networks of all completed folds of the study
            write_evaluation(evaluate_weights(task.folder.parent, task.data), task.folder)
    except LockedError as error:
        return TaskResult(task, "busy", str(error))
    except TaiChiNetError as error:
        return TaskResult(task, "failed", str(error))
    except Exception as error:  # noqa: BLE001 - other trainings must continue
        with suppress(StorageError):  # the first error is the one to report
            write_text(task.folder / FAILURE, traceback.format_exc())
        return TaskResult(task, "failed", f"{type(error).__name__}: {error} (traceback in {task.folder / FAILURE})")
    (task.folder / FAILURE).unlink(missing_ok=True)
    return TaskResult(task, "done")


def train_cell(cell: Cell, on_epoch: OnEpoch, observers: tuple[Observe, ...] = ()) -> None:
    """Train one fold, or resume it.

    Raises:
        FoldError: The folder or its study was trained with other settings or images. Nothing is written.
    """
    study = _study_data(cell)
    refuse_other_study(cell.folder.parent, cell.experiment, study.plan)
    teacher = teacher_folder(cell.experiment, cell.folder)
    mining = cell.out / "mining"
    job = FoldJob(cell.experiment, study, cell.fold, cell.folder, mining, teacher, resume=True, observers=observers)
    run_fold(job, on_epoch)


def copy_result(cell: Cell, original: Cell) -> None:
    """Copy all files of the completed fold of `original`, an identical computation; result.json records the origin.

    Raises:
        FoldError: The folder of `cell` has another result or a checkpoint.
    """
    completed = read_fold(original.folder)
    with locked(cell.folder / "lock", wait=True):
        if (cell.folder / RESULT_FILE).exists():
            read_fold(cell.folder, completed.record.identity)
            return
        if (cell.folder / "checkpoint.pt").exists():
            raise FoldError(
                f"{cell.folder} contains an incomplete training that is identical to {original.folder}. Delete the "
                "folder to copy the completed result."
            )
        weights = (file for file in sorted((original.folder / "weights").rglob("*")) if file.is_file())
        others = (original.folder / name for name in (SEEN_FILE, *RUN_IMAGES))
        existing = [file for file in others if file.exists()]  # runs of earlier versions have none
        for file in (original.folder / HISTORY_FILE, original.folder / SCORES_FILE, *existing, *weights):
            write_bytes(cell.folder / file.relative_to(original.folder), file.read_bytes())
        write_settings(cell.experiment, cell.folder)
        origin = str(original.folder.relative_to(original.out))
        record = completed.record.model_copy(update={"experiment": cell.experiment, "copied_from": origin})
        write_record(cell.folder / RESULT_FILE, record)


_opened: dict[tuple[Any, ...], StudyData] = {}


def _study_data(cell: Cell) -> StudyData:
    """Data of the cell. The last data set is cached, for processes that train several cells."""
    settings = cell.experiment.data
    shape = (settings.size, cell.experiment.channels, settings.include_normal, settings.folds, settings.fold_seed)
    key = (cell.data, cell.protocol, cell.out, *shape)
    if key not in _opened:
        _opened.clear()
        _opened[key] = open_study_data(cell.experiment, cell.data, cell.protocol, cell.out)
    return _opened[key]
