"""`train --resume` with more epochs: equals an uninterrupted run of that length, or is rejected with the reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fakes.busi import make_fake_busi
from helpers import TINY, same_weights

from taichinet.datasets.folds import make_folds
from taichinet.datasets.prepared import prepare
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import FoldError, TaiChiNetError, WeightsError
from taichinet.experiments import longer
from taichinet.experiments.cross_validate import Callbacks, Study, train_folds
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.records import FoldResult, read_fold
from taichinet.experiments.study_data import StudyData
from taichinet.models.weights import load_weights
from taichinet.training import checkpoint

MINED = vary(TINY, {"training.schedule": "constant"})
PLAIN = vary(MINED, {"name": "plain", "model": "unet", "training.strategy": "plain"})
TIMES: dict[str, Any] = {"inference_seconds_per_image": True, "wall_seconds": True, "mining": {"seconds"}}


class SimulatedCrashError(Exception):
    """Simulates the end of the process."""


def crash_after(epoch: int) -> Callable[..., None]:
    def on_epoch(phase: str, row: dict[str, Any], epochs: int) -> None:
        if (phase, row["epoch"]) == ("train", epoch):
            raise SimulatedCrashError

    return on_epoch


def with_epochs(experiment: Experiment, count: int) -> Experiment:
    return vary(experiment, {"training.epochs": count})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    manifest = DATASET.read(make_fake_busi(tmp_path_factory.mktemp("data"), benign=6, malignant=6, normal=4))
    return StudyData(manifest, prepare(manifest, 32, 1), make_folds(manifest, (), count=2))


class Runs:
    """Runs that several tests start from or compare with, each trained once."""

    def __init__(self, study: StudyData, root: Path) -> None:
        self.study = study
        self.root = root
        self.trained: dict[str, Path] = {}

    def uninterrupted(self, experiment: Experiment) -> FoldResult:
        """Fold 0 of `experiment`, trained without interruption."""
        return read_fold(self._trained(experiment, None) / experiment_folder(experiment))

    def copy(self, experiment: Experiment, out: Path, epoch: int | None = None) -> None:
        """Copy fold 0 of `experiment` to `out`, finished or interrupted after `epoch`."""
        shutil.copytree(self._trained(experiment, epoch), out, dirs_exist_ok=True)

    def _trained(self, experiment: Experiment, epoch: int | None) -> Path:
        key = f"{experiment!r} {epoch}"
        if key not in self.trained:
            out = self.trained[key] = self.root / str(len(self.trained))
            with nullcontext() if epoch is None else pytest.raises(SimulatedCrashError):
                train(self.study, experiment, out, callbacks=Callbacks(on_epoch=crash_after(epoch or 0)))
        return self.trained[key]


def experiment_folder(experiment: Experiment) -> str:
    return f"busi/{experiment.name}/grouped/fold-0"


@pytest.fixture(scope="module")
def runs(study: StudyData, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(study, tmp_path_factory.mktemp("runs"))


def train(study: StudyData, experiment: Experiment, out: Path, folds: tuple[int, ...] = (0,), **more: Any) -> Study:
    """Train as the command does, with `keep_checkpoints`."""
    return train_folds(experiment, study, folds, out, keep_checkpoints=True, **more)


def resume(study: StudyData, experiment: Experiment, out: Path, folds: tuple[int, ...] = (0,), **more: Any) -> Study:
    return train(study, experiment, out, folds, existing="resume", **more)


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def assert_same_run(actual: FoldResult, expected: FoldResult) -> None:
    """Compare weights bit for bit, scores, history and result.json, without times and folders."""
    assert same_weights(*(load_weights(run.folder / "weights").network for run in (actual, expected)))
    pd.testing.assert_frame_equal(actual.scores, expected.scores)
    actual_history, expected_history = (
        pd.read_csv(run.folder / "history.csv").drop(columns="seconds") for run in (actual, expected)
    )
    pd.testing.assert_frame_equal(actual_history, expected_history)
    actual_record, expected_record = (run.record.model_dump(exclude=TIMES) for run in (actual, expected))
    assert actual_record == expected_record
    assert read_fold(actual.folder).record == actual.record
    for file in ("experiment.yaml", "scores.csv", "weights/config.json"):
        assert (actual.folder / file).read_bytes() == (expected.folder / file).read_bytes(), file


# 3 and 4 epochs both have one easy epoch, so that the run with mined regions can be extended too.
@pytest.mark.parametrize(("experiment", "more"), [(PLAIN, 5), (MINED, 4)], ids=["plain", "easy-to-hard"])
@pytest.mark.parametrize("interrupted", [True, False])
def test_extended_run_equals_uninterrupted_run(
    study: StudyData, runs: Runs, tmp_path: Path, experiment: Experiment, more: int, interrupted: bool
) -> None:
    runs.copy(experiment, tmp_path, 2 if interrupted else None)
    trained_epochs: list[tuple[str, int]] = []
    messages: list[str] = []
    extended = resume(
        study,
        with_epochs(experiment, more),
        tmp_path,
        callbacks=Callbacks(
            on_epoch=lambda phase, row, _: trained_epochs.append((phase, row["epoch"])), on_note=messages.append
        ),
    )
    done = 2 if interrupted else 3
    assert trained_epochs == [("train", epoch) for epoch in range(done + 1, more + 1)]
    assert messages == [f"Extends the training to {more} epochs: fold-0 from {done} of 3."]
    uninterrupted = runs.uninterrupted(with_epochs(experiment, more))
    assert_same_run(extended.folds[0], uninterrupted)
    pd.testing.assert_frame_equal(extended.scores, uninterrupted.scores)
    files = {name for name in content(extended.folds[0].folder) if name.startswith("checkpoint")}
    assert files == {"checkpoint.pt"}


def test_finished_and_unfinished_folds_are_extended_together(study: StudyData, runs: Runs, tmp_path: Path) -> None:
    runs.copy(PLAIN, tmp_path / "extended")
    with pytest.raises(SimulatedCrashError):
        train(study, PLAIN, tmp_path / "extended", (1,), callbacks=Callbacks(on_epoch=crash_after(1)))
    extended = resume(study, with_epochs(PLAIN, 5), tmp_path / "extended", (0, 1))
    uninterrupted = train(study, with_epochs(PLAIN, 5), tmp_path / "undisturbed", (0, 1))
    for actual, expected in zip(extended.folds, uninterrupted.folds, strict=True):
        assert_same_run(actual, expected)
    assert extended.summary == uninterrupted.summary


def test_run_can_be_extended_twice(study: StudyData, runs: Runs, tmp_path: Path) -> None:
    runs.copy(PLAIN, tmp_path)
    for count in (4, 5):
        extended = resume(study, with_epochs(PLAIN, count), tmp_path)
    assert_same_run(extended.folds[0], runs.uninterrupted(with_epochs(PLAIN, 5)))


@pytest.mark.parametrize("place", ["first checkpoint", "second checkpoint", "result", "settings", "first epoch"])
def test_crash_during_extension_loses_nothing(
    study: StudyData, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    runs.copy(PLAIN, tmp_path, None if place in ("result", "settings") else 2)
    more: dict[str, Any] = {"callbacks": Callbacks(on_epoch=crash_after(4))} if place == "first epoch" else {}
    writes: list[Path] = []
    write = checkpoint._write

    def write_and_crash(saved: checkpoint.Checkpoint, path: Path) -> None:
        writes.append(path)
        write(saved, path)
        if len(writes) == {"first checkpoint": 1, "second checkpoint": 2}[place]:
            raise SimulatedCrashError

    def crash(*_: Any, **__: Any) -> None:
        raise SimulatedCrashError

    with monkeypatch.context() as patch:
        if place.endswith("checkpoint"):
            patch.setattr(checkpoint, "_write", write_and_crash)
        elif place == "result":
            remove = Path.unlink
            patch.setattr(
                Path, "unlink", lambda path, **how: crash() if path.name == "result.json" else remove(path, **how)
            )
        elif place == "settings":
            patch.setattr(longer, "write_settings", crash)
        with pytest.raises(SimulatedCrashError):
            resume(study, with_epochs(PLAIN, 5), tmp_path, **more)
    extended = resume(study, with_epochs(PLAIN, 5), tmp_path)
    assert_same_run(extended.folds[0], runs.uninterrupted(with_epochs(PLAIN, 5)))


def test_extension_uses_previous_checkpoint_if_newest_is_truncated(
    study: StudyData, runs: Runs, tmp_path: Path
) -> None:
    runs.copy(PLAIN, tmp_path, 2)
    (tmp_path / experiment_folder(PLAIN) / "checkpoint.pt").write_bytes(b"torn")
    with pytest.warns(UserWarning, match="an earlier epoch"):
        extended = resume(study, with_epochs(PLAIN, 5), tmp_path)
    assert_same_run(extended.folds[0], runs.uninterrupted(with_epochs(PLAIN, 5)))


# --------------------------------------------------------------------------------------------- rejected extensions


@pytest.mark.parametrize("interrupted", [True, False])
@pytest.mark.parametrize(
    ("initial", "changes", "reason"),
    [
        ({}, {"training.epochs": 1}, r"training.epochs=3, of which \d are complete, and training.epochs=1 is lower"),
        (
            {"training.schedule": "cosine"},
            {"training.epochs": 6},
            r"cannot be extended to 6: with training.schedule=cosine",
        ),
        (
            {"training.strategy": "easy-to-hard"},
            {"training.epochs": 6},
            r"cannot be extended to 6: epoch 2 was trained with the curriculum step 'hard', which would be 'easy' with "
            r"6 epochs \(training.easy_share=0.25",
        ),
        ({}, {"training.seed": 7}, r"training.seed was 0 and is 7 now"),
        ({}, {"training.epochs": 6, "training.seed": 7}, r"training.epochs was 3 and is 6 now, training.seed was 0"),
        ({}, {"data.augmentation.probability": 0.4}, r"data.augmentation.probability was 0.5 and is 0.4 now"),
    ],
    ids=["fewer", "cosine", "step", "seed", "epochs and seed", "nested"],
)
def test_incompatible_extension_is_rejected_with_reason_and_changes_no_file(
    study: StudyData,
    runs: Runs,
    tmp_path: Path,
    interrupted: bool,
    initial: dict[str, Any],
    changes: dict[str, Any],
    reason: str,
) -> None:
    experiment = vary(PLAIN, initial)
    runs.copy(experiment, tmp_path, 2 if interrupted else None)
    before = content(tmp_path)
    with pytest.raises(TaiChiNetError, match=rf"(?s){reason}.*--output.*--overwrite"):
        resume(study, vary(experiment, changes), tmp_path)
    assert content(tmp_path) == before


def test_finished_run_without_checkpoint_is_rejected(study: StudyData, tmp_path: Path) -> None:
    train_folds(PLAIN, study, [0], tmp_path)  # without checkpoints
    before = content(tmp_path)
    reason = r"cannot be extended .*epochs was 3 and is 6 now.*because its checkpoint was not kept.*--overwrite"
    with pytest.raises(FoldError, match=reason):
        resume(study, with_epochs(PLAIN, 6), tmp_path)
    assert content(tmp_path) == before


def test_extension_with_different_masks_is_rejected(study: StudyData, runs: Runs, tmp_path: Path) -> None:
    runs.copy(PLAIN, tmp_path, 2)
    before = content(tmp_path)
    prepared = prepare(study.manifest, 32, 1)
    prepared.lesion.copy_(1 - prepared.lesion)
    with pytest.raises(
        WeightsError,
        match=r"besides training.epochs, training.patience or decision, images, masks.*--output.*--overwrite",
    ):
        resume(StudyData(study.manifest, prepared, study.plan), with_epochs(PLAIN, 6), tmp_path)
    assert content(tmp_path) == before


def test_single_fold_of_finished_study_cannot_be_extended(study: StudyData, runs: Runs, tmp_path: Path) -> None:
    runs.copy(PLAIN, tmp_path)
    train(study, PLAIN, tmp_path, (1,))
    before = content(tmp_path)
    with pytest.raises(FoldError, match=r"fold-1 was trained.*training.epochs was 3 and is 6 now.*leave out --fold"):
        resume(study, with_epochs(PLAIN, 6), tmp_path)
    assert content(tmp_path) == before


def test_no_fold_is_extended_if_one_cannot_be_extended(study: StudyData, runs: Runs, tmp_path: Path) -> None:
    runs.copy(PLAIN, tmp_path)
    train(study, PLAIN, tmp_path, (1,))
    (tmp_path / "busi/plain/grouped/fold-1/checkpoint.pt").unlink()
    before = content(tmp_path)
    with pytest.raises(FoldError, match=r"fold-1 .*checkpoint was not kept"):
        resume(study, with_epochs(PLAIN, 6), tmp_path, (0, 1))
    assert content(tmp_path) == before


def test_run_without_completed_epoch_accepts_any_number_of_epochs(study: StudyData, runs: Runs, tmp_path: Path) -> None:
    runs.copy(PLAIN, tmp_path, 2)
    for name in ("checkpoint.pt", "checkpoint-previous.pt", "history.csv", "seconds"):
        (tmp_path / experiment_folder(PLAIN) / name).unlink()
    extended = resume(study, with_epochs(PLAIN, 5), tmp_path)
    assert_same_run(extended.folds[0], runs.uninterrupted(with_epochs(PLAIN, 5)))
