"""Distillation: the teacher is of the same fold and its predictions are augmented together with the images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.busi import make_fake_busi
from helpers import FLOAT32_CPU, augmented, discs
from torch.nn import functional as F

from taichinet.batch import Batch, Prediction
from taichinet.datasets.augmentation import AugmentationSettings
from taichinet.datasets.folds import Split, make_folds
from taichinet.datasets.prepared import TeacherProbabilities, prepare
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import DataError, FoldError, SettingError
from taichinet.experiments.cross_validate import summarise_study, train_folds
from taichinet.experiments.distillation import predict_teacher
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.records import FoldResult
from taichinet.experiments.run import run_fold
from taichinet.experiments.scoring import score_images
from taichinet.experiments.study_data import StudyData
from taichinet.losses.objective import ObjectiveSettings, objective
from taichinet.models.weights import load_weights

TEACHER = vary(
    get_recipe("demo-unet"),
    {
        "name": "teacher",
        "options.width": 2,
        "data.size": 32,
        "data.folds": 2,
        "data.validation_share": 0.5,
        "training.epochs": 2,
        "training.batch_size": 4,
        "training.precision": "float32",
    },
)
STUDENT = vary(TEACHER, {"name": "student", "teacher": "teacher"})


class Runs:
    """A fake BUSI with a folder of runs in which the teacher has finished fold 0."""

    def __init__(self, root: Path) -> None:
        manifest = DATASET.read(make_fake_busi(root / "data", benign=5, malignant=4, normal=4))
        self.study = StudyData(manifest, prepare(manifest, 32, 1), make_folds(manifest, (), count=2))
        self.split: Split = self.study.plan.split(0, manifest.labels, 0.5)
        self.out = root / "runs"
        self.teacher = self.train(TEACHER)

    def train(self, experiment: Experiment, fold: int = 0) -> FoldResult:
        return train_folds(experiment, self.study, [fold], self.out).folds[-1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("study"))


def test_student_is_trained_with_teacher_of_same_fold(runs: Runs) -> None:
    plain = runs.train(vary(TEACHER, {"name": "plain"}))
    student = runs.train(STUDENT)
    assert student.record.teacher is not None
    assert plain.record.teacher is None
    assert student.record.identity != plain.record.identity == runs.teacher.record.identity
    weights, without_teacher = (load_weights(run.folder / "weights").network.state_dict() for run in (student, plain))
    assert any(not torch.equal(weights[name], without_teacher[name]) for name in weights)
    with pytest.raises(FoldError, match="teacher has not finished this fold"):
        runs.train(STUDENT, fold=1)
    study = runs.study
    with pytest.raises(SettingError, match="has teacher teacher, but was given None"):
        run_fold(FoldJob(STUDENT, study, 0, runs.out / "lost", runs.out / "mining"))


def test_retrained_teacher_changes_identity_of_student(runs: Runs, tmp_path: Path) -> None:
    """The student's identity holds the teacher's weights."""
    study, cache = runs.study, runs.out / "mining"
    job = FoldJob(STUDENT, study, 0, tmp_path / "student", cache, teacher=runs.teacher.folder)
    run_fold(job)
    run_fold(replace(job, resume=True))
    other_teacher = run_fold(FoldJob(vary(TEACHER, {"training.seed": 1}), study, 0, tmp_path / "other", cache))
    with pytest.raises(FoldError, match="trained with other settings"):
        run_fold(replace(job, teacher=other_teacher.folder, resume=True))


def test_teacher_predicts_every_training_image_without_augmentation(runs: Runs) -> None:
    train = runs.study.prepared.subset(runs.split.train)
    teacher_probability = predict_teacher(runs.teacher.folder, train, runs.split, FLOAT32_CPU, batch_size=3)
    assert teacher_probability.keys == train.keys
    network = load_weights(runs.teacher.folder / "weights").network
    for number in range(len(train.keys)):
        with torch.no_grad():
            alone = network(train.image[number : number + 1].float() / 255).lesion[0]
        assert float((teacher_probability.probability[number] / 255 - alone).abs().max()) < 0.5 / 255 + 1e-4


@pytest.mark.parametrize(("part", "rejected"), [("validation", False), ("test", True), ("train", True)])
def test_teacher_trained_on_held_out_images_is_rejected(runs: Runs, part: str, rejected: bool, tmp_path: Path) -> None:
    """One held-out training image is enough; selection on the validation images of this fold is not leakage."""
    split = runs.split
    held_out = {
        "validation": split,
        "test": replace(split, validation=(), test=(split.validation[0],)),
        "train": replace(split, train=split.train[1:], test=(split.train[0],)),
    }[part]
    train = runs.study.prepared.subset(held_out.train)
    if not rejected:
        predict_teacher(runs.teacher.folder, train, held_out, FLOAT32_CPU)
        return
    with pytest.raises(FoldError, match="1 held-out images were used in training the teacher"):
        predict_teacher(runs.teacher.folder, train, held_out, FLOAT32_CPU)


def test_teacher_of_different_size_is_rejected(runs: Runs) -> None:
    train = prepare(runs.study.manifest, 16, 1).subset(runs.split.train)
    with pytest.raises(FoldError, match=r"\(1, 32, 1\), the student \(1, 16, 1\)"):
        predict_teacher(runs.teacher.folder, train, runs.split, FLOAT32_CPU)


def test_teacher_output_is_augmented_with_image_and_remains_probability() -> None:
    data = discs(6, size=64)
    teacher_output = (data.lesion.float() * 140 + 60).to(torch.uint8)
    batch = data.batch(torch.arange(6), teacher_probability=TeacherProbabilities(data.keys, teacher_output))
    moved = augmented(batch, AugmentationSettings(probability=1.0), torch.Generator().manual_seed(0))
    assert moved.teacher_probability is not None
    assert not torch.equal(moved.teacher_probability, batch.teacher_probability)  # type: ignore[arg-type]
    inside = moved.teacher_probability > 130 / 255  # between 60 and 200: the threshold that gives the mask
    assert float((inside.float() - moved.lesion).abs().mean()) < 0.01
    assert float(moved.teacher_probability.min()) >= 0
    assert float(moved.teacher_probability.max()) == pytest.approx(200 / 255, abs=1e-4)
    assert 0.2 < float(moved.teacher_probability[moved.lesion == 0].median()) < 0.25
    without = augmented(
        data.batch(torch.arange(6)), AugmentationSettings(probability=1.0), torch.Generator().manual_seed(0)
    )
    assert torch.equal(without.image, moved.image)
    with pytest.raises(DataError, match="teacher's predictions belong to other images"):
        data.batch(torch.arange(6), teacher_probability=TeacherProbabilities(data.keys[::-1], teacher_output))


def test_student_loss_adds_cross_entropy_with_teacher() -> None:
    torch.manual_seed(0)
    logits, lesion, teacher_probability = (
        torch.randn(3, 1, 8, 8),
        torch.rand(3, 1, 8, 8).round(),
        torch.rand(3, 1, 8, 8),
    )
    prediction = Prediction(positive=logits)
    alone = objective(prediction, Batch(lesion, lesion), "plain", ObjectiveSettings())
    with_teacher = objective(
        prediction,
        Batch(lesion, lesion, teacher_probability=teacher_probability),
        "plain",
        ObjectiveSettings(taught_weight=0.5),
    )
    expected = F.binary_cross_entropy(torch.sigmoid(logits), teacher_probability)
    torch.testing.assert_close(with_teacher - alone, 0.5 * expected)


# ------------------------------------------------------------------------- runs older than some of the settings


def test_runs_without_newer_settings_are_summarised_and_resumed(runs: Runs, tmp_path: Path) -> None:
    """A new setting whose default changes nothing must not invalidate finished folds."""
    study = replace(runs.study)
    old = train_folds(TEACHER, study, [0], tmp_path).folds[0]
    path = old.folder / "result.json"
    written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for section, key in (("training", "accumulate"), ("mining", "accumulate"), ("objective", "taught_weight")):
        del written["experiment"][section][key]
    del written["experiment"]["teacher"]
    path.write_text(json.dumps(written), encoding="utf-8")
    both = train_folds(TEACHER, study, [0, 1], tmp_path, existing="resume")
    assert sorted(fold.record.fold for fold in both.folds) == [0, 1]
    assert len(summarise_study(both.folder).folds) == 2
    with pytest.raises(FoldError, match="another experiment"):
        train_folds(vary(TEACHER, {"training.accumulate": 2}), study, [1], tmp_path, existing="overwrite")


# ------------------------------------------------------------------------- second path only during training


def test_training_only_path_is_not_scored_counted_or_saved(runs: Runs, tmp_path: Path) -> None:
    options = {"cross_attention": False, "head": "none", "second_path_at_inference": False, "shared_levels": 4}
    recipe = vary(TEACHER, {"name": "one-path", "model": "taichinet", "options": {"width": 2, **options}})
    study = runs.study
    result = run_fold(FoldJob(recipe, study, 0, tmp_path / "fold-0", tmp_path / "mining"))
    assert "second_path_dice" not in result.scores
    for cost in ("parameters", "gflops"):
        assert getattr(result.record, cost) == getattr(runs.teacher.record, cost)  # those of one U-Net
    loaded = load_weights(result.folder / "weights")
    assert loaded.config.model == "taichinet"
    assert not loaded.config.options["second_path"]
    part = study.prepared.subset(runs.split.test)
    again = score_images(loaded.network, study.manifest, part, 0, FLOAT32_CPU).rows
    assert again["dice"].tolist() == result.scores["dice"].tolist()
