"""`train --resume` with more epochs: the run of that length from the beginning, or a refusal with the reason."""

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


class PowerCutError(Exception):
    """Stands for the end of the process."""


def cut_after(epoch: int) -> Callable[..., None]:
    def hear(phase: str, row: dict[str, Any], epochs: int) -> None:
        if (phase, row["epoch"]) == ("train", epoch):
            raise PowerCutError

    return hear


def epochs(experiment: Experiment, count: int) -> Experiment:
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

    def undisturbed(self, experiment: Experiment) -> FoldResult:
        """Fold 0 of `experiment`, trained at once."""
        return read_fold(self._trained(experiment, None) / experiment_folder(experiment))

    def copy(self, experiment: Experiment, out: Path, epoch: int | None = None) -> None:
        """Fold 0 of `experiment` in `out`, finished or broken off after `epoch`."""
        shutil.copytree(self._trained(experiment, epoch), out, dirs_exist_ok=True)

    def _trained(self, experiment: Experiment, epoch: int | None) -> Path:
        key = f"{experiment!r} {epoch}"
        if key not in self.trained:
            out = self.trained[key] = self.root / str(len(self.trained))
            with nullcontext() if epoch is None else pytest.raises(PowerCutError):
                train(self.study, experiment, out, callbacks=Callbacks(on_epoch=cut_after(epoch or 0)))
        return self.trained[key]


def experiment_folder(experiment: Experiment) -> str:
    return f"busi/{experiment.name}/grouped/fold-0"


@pytest.fixture(scope="module")
def runs(study: StudyData, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(study, tmp_path_factory.mktemp("runs"))


def train(study: StudyData, experiment: Experiment, out: Path, folds: tuple[int, ...] = (0,), **more: Any) -> Study:
    """As the command does: it keeps the checkpoints."""
    return train_folds(experiment, study, folds, out, keep_checkpoints=True, **more)


def resume(study: StudyData, experiment: Experiment, out: Path, folds: tuple[int, ...] = (0,), **more: Any) -> Study:
    return train(study, experiment, out, folds, existing="resume", **more)


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def assert_same_run(one: FoldResult, other: FoldResult) -> None:
    """Weights bit for bit, scores, history and result.json; times and the folder apart."""
    assert same_weights(*(load_weights(run.folder / "weights").network for run in (one, other)))
    pd.testing.assert_frame_equal(one.scores, other.scores)
    history, other_history = (pd.read_csv(run.folder / "history.csv").drop(columns="seconds") for run in (one, other))
    pd.testing.assert_frame_equal(history, other_history)
    one_record, other_record = (run.record.model_dump(exclude=TIMES) for run in (one, other))
    assert one_record == other_record
    assert read_fold(one.folder).record == one.record
    for file in ("experiment.yaml", "scores.csv", "weights/config.json"):
        assert (one.folder / file).read_bytes() == (other.folder / file).read_bytes(), file


# 3 -> 4 epochs leaves one easy epoch, so that the mined run can go on too.
@pytest.mark.parametrize(("experiment", "more"), [(PLAIN, 5), (MINED, 4)], ids=["plain", "easy-to-hard"])
@pytest.mark.parametrize("interrupted", [True, False])
def test_a_longer_run_equals_one_that_was_never_shorter(
    study: StudyData, runs: Runs, tmp_path: Path, experiment: Experiment, more: int, interrupted: bool
) -> None:
    runs.copy(experiment, tmp_path, 2 if interrupted else None)
    heard: list[tuple[str, int]] = []
    lines: list[str] = []
    grown = resume(
        study,
        epochs(experiment, more),
        tmp_path,
        callbacks=Callbacks(
            on_epoch=lambda phase, row, _: heard.append((phase, row["epoch"])), on_extension=lines.append
        ),
    )
    done = 2 if interrupted else 3
    assert heard == [("train", epoch) for epoch in range(done + 1, more + 1)]
    assert lines == [f"Extends the training to {more} epochs: fold-0 from {done} of 3."]
    undisturbed = runs.undisturbed(epochs(experiment, more))
    assert_same_run(grown.folds[0], undisturbed)
    pd.testing.assert_frame_equal(grown.scores, undisturbed.scores)
    files = {name for name in content(grown.folds[0].folder) if name.startswith("checkpoint")}
    assert files == {"checkpoint.pt"}


def test_finished_and_unfinished_folds_of_a_study_go_on_together(study: StudyData, runs: Runs, tmp_path: Path) -> None:
    runs.copy(PLAIN, tmp_path / "grown")
    with pytest.raises(PowerCutError):
        train(study, PLAIN, tmp_path / "grown", (1,), callbacks=Callbacks(on_epoch=cut_after(1)))
    grown = resume(study, epochs(PLAIN, 5), tmp_path / "grown", (0, 1))
    undisturbed = train(study, epochs(PLAIN, 5), tmp_path / "undisturbed", (0, 1))
    for one, other in zip(grown.folds, undisturbed.folds, strict=True):
        assert_same_run(one, other)
    assert grown.summary == undisturbed.summary


def test_a_run_goes_on_more_than_once(study: StudyData, runs: Runs, tmp_path: Path) -> None:
    runs.copy(PLAIN, tmp_path)
    for count in (4, 5):
        grown = resume(study, epochs(PLAIN, count), tmp_path)
    assert_same_run(grown.folds[0], runs.undisturbed(epochs(PLAIN, 5)))


@pytest.mark.parametrize("place", ["first checkpoint", "second checkpoint", "result", "settings", "first epoch"])
def test_a_kill_while_it_is_made_ready_loses_nothing(
    study: StudyData, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    runs.copy(PLAIN, tmp_path, None if place in ("result", "settings") else 2)
    more: dict[str, Any] = {"callbacks": Callbacks(on_epoch=cut_after(4))} if place == "first epoch" else {}
    writes: list[Path] = []
    write = checkpoint._write

    def dies(saved: checkpoint.Checkpoint, path: Path) -> None:
        writes.append(path)
        write(saved, path)
        if len(writes) == {"first checkpoint": 1, "second checkpoint": 2}[place]:
            raise PowerCutError

    def cut(*_: Any, **__: Any) -> None:
        raise PowerCutError

    with monkeypatch.context() as patch:
        if place.endswith("checkpoint"):
            patch.setattr(checkpoint, "_write", dies)
        elif place == "result":
            remove = Path.unlink
            patch.setattr(
                Path, "unlink", lambda path, **how: cut() if path.name == "result.json" else remove(path, **how)
            )
        elif place == "settings":
            patch.setattr(longer, "write_settings", cut)
        with pytest.raises(PowerCutError):
            resume(study, epochs(PLAIN, 5), tmp_path, **more)
    grown = resume(study, epochs(PLAIN, 5), tmp_path)
    assert_same_run(grown.folds[0], runs.undisturbed(epochs(PLAIN, 5)))


def test_a_torn_newest_checkpoint_still_falls_back_in_a_longer_run(
    study: StudyData, runs: Runs, tmp_path: Path
) -> None:
    runs.copy(PLAIN, tmp_path, 2)
    (tmp_path / experiment_folder(PLAIN) / "checkpoint.pt").write_bytes(b"torn")
    with pytest.warns(UserWarning, match="one epoch earlier"):
        grown = resume(study, epochs(PLAIN, 5), tmp_path)
    assert_same_run(grown.folds[0], runs.undisturbed(epochs(PLAIN, 5)))


# --------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("interrupted", [True, False])
@pytest.mark.parametrize(
    ("started", "asked", "reason"),
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
def test_what_is_not_the_same_training_is_refused_with_the_reason_and_changes_nothing(
    study: StudyData,
    runs: Runs,
    tmp_path: Path,
    interrupted: bool,
    started: dict[str, Any],
    asked: dict[str, Any],
    reason: str,
) -> None:
    experiment = vary(PLAIN, started)
    runs.copy(experiment, tmp_path, 2 if interrupted else None)
    before = content(tmp_path)
    with pytest.raises(TaiChiNetError, match=rf"(?s){reason}.*--out.*--overwrite"):
        resume(study, vary(experiment, asked), tmp_path)
    assert content(tmp_path) == before


def test_a_finished_run_without_its_checkpoint_is_refused(study: StudyData, tmp_path: Path) -> None:
    train_folds(PLAIN, study, [0], tmp_path)  # keeps none
    before = content(tmp_path)
    with pytest.raises(FoldError, match=r"cannot be extended to 6, because its checkpoint was not kept.*--overwrite"):
        resume(study, epochs(PLAIN, 6), tmp_path)
    assert content(tmp_path) == before


def test_other_masks_are_refused_although_the_epochs_grew(study: StudyData, runs: Runs, tmp_path: Path) -> None:
    runs.copy(PLAIN, tmp_path, 2)
    before = content(tmp_path)
    prepared = prepare(study.manifest, 32, 1)
    prepared.lesion.copy_(1 - prepared.lesion)
    with pytest.raises(WeightsError, match=r"besides training.epochs, images, masks, folds.*--out.*--overwrite"):
        resume(StudyData(study.manifest, prepared, study.plan), epochs(PLAIN, 6), tmp_path)
    assert content(tmp_path) == before


def test_one_fold_alone_does_not_go_on_beside_finished_ones(study: StudyData, runs: Runs, tmp_path: Path) -> None:
    runs.copy(PLAIN, tmp_path)
    train(study, PLAIN, tmp_path, (1,))
    before = content(tmp_path)
    with pytest.raises(FoldError, match=r"fold-1 was trained.*training.epochs was 3 and is 6 now.*leave out --fold"):
        resume(study, epochs(PLAIN, 6), tmp_path)
    assert content(tmp_path) == before


def test_where_one_of_the_folds_cannot_go_on_none_does(study: StudyData, runs: Runs, tmp_path: Path) -> None:
    runs.copy(PLAIN, tmp_path)
    train(study, PLAIN, tmp_path, (1,))
    (tmp_path / "busi/plain/grouped/fold-1/checkpoint.pt").unlink()
    before = content(tmp_path)
    with pytest.raises(FoldError, match=r"fold-1 .*checkpoint is not kept"):
        resume(study, epochs(PLAIN, 6), tmp_path, (0, 1))
    assert content(tmp_path) == before


def test_a_run_without_a_finished_epoch_takes_any_number(study: StudyData, runs: Runs, tmp_path: Path) -> None:
    runs.copy(PLAIN, tmp_path, 2)
    for name in ("checkpoint.pt", "checkpoint-previous.pt", "history.csv", "seconds"):
        (tmp_path / experiment_folder(PLAIN) / name).unlink()
    grown = resume(study, epochs(PLAIN, 5), tmp_path)
    assert_same_run(grown.folds[0], runs.undisturbed(epochs(PLAIN, 5)))
