"""`train --resume` with another decision: the weights are kept, the test images are scored again."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.busi import make_fake_busi
from helpers import TINY

from taichinet.datasets.folds import make_folds
from taichinet.datasets.prepared import prepare
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import FoldError
from taichinet.experiments.cross_validate import Callbacks, train_folds
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.records import FoldResult, read_fold
from taichinet.experiments.study_data import StudyData
from taichinet.storage.digest import digest_file

PLAIN = vary(
    TINY,
    {
        "model": "unet",
        "training.strategy": "plain",
        "training.epochs": 2,
        "training.schedule": "cosine",
        "data.include_normal": True,
    },
)
CALIBRATED = vary(PLAIN, {"decision.calibrate": True})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    manifest = DATASET.read(make_fake_busi(tmp_path_factory.mktemp("data"), benign=5, malignant=5, normal=4))
    return StudyData(manifest, prepare(manifest, 32, 1), make_folds(manifest, (), count=2))


def trained(study: StudyData, experiment: Experiment, out: Path, resume: bool = False) -> tuple[FoldResult, list[str]]:
    """The fold, and what was printed of an extension."""
    printed = list[str]()
    callbacks = Callbacks(on_note=printed.append)
    folder = train_folds(
        experiment,
        study,
        [0],
        out,
        existing="resume" if resume else "refuse",
        keep_checkpoints=True,
        callbacks=callbacks,
    ).folder
    return read_fold(folder / "fold-0"), printed


def test_weights_are_kept_and_the_fold_is_scored_with_the_new_decision(study: StudyData, tmp_path: Path) -> None:
    before, _ = trained(study, PLAIN, tmp_path / "again")
    weights = digest_file(before.folder / "weights" / "model.safetensors")
    again, printed = trained(study, CALIBRATED, tmp_path / "again", resume=True)
    fresh, _ = trained(study, CALIBRATED, tmp_path / "fresh")
    assert printed == ["Chooses another decision with the weights of: fold-0 from 2 of 2."]
    assert digest_file(again.folder / "weights" / "model.safetensors") == weights
    assert again.record.decision is not None
    assert again.record.decision == fresh.record.decision
    assert again.record.identity == fresh.record.identity != before.record.identity
    assert again.scores.equals(fresh.scores)
    assert again.record.experiment == CALIBRATED


def test_other_changes_together_with_the_decision_are_rejected(study: StudyData, tmp_path: Path) -> None:
    before, _ = trained(study, PLAIN, tmp_path)
    with pytest.raises(FoldError, match=r"training.seed was 0 and is 1 now"):
        trained(study, vary(CALIBRATED, {"training.seed": 1}), tmp_path, resume=True)
    with pytest.raises(FoldError, match=r"training.schedule=cosine, the learning rates"):
        trained(study, vary(CALIBRATED, {"training.epochs": 3}), tmp_path, resume=True)
    assert read_fold(before.folder).record == before.record
