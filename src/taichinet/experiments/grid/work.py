"""What a worker does for one cell or one evaluation, in whatever process or on whatever machine it runs."""

from __future__ import annotations

import hashlib
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from taichinet.datasets.duplicates.known_images import SEEN_FILE
from taichinet.errors import FoldError, LockedError, StorageError, TaiChiNetError
from taichinet.experiments.cross_validate import refuse_other_study
from taichinet.experiments.evaluate import evaluate_weights, write_evaluation
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.grid.cells import Cell, Transfer
from taichinet.experiments.records import RESULT_FILE, SCORES_FILE, read_fold, write_record, write_settings
from taichinet.experiments.run import OnEpoch, run_fold
from taichinet.experiments.study_data import StudyData, open_study_data, teacher_folder
from taichinet.models.weights import WEIGHTS_FILE
from taichinet.storage.atomic import write_bytes, write_text
from taichinet.storage.lock import locked

Task = Cell | Transfer
FAILURE = "failure.txt"


@dataclass(frozen=True)
class TaskResult:
    """How a task ended. "busy": another process works in its folder; "lost": its worker died and nobody knows why."""

    task: Task
    outcome: Literal["done", "failed", "busy", "lost"]
    reason: str = ""


def run_task(task: Task, on_epoch: OnEpoch = lambda phase, row, epochs: None) -> TaskResult:
    """Do `task`; whatever goes wrong becomes the reason, so that the other tasks go on.

    The traceback of a defect lies in the task's folder as failure.txt.
    """
    try:
        if isinstance(task, Cell):
            train_cell(task, on_epoch)
        else:
            score_transfer(task)
    except LockedError as error:
        return TaskResult(task, "busy", str(error))
    except TaiChiNetError as error:
        return TaskResult(task, "failed", str(error))
    except Exception as error:  # noqa: BLE001 - one defect must not stop a week of other trainings
        _note_failure(task.folder)
        return TaskResult(task, "failed", f"{type(error).__name__}: {error} (traceback in {task.folder / FAILURE})")
    (task.folder / FAILURE).unlink(missing_ok=True)
    return TaskResult(task, "done")


def train_cell(cell: Cell, on_epoch: OnEpoch) -> None:
    """Train one fold, going on where an earlier process stopped.

    Raises FoldError, and writes nothing, where the folder or its study was trained with other settings or pictures.
    """
    study = _study_data(cell)
    refuse_other_study(cell.folder.parent, cell.experiment, study.plan)
    teacher = teacher_folder(cell.experiment, cell.folder)
    job = FoldJob(cell.experiment, study, cell.fold, cell.folder, cell.out / "mining", teacher, resume=True)
    run_fold(job, on_epoch)


def copy_result(cell: Cell, twin: Cell) -> None:
    """Give `cell` the finished result of `twin`, whose content is the same: all files, and in result.json from where.

    Raises FoldError where the folder holds a result or checkpoint already that is not this one.
    """
    original = read_fold(twin.folder)
    with locked(cell.folder / "lock", wait=True):
        if (cell.folder / RESULT_FILE).exists():
            read_fold(cell.folder, original.record.identity)
            return
        if (cell.folder / "checkpoint.pt").exists():
            raise FoldError(
                f"{cell.folder} holds a training that has not ended, of the same content as {twin.folder}. Delete the "
                "folder, to take the finished result."
            )
        weights = (file for file in sorted((twin.folder / "weights").rglob("*")) if file.is_file())
        seen = twin.folder / SEEN_FILE
        others = [seen] if seen.exists() else []  # runs of earlier versions have none
        for file in (twin.folder / "history.csv", twin.folder / SCORES_FILE, *others, *weights):
            write_bytes(cell.folder / file.relative_to(twin.folder), file.read_bytes())
        write_settings(cell.experiment, cell.folder)
        origin = str(twin.folder.relative_to(twin.out))
        record = original.record.model_copy(update={"experiment": cell.experiment, "copied_from": origin})
        write_record(cell.folder / RESULT_FILE, record)


def score_transfer(transfer: Transfer) -> None:
    """Score the networks of all finished folds of the study on the other data set, as `taichinet evaluate -o` does."""
    write_evaluation(evaluate_weights(transfer.folder.parent, transfer.data), transfer.folder)


def weights_of(transfer: Transfer) -> set[str]:
    """SHA-256 of the weights that the evaluation needs: one that lacks any of them is out of date."""
    files = [cell.folder / "weights" / WEIGHTS_FILE for cell in transfer.needs]
    return {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


_opened: dict[tuple[Any, ...], StudyData] = {}


def _study_data(cell: Cell) -> StudyData:
    """The cell's data; a process that trains cell after cell reads each data set once, and keeps one of them."""
    settings = cell.experiment.data
    shape = (settings.size, cell.experiment.channels, settings.include_normal, settings.folds, settings.fold_seed)
    key = (cell.data, cell.protocol, cell.out, *shape)
    if key not in _opened:
        _opened.clear()
        _opened[key] = open_study_data(cell.experiment, cell.data, cell.protocol, cell.out)
    return _opened[key]


def _note_failure(folder: Path) -> None:
    with suppress(StorageError):  # the defect is the reason that is reported
        write_text(folder / FAILURE, traceback.format_exc())
