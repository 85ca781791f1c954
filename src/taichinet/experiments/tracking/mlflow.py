"""Logs a training to MLflow, in the database OUT/mlflow.db."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from torch import nn

from taichinet.evaluation.decision import Decision
from taichinet.experiments.experiment import flat_settings
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.records import FoldRecord, TrainingRecord
from taichinet.experiments.tracking.values import epoch_values, final_values
from taichinet.storage.lock import locked

DATABASE = "mlflow.db"
RUN_FOLDER = "run_folder"  # tag with which a resumed training finds its run
BATCH = 100  # parameters that MLflow accepts at once


class MLflow:
    """An `Observer` that writes one run of MLflow. The experiment of MLflow is named by data set and protocol."""

    def __init__(self, out: Path, job: FoldJob) -> None:
        # Nothing is sent, and the creation of the database is not reported.
        os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true", MLFLOW_LOGGING_LEVEL="WARNING")
        from mlflow.tracking import MlflowClient

        self._epoch = 0
        plan, folder = job.study.plan, job.folder.absolute().relative_to(out).as_posix()
        with locked(out / f"{DATABASE}.lock", wait=True):  # two processes may not create the database at once
            self._client = MlflowClient(tracking_uri=f"sqlite:///{out / DATABASE}")
            name = f"{plan.dataset} {plan.protocol}"
            known = self._client.get_experiment_by_name(name)
            artifacts = (out / "mlflow-artifacts").as_uri()
            experiment = known.experiment_id if known else self._client.create_experiment(name, artifacts)
        earlier = self._client.search_runs([experiment], f"tags.{RUN_FOLDER} = '{folder}'") if job.resume else []
        self._run = earlier[0].info.run_id if earlier else self._start(experiment, folder, job)

    def after_epoch(self, row: dict[str, Any]) -> None:
        """Write the numbers of the epoch."""
        self._epoch = int(row["epoch"])
        self._log(epoch_values(row), self._epoch)

    def completed(self, network: nn.Module, decision: Decision, record: FoldRecord | TrainingRecord) -> None:
        """Write the scores and end the run."""
        # Without an epoch, a complete training was resumed.
        self._log(final_values(record), self._epoch or record.experiment.training.epochs)
        self._client.set_terminated(self._run)

    def _start(self, experiment: str, folder: str, job: FoldJob) -> str:
        from mlflow.entities import Param

        name = f"{job.experiment.name} {job.folder.name}"
        run = str(self._client.create_run(experiment, tags={RUN_FOLDER: folder}, run_name=name).info.run_id)
        settings = [Param(key, str(value)) for key, value in flat_settings(job.experiment).items()]
        for first in range(0, len(settings), BATCH):
            self._client.log_batch(run, params=settings[first : first + BATCH])
        return run

    def _log(self, values: dict[str, float], epoch: int) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self._client.log_batch(self._run, [Metric(name, value, now, epoch) for name, value in values.items()])
