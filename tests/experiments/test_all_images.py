"""Training on all images: no validation or test part, the decision of the folds, resuming and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fakes.busi import make_fake_busi
from helpers import TINY

from taichinet.datasets.folds import make_folds
from taichinet.datasets.prepared import prepare
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import FoldError, SettingError
from taichinet.evaluation.decision import mean_decision
from taichinet.experiments.all_images import decision_of, train_on_all_images
from taichinet.experiments.cross_validate import train_folds
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.study_data import StudyData
from taichinet.experiments.transport.pack import pack_runs
from taichinet.experiments.transport.unpack import unpack_runs
from taichinet.inference.ensemble import PredictorChoices, open_predictor
from taichinet.models.weights import load_weights


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    folder = make_fake_busi(tmp_path_factory.mktemp("data") / "busi", benign=5, malignant=4, normal=4)
    manifest = DATASET.read(folder)
    return StudyData(manifest, prepare(manifest, 32, 1), make_folds(manifest, (), count=2))


@pytest.fixture(scope="module")
def recipe() -> Experiment:
    return vary(
        TINY,
        {
            "model": "unet",
            "training.strategy": "plain",
            "training.epochs": 1,
            "data.include_normal": True,
            "data.folds": 2,
            "decision.calibrate": True,
        },
    )


def test_every_image_trains_and_the_folds_decide(study: StudyData, recipe: Experiment, tmp_path: Path) -> None:
    trained = train_on_all_images(recipe, study, tmp_path)
    assert trained.record.images == len(study.manifest.keys)
    assert trained.record.decision is None
    before = load_weights(trained.folder / "weights")
    assert sorted(before.config.provenance["train_keys"]) == sorted(study.manifest.keys)
    assert before.config.provenance["validation_keys"] == []
    assert before.config.provenance["fold"] is None

    first = train_folds(recipe, study, [0], tmp_path)
    assert len(first.folds) == 1  # the network of all images is not taken for a fold
    some = train_on_all_images(recipe, study, tmp_path, "resume")
    assert some.record.decision_folds == (0,)
    folds = train_folds(recipe, study, [1], tmp_path).folds
    resumed = train_on_all_images(recipe, study, tmp_path, "resume")
    chosen = [fold.record.decision.decision for fold in folds if fold.record.decision]
    assert resumed.record.decision == mean_decision(chosen)
    assert resumed.record.decision_folds == (0, 1)
    after = load_weights(resumed.folder / "weights")
    assert after.config.decision == mean_decision(chosen).model_dump(mode="json")
    assert after.config.threshold == mean_decision(chosen).threshold
    for name, tensor in before.network.state_dict().items():
        assert tensor.equal(after.network.state_dict()[name]), name
    _, members = open_predictor(resumed.folder, PredictorChoices())
    assert [member.config.provenance["fold"] for member in members] == [None]


def test_it_is_packed_with_its_weights_and_takes_the_decision_of_folds_on_the_other_machine(
    study: StudyData, recipe: Experiment, tmp_path: Path
) -> None:
    trained = train_on_all_images(recipe, study, tmp_path / "gpu")
    pack_runs(tmp_path / "gpu", tmp_path / "archive", weights=True)
    folds = train_folds(recipe, study, [0], tmp_path / "here").folds
    unpack_runs(tmp_path / "archive", tmp_path / "here")
    resumed = train_on_all_images(recipe, study, tmp_path / "here", "resume")
    assert resumed.record == trained.record.model_copy(
        update={"decision": decision_of(folds), "decision_folds": (0,), "identity": resumed.record.identity}
    )
    before, after = load_weights(trained.folder / "weights"), load_weights(resumed.folder / "weights")
    for name, tensor in before.network.state_dict().items():
        assert torch.equal(
            tensor.half().float() if tensor.is_floating_point() else tensor, after.network.state_dict()[name]
        ), name

    train_on_all_images(vary(recipe, {"training.epochs": 2}), study, tmp_path / "gpu", "overwrite")
    pack_runs(tmp_path / "gpu", tmp_path / "archive")
    unpack_runs(tmp_path / "archive", tmp_path / "here", overwrite=True)
    assert not (resumed.folder / "weights").exists()  # of the training that was replaced


def test_folds_of_other_settings_do_not_decide(study: StudyData, recipe: Experiment, tmp_path: Path) -> None:
    train_folds(vary(recipe, {"training.seed": 7}), study, [0], tmp_path)
    trained = train_on_all_images(recipe, study, tmp_path)
    assert trained.record.decision_folds == ()


def test_an_existing_training_is_kept(study: StudyData, recipe: Experiment, tmp_path: Path) -> None:
    folder = train_on_all_images(recipe, study, tmp_path).folder
    with pytest.raises(FoldError, match=r"all-images already contains a training. Resume it with --resume"):
        train_on_all_images(recipe, study, tmp_path)
    with pytest.raises(FoldError, match=r"training.seed was 0 and is 3 now"):
        train_on_all_images(vary(recipe, {"training.seed": 3}), study, tmp_path, "resume")
    other = train_on_all_images(vary(recipe, {"training.seed": 3}), study, tmp_path, "overwrite")
    assert json.loads((folder / "training.json").read_text())["experiment"]["training"]["seed"] == 3
    assert other.folder == folder


def test_an_interrupted_training_continues(study: StudyData, recipe: Experiment, tmp_path: Path) -> None:
    class InterruptionError(Exception):
        pass

    def interrupt(phase: str, row: dict[str, object], epochs: int) -> None:
        if row["epoch"] == 1:
            raise InterruptionError

    longer = vary(recipe, {"training.epochs": 2})
    with pytest.raises(InterruptionError):
        train_on_all_images(longer, study, tmp_path / "a", on_epoch=interrupt)
    resumed = load_weights(train_on_all_images(longer, study, tmp_path / "a", "resume").folder / "weights")
    whole = load_weights(train_on_all_images(longer, study, tmp_path / "b").folder / "weights")
    for name, tensor in whole.network.state_dict().items():
        assert tensor.equal(resumed.network.state_dict()[name]), name


def test_a_recipe_with_a_teacher_is_refused(study: StudyData, recipe: Experiment, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"has the teacher busi-taichinet.*Train a recipe without teacher"):
        train_on_all_images(vary(recipe, {"teacher": "busi-taichinet"}), study, tmp_path)
