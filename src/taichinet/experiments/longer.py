"""`train --resume` with more epochs than a run was started with: when it may go on, and how it is made ready for that.

The longer run must end with the weights of a run that had that length from the beginning. So its finished epochs must
be those of the longer run: the same settings, images and folds, a rate that does not depend on the number of epochs,
and the same curriculum step in each of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from taichinet.errors import FoldError
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.identity import EPOCHS, setting_changes
from taichinet.experiments.records import RESULT_FILE, read_settings, write_settings
from taichinet.storage.lock import locked
from taichinet.training.checkpoint import load_checkpoint, rename_checkpoints

REMEDY = "Give another --out, or replace the run with --overwrite instead of --resume."


@dataclass(frozen=True)
class Extension:
    """A run that was started for `started_with` epochs and can be extended to those of `job`.

    `finished` epochs are done. `identity` is that of the run as it is.
    """

    job: FoldJob
    started_with: int
    finished: int
    identity: str

    def apply(self) -> None:
        """Make the run an interrupted one of the longer training, which `run_fold` resumes.

        The checkpoints, in which all is kept, are renamed first and the settings are written last: after a kill in
        between, `find_extension` finds the same extension again. `scores.csv` and `weights/` stay until the end of the
        longer run. Raises LockedError where another process works in the folder.
        """
        folder = self.job.folder
        with locked(folder / "lock"):
            rename_checkpoints(folder, self.identity, self.job.identity)
            (folder / RESULT_FILE).unlink(missing_ok=True)
            write_settings(self.job.experiment, folder)


def find_extension(job: FoldJob) -> Extension | None:
    """How the run in the folder of `job` is extended to the epochs of `job`; nothing is written.

    Returns:
        None where no epoch has been finished or the number of epochs is not all that changed: `run_fold` then begins,
        resumes or refuses.

    Raises:
        FoldError: Fewer epochs are asked for; the finished epochs would not be those of the longer run; or the run has
            ended and its checkpoint is not kept.
        WeightsError: The checkpoint belongs to other images, masks or folds, or is damaged.
    """
    experiment, folder = job.experiment, job.folder
    earlier = read_settings(folder)
    if earlier is None:
        return None
    changes = setting_changes(earlier, experiment)
    changes.pop("name", None)
    if set(changes) != {EPOCHS}:
        return None
    identity = job.identity_of(earlier)
    change = " (besides training.epochs, images, masks, folds, teacher or number format are others)"
    checkpoint = load_checkpoint(folder, identity, job.identity, change=change)
    before, asked = earlier.training.epochs, experiment.training.epochs
    ended = (folder / RESULT_FILE).exists()
    finished = checkpoint.epoch if checkpoint is not None else before if ended else 0
    if not finished:
        return None
    run = f"The run in {folder} was started with training.epochs={before}"
    if asked < before:
        raise FoldError(
            f"{run}, {finished} of which are finished; training.epochs={asked} are fewer. Resume it with {before} or "
            f"more. {REMEDY}"
        )
    if checkpoint is None:
        raise FoldError(
            f"{run} and has ended; it cannot go on to {asked}, because its checkpoint is not kept (`compare` and "
            f"earlier versions remove it). {REMEDY}"
        )
    if experiment.training.schedule != "constant":
        raise FoldError(
            f"{run} and cannot go on to {asked}: training.schedule={experiment.training.schedule} spreads the learning "
            f"rate over all epochs, so the finished ones would have had other rates. {REMEDY}"
        )
    for epoch in range(finished):
        step, other = earlier.training.step(epoch), experiment.training.step(epoch)
        if step != other:
            raise FoldError(
                f"{run} and cannot go on to {asked}: epoch {epoch + 1} is finished with the curriculum step '{step}', "
                f"and of {asked} epochs it would be '{other}' (training.easy_share={experiment.training.easy_share} of "
                f"the epochs are easy). {REMEDY}"
            )
    return Extension(job, before, finished, identity)
