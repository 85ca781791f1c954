"""Early stopping: the epoch at which a training ends, also after an interruption, and the extension of the run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.busi import make_fake_busi
from helpers import TINY, same_weights, tiny_data, tiny_settings, train_tiny

from taichinet.datasets.folds import make_folds
from taichinet.datasets.prepared import prepare
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import FoldError, SettingError
from taichinet.experiments.all_images import train_on_all_images
from taichinet.experiments.cross_validate import Callbacks, Study, train_folds
from taichinet.experiments.experiment import vary
from taichinet.experiments.records import read_fold
from taichinet.experiments.study_data import StudyData
from taichinet.models.weights import load_weights
from taichinet.training import checkpoint_writer
from taichinet.training import fit as fit_module

DICE = (0.1, 0.5, 0.4, 0.4, 0.6, 0.3, 0.6, 0.5, 0.2, 0.7)  # the best ones in the epochs 2, 5 and 10


class SimulatedCrashError(Exception):
    """Simulates the end of the process."""


@pytest.fixture(autouse=True)
def given_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The validation Dice of epoch n is that of `DICE`, and every epoch has a checkpoint."""
    monkeypatch.setattr(checkpoint_writer, "CHECKPOINT_SECONDS", 0.0)
    rows = fit_module._row

    def row(epoch: int, settings: Any, loss: float, dice: float, began: float) -> dict[str, Any]:
        return rows(epoch, settings, loss, dice, began) | {"validation_dice": DICE[epoch]}

    monkeypatch.setattr(fit_module, "_row", row)


@pytest.mark.parametrize(
    ("patience", "strategy", "stopped_after"),
    [
        (1, "plain", 3),
        (2, "plain", 4),
        (3, "plain", 8),
        (4, "plain", 9),
        (5, "plain", None),
        (0, "plain", None),
        (1, "easy-to-hard", 4),  # the first two of ten epochs are easy: their Dice does not count
        (3, "easy-to-hard", 8),
    ],
)
def test_training_stops_after_patience_epochs_without_a_better_dice(
    patience: int, strategy: str, stopped_after: int | None
) -> None:
    settings = tiny_settings(epochs=10, patience=patience, strategy=strategy)
    history = [{"epoch": n + 1, "step": settings.step(n), "validation_dice": dice} for n, dice in enumerate(DICE)]
    assert settings.stopped_after(history) == stopped_after
    assert settings.stopped_after(history[: (stopped_after or 1) - 1]) is None


@pytest.mark.parametrize("changes", [{}, {"selection": "last"}, {"average_decay": 0.5}], ids=str)
def test_resumed_training_stops_at_the_same_epoch(tmp_path: Path, changes: dict[str, Any]) -> None:
    settings = tiny_settings(epochs=10, patience=2, strategy="plain", **changes)
    whole, result = train_tiny(tmp_path / "whole", settings)
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4]
    assert result.stopped_after == 4

    def crash(row: dict[str, Any]) -> None:
        if row["epoch"] == 3:
            raise SimulatedCrashError

    with pytest.raises(SimulatedCrashError):
        train_tiny(tmp_path / "interrupted", settings, on_epoch=crash)
    for _ in range(2):  # the second time, it has stopped already
        resumed, again = train_tiny(tmp_path / "interrupted", settings, resume=True)
        assert again.stopped_after == 4
        assert again.best_epoch == result.best_epoch
        assert same_weights(resumed, whole)


def test_stopping_without_validation_images_is_refused(tmp_path: Path, study: StudyData) -> None:
    data = replace(tiny_data(), validation=tiny_data().validation.subset(()))
    with pytest.raises(SettingError, match=r"training\.patience=2 needs validation images.*training\.epochs"):
        train_tiny(tmp_path, tiny_settings(patience=2), data=data)
    with pytest.raises(SettingError, match="needs validation images"):
        train_on_all_images(STOPPING, study, tmp_path / "all")
    assert not (tmp_path / "all" / "mining").exists()


STOPPING = vary(
    TINY,
    {
        "name": "stopping",
        "model": "unet",
        "training.strategy": "plain",
        "training.epochs": 8,
        "training.patience": 1,
        "training.schedule": "constant",
    },
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    manifest = DATASET.read(make_fake_busi(tmp_path_factory.mktemp("data"), benign=6, malignant=6, normal=0))
    return StudyData(manifest, prepare(manifest, 32, 1), make_folds(manifest, (), count=2))


def train(study: StudyData, out: Path, **changes: Any) -> tuple[Study, list[str]]:
    lines: list[str] = []
    recipe = vary(STOPPING, {f"training.{key}": value for key, value in changes.items()})
    existing = "resume" if changes else "refuse"
    callbacks = Callbacks(on_note=lines.append)
    return train_folds(recipe, study, [0], out, existing, callbacks, keep_checkpoints=True), lines  # type: ignore[arg-type]


def test_stopped_run_is_complete_and_goes_on_with_more_patience(tmp_path: Path, study: StudyData) -> None:
    run, _ = train(study, tmp_path)
    folder, selection = run.folds[0].folder, run.folds[0].record.selection
    assert (selection.stopped_after, selection.rule) == (3, "best-validation-dice")
    assert read_fold(folder).record.selection == selection
    longer, lines = train(study, tmp_path, epochs=9)  # a run of 9 epochs would have stopped at the same epoch
    assert lines == ["Extends the training to 9 epochs: fold-0 from 3 of 8."]
    assert longer.folds[0].record.selection == selection
    patient, lines = train(study, tmp_path, epochs=9, patience=4)
    assert lines == ["Extends the training to 9 epochs, patience 4: fold-0 from 3 of 9."]
    assert patient.folds[0].record.selection.stopped_after == 9
    whole = train_folds(patient.folds[0].record.experiment, study, [0], tmp_path / "whole")
    networks = [load_weights(run.folds[0].folder / "weights").network for run in (patient, whole)]
    assert same_weights(*networks)
    with pytest.raises(FoldError, match=r"with training\.patience=1 it would have stopped after 3.*larger patience"):
        train(study, tmp_path, epochs=9)
    assert not math.isnan(patient.summary.lesion.score("dice").mean or math.nan)
