"""Observers of a training: failures, and the loggers for TensorBoard and MLflow."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fakes.busi import make_fake_busi
from helpers import TINY
from torch import nn

from taichinet.datasets.folds import make_folds
from taichinet.datasets.prepared import prepare
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import SettingError
from taichinet.evaluation.decision import Decision
from taichinet.experiments.experiment import vary
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.observer import Observe
from taichinet.experiments.records import FoldRecord, TrainingRecord
from taichinet.experiments.run import run_fold
from taichinet.experiments.study_data import StudyData
from taichinet.experiments.tracking import tracker
from taichinet.experiments.tracking.tracker import open_tracker

RECIPE = vary(TINY, {"model": "unet", "training.strategy": "plain"})
FOLDER = Path("busi/tiny/grouped/fold-0")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    manifest = DATASET.read(make_fake_busi(tmp_path_factory.mktemp("data") / "busi", benign=5, malignant=4, normal=4))
    return StudyData(manifest, prepare(manifest, 32, 1), make_folds(manifest, (), count=2))


class Failing:
    """Fails in the first epoch."""

    calls = 0

    def __init__(self, job: FoldJob) -> None:
        pass

    def after_epoch(self, row: dict[str, Any]) -> None:
        Failing.calls += 1
        raise RuntimeError("no disk")

    def completed(self, network: nn.Module, decision: Decision, record: FoldRecord | TrainingRecord) -> None:
        Failing.calls += 1


def refuse(job: FoldJob) -> Failing:
    raise ValueError("no package")


def test_failing_observers_do_not_end_the_training(
    study: StudyData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run_fold(FoldJob(RECIPE, study, 0, tmp_path, tmp_path / "mining", observers=(refuse, Failing)))
    assert (tmp_path / "result.json").exists()
    assert Failing.calls == 1
    assert "no package" in caplog.text
    assert "Failing of the training in" in caplog.text


class StoppedError(Exception):
    """Simulates the end of the process."""


def stop_after_2(phase: str, row: dict[str, Any], epochs: int) -> None:
    if row["epoch"] == 2:
        raise StoppedError


def read_tensorboard(out: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / FOLDER / "tensorboard"))
    events.Reload()
    assert "settings/text_summary" in events.Tags()["tensors"]
    return {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}


def read_mlflow(out: Path) -> dict[str, dict[int, float]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("busi grouped")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["training.epochs"] == "3"
    assert run.data.tags["run_folder"] == FOLDER.as_posix()
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: {metric.step: metric.value for metric in values} for name, values in histories.items()}


@pytest.mark.parametrize(("name", "read"), [("tensorboard", read_tensorboard), ("mlflow", read_mlflow)])
def test_tracker_logs_epochs_settings_and_scores_of_a_resumed_run(
    name: str, read: Callable[[Path], dict[str, dict[int, float]]], study: StudyData, tmp_path: Path
) -> None:
    pytest.importorskip(name, reason=f"the package {name} of the extra 'track' is not installed")

    def job(resume: bool) -> FoldJob:
        observers: tuple[Observe, ...] = (open_tracker(name, tmp_path),)
        return FoldJob(RECIPE, study, 0, tmp_path / FOLDER, tmp_path / "mining", resume=resume, observers=observers)

    for _ in range(2):  # the second overwrites the first
        with pytest.raises(StoppedError):
            run_fold(job(resume=False), stop_after_2)
        if name == "mlflow":  # keeps the overwritten run as another one, which is not resumed
            break
    result = run_fold(job(resume=True))
    values = read(tmp_path)
    rows = pd.read_csv(tmp_path / FOLDER / "history.csv").set_index("epoch")
    for column in ("loss", "validation_dice", "learning_rate"):
        assert values[f"training/{column}"] == pytest.approx(rows[column].to_dict())
    assert values["test/dice"] == pytest.approx({3: result.record.summary.lesion.network["dice"].mean})
    assert values["test/dice_native"] == pytest.approx({3: result.record.summary.lesion.native["dice"].mean})
    assert values["final/selected_epoch"] == {3: result.record.selection.epoch}


def test_unknown_and_absent_trackers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match="Did you mean 'tensorboard'"):
        open_tracker("tensorbord", tmp_path)
    monkeypatch.setattr(tracker, "find_spec", lambda name: None)
    with pytest.raises(
        SettingError, match=r"--track mlflow needs the package mlflow: pip install 'taichinet\[track\]'"
    ):
        open_tracker("mlflow", tmp_path)
