"""FoldJob: one training of one fold, or of all images, as the command line and the grid give it to `run_fold`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from taichinet.datasets.folds import Split
from taichinet.errors import SettingError, TaiChiNetError
from taichinet.experiments.distillation import teacher_digest
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.identity import run_identity
from taichinet.experiments.observer import Observe
from taichinet.experiments.records import RESULT_FILE, FoldRecord, read_record, read_settings
from taichinet.experiments.study_data import StudyData
from taichinet.models.catalogue import find_entry
from taichinet.models.weights_folder import WEIGHTS_FILE
from taichinet.storage.digest import digest_file
from taichinet.training.checkpoint import checkpoint_identities
from taichinet.training.device import DeviceConfig, choose_device_config

ALL_IMAGES = -1
"""In place of the index of a fold."""


@dataclass(frozen=True)
class FoldJob:
    """One fold of a recipe on a data set.

    Attributes:
        experiment: The recipe.
        study: The data set and its folds.
        fold: Index of the fold, from 0; ALL_IMAGES to train on all images, without validation and test set.
        folder: The run folder.
        mining_cache: Folder of the mined regions, shared by all runs of the same training set.
        teacher: Run folder of the fold's teacher, for a recipe that has one.
        resume: Whether to read back a finished fold and to resume an interrupted one. Otherwise the fold is trained
            from the beginning, and what is in `folder` is replaced.
        keep_checkpoint: Whether the newest checkpoint is kept, so that the run can later be extended to more epochs.
        observers: Draw or log the training; they do not affect its result.
    """

    experiment: Experiment
    study: StudyData = field(repr=False)
    fold: int
    folder: Path
    mining_cache: Path
    teacher: Path | None = None
    resume: bool = False
    keep_checkpoint: bool = False
    observers: tuple[Observe, ...] = field(default=(), repr=False)

    @cached_property
    def split(self) -> Split:
        """Training, validation and test images of the fold."""
        manifest, share = self.study.manifest, self.experiment.data.validation_share
        if self.fold == ALL_IMAGES:
            return Split(train=manifest.keys, validation=(), test=())
        return self.study.plan.split(self.fold, manifest.strata, share)

    @cached_property
    def device_config(self) -> DeviceConfig:
        """Device and precision of the training.

        A resumed run with the precision "auto" keeps the precision that it was begun with, also on a device with
        another default: it is part of the identity of a run, and the device is not.
        """
        training = self.experiment.training
        depthwise = find_entry(self.experiment.model).depthwise
        chosen = choose_device_config(training.precision, training.channels_last, depthwise)
        if training.precision != "auto" or not self.resume:
            return chosen
        begun = self._recorded_identities()
        earlier = (self.experiment, read_settings(self.folder) or self.experiment)  # the latter before an extension
        if begun and any(self._identity_with(experiment, not chosen.bf16) in begun for experiment in earlier):
            return choose_device_config("float32" if chosen.bf16 else "bf16", training.channels_last, depthwise)
        return chosen

    def _recorded_identities(self) -> set[str]:
        """Identities of the result and the checkpoints in the run folder."""
        identities = checkpoint_identities(self.folder)
        with suppress(TaiChiNetError):  # absent or damaged: reported when it is read
            identities.add(read_record(self.folder / RESULT_FILE, FoldRecord).identity)
        return identities

    @cached_property
    def teacher_digest(self) -> str | None:
        """Digest of the teacher's weights; None for a recipe without one.

        Raises:
            SettingError: The recipe needs a teacher and none was given, or the reverse.
        """
        if (self.teacher is None) != (self.experiment.teacher is None):
            raise SettingError(
                f"Recipe '{self.experiment.name}' has teacher {self.experiment.teacher}, but was given {self.teacher}."
            )
        return None if self.teacher is None else teacher_digest(self.teacher)

    @cached_property
    def initial_weights(self) -> Path | None:
        """Folder of the weights that the training starts from; None for random or ImageNet weights.

        Raises:
            SettingError: The setting `initial_weights` does not agree with the weights that were given.
            WeightsError: The study that was given has no weights for this fold.
        """
        initial, recorded = self.study.initial, self.experiment.initial_weights
        if recorded != (None if initial is None else initial.name):
            given = "none were given" if initial is None else f"those of {initial.name} were given"
            raise SettingError(
                f"Recipe '{self.experiment.name}' starts from the weights {recorded}, but {given}. Give them with "
                "`train --from`, which also sets initial_weights."
            )
        return None if initial is None else initial.of_fold(self.fold)

    @cached_property
    def initial_digest(self) -> str | None:
        """SHA-256 of the weights that the training starts from; None without such weights."""
        return None if self.initial_weights is None else digest_file(self.initial_weights / WEIGHTS_FILE)

    def identity_of(self, experiment: Experiment) -> str:
        """Digest of everything that decides the result of this fold under the settings of `experiment`."""
        return self._identity_with(experiment, self.device_config.bf16)

    def _identity_with(self, experiment: Experiment, bf16: bool) -> str:
        study = self.study
        digests = (self.teacher_digest, self.initial_digest)
        return run_identity(experiment, study.prepared, self.split, study.plan, bf16, *digests)

    @cached_property
    def identity(self) -> str:
        """Digest of everything that decides the result of this fold."""
        return self.identity_of(self.experiment)
