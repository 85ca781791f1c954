"""Logs a training as event files for TensorBoard, in the subfolder `tensorboard` of its run folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from torch import nn

from taichinet.evaluation.decision import Decision
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.records import FoldRecord, TrainingRecord
from taichinet.experiments.tracking.values import epoch_values, final_values

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

FOLDER = "tensorboard"


class TensorBoard:
    """An `Observer` that writes event files."""

    def __init__(self, out: Path, job: FoldJob) -> None:
        self._job, self._folder, self._epoch = job, job.folder / FOLDER, 0
        self._writer: SummaryWriter | None = None
        if not job.resume:
            shutil.rmtree(self._folder, ignore_errors=True)

    def after_epoch(self, row: dict[str, Any]) -> None:
        """Write the numbers of the epoch."""
        self._epoch = row["epoch"]
        self._write(epoch_values(row))

    def completed(self, network: nn.Module, decision: Decision, record: FoldRecord | TrainingRecord) -> None:
        """Write the scores, at the last epoch."""
        self._epoch = self._epoch or record.experiment.training.epochs  # a complete training was resumed
        self._write(final_values(record)).close()

    def _write(self, values: dict[str, float]) -> SummaryWriter:
        writer = self._writer = self._writer or self._open()
        for name, value in values.items():
            writer.add_scalar(name, value, self._epoch)
        writer.flush()
        return writer

    def _open(self) -> SummaryWriter:
        from torch.utils.tensorboard.writer import SummaryWriter

        # A resumed run repeats the epochs after its checkpoint; TensorBoard hides those of the earlier process.
        writer = SummaryWriter(str(self._folder), purge_step=self._epoch)
        settings = yaml.safe_dump(self._job.experiment.model_dump(mode="json"), sort_keys=False)
        writer.add_text("settings", f"```yaml\n{settings}```", self._epoch)
        return writer
