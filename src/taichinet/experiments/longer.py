"""Extension of a run by `train --resume` with more epochs, or with another decision for the same weights.

A run with more epochs must end with the same weights as a run that had this number of epochs from the beginning. This
requires the same settings, images and folds, a constant learning rate, and the same curriculum steps. A run that
stopped early goes on with a larger `training.patience`. With another decision, nothing is trained again: the decision
is chosen and the test images are scored with the final weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from taichinet.errors import FoldError
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.identity import EPOCHS, PATIENCE, describe_changes, setting_changes
from taichinet.experiments.records import RESULT_FILE, read_settings, write_settings
from taichinet.storage.lock import locked
from taichinet.training.checkpoint import load_checkpoint, rename_checkpoints

DECISION = "decision."
REMEDY = "Give another --output, or replace the run with --overwrite instead of --resume."


@dataclass(frozen=True)
class Extension:
    """A run that can be extended.

    Attributes:
        job: The job with the new number of epochs.
        started_with: The earlier number of epochs.
        finished: Number of completed epochs.
        identity: Identity of the earlier run.
        changes_training: Whether the number of epochs or the patience differs, and not only the decision.
        other_patience: Whether the patience differs.
    """

    job: FoldJob
    started_with: int
    finished: int
    identity: str
    changes_training: bool
    other_patience: bool

    def apply(self) -> None:
        """Change the run to an interrupted run with the new settings, which `run_fold` resumes.

        The checkpoints are changed first and the settings last, so that the extension can be repeated if the process is
        killed in between. `scores.csv` and `weights/` are kept until the extended run is complete.

        Raises:
            LockedError: Another process works in the folder.
        """
        folder = self.job.folder
        with locked(folder / "lock"):
            rename_checkpoints(folder, self.identity, self.job.identity)
            (folder / RESULT_FILE).unlink(missing_ok=True)
            write_settings(self.job.experiment, folder)


def find_extension(job: FoldJob) -> Extension | None:
    """Check whether the run in the folder of `job` can be extended to the settings of `job`. Nothing is written.

    Returns:
        The extension; None if no epoch is complete, or if anything but the number of epochs, the patience or the
        decision differs.

    Raises:
        FoldError: Fewer epochs are requested, the completed epochs would differ in the longer run, or the checkpoint of
            a completed run was not kept.
        WeightsError: The checkpoint belongs to other images, masks or folds, or is damaged.
    """
    experiment, folder = job.experiment, job.folder
    earlier = read_settings(folder)
    if earlier is None:
        return None
    changes = setting_changes(earlier, experiment)
    changes.pop("name", None)
    if not changes or {key for key in changes if not key.startswith(DECISION)} - {EPOCHS, PATIENCE}:
        return None
    identity = job.identity_of(earlier)
    change = (
        " (besides training.epochs, training.patience or decision, images, masks, folds, teacher or precision differ)"
    )
    checkpoint = load_checkpoint(folder, identity, job.identity, change=change)
    before = earlier.training.epochs
    complete = (folder / RESULT_FILE).exists()
    finished = checkpoint.epoch if checkpoint is not None else before if complete else 0
    if not finished:
        return None
    if checkpoint is None:
        raise FoldError(
            f"{_started(folder, before)} and is complete. It cannot be extended ({describe_changes(changes)}), because "
            f"its checkpoint was not kept (`compare` and earlier versions remove it). {REMEDY}"
        )
    if EPOCHS in changes:
        _refuse_other_epochs(earlier, experiment, finished, folder)
    stop = experiment.training.stopped_after(checkpoint.history)
    if stop is not None and stop < finished:
        raise FoldError(
            f"{_started(folder, before)}, of which {finished} are complete; with training.patience="
            f"{experiment.training.patience} it would have stopped after {stop}. Resume it with a larger patience. "
            f"{REMEDY}"
        )
    return Extension(job, before, finished, identity, bool({EPOCHS, PATIENCE} & set(changes)), PATIENCE in changes)


def _started(folder: Path, epochs: int) -> str:
    return f"The run in {folder} was started with training.epochs={epochs}"


def _refuse_other_epochs(earlier: Experiment, experiment: Experiment, finished: int, folder: Path) -> None:
    """Raise FoldError if the `finished` epochs are more than requested, or would differ in the longer run."""
    before, requested = earlier.training.epochs, experiment.training.epochs
    run = _started(folder, before)
    if requested < before:
        raise FoldError(
            f"{run}, of which {finished} are complete, and training.epochs={requested} is lower. Resume it with "
            f"{before} or more. {REMEDY}"
        )
    if experiment.training.schedule != "constant":
        raise FoldError(
            f"{run} and cannot be extended to {requested}: with training.schedule={experiment.training.schedule}, the "
            f"learning rates of the completed epochs depend on the number of epochs. {REMEDY}"
        )
    for epoch in range(finished):
        step, other = earlier.training.step(epoch), experiment.training.step(epoch)
        if step != other:
            raise FoldError(
                f"{run} and cannot be extended to {requested}: epoch {epoch + 1} was trained with the curriculum step "
                f"'{step}', which would be '{other}' with {requested} epochs (training.easy_share="
                f"{experiment.training.easy_share} of the epochs are easy). {REMEDY}"
            )
