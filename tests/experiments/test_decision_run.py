"""A run with `decision.calibrate`: chosen on the validation part, stored with the weights, used for every score."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from fakes.busi import make_fake_busi
from helpers import FLOAT32_CPU, TINY
from torch import nn

from taichinet.batch import Prediction
from taichinet.datasets.folds import make_folds
from taichinet.datasets.prepared import prepare
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import SettingError
from taichinet.evaluation.decision import Decision
from taichinet.experiments.evaluate import evaluate_weights
from taichinet.experiments.experiment import vary
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.records import read_fold
from taichinet.experiments.run import run_fold
from taichinet.experiments.scoring import score_images
from taichinet.experiments.study_data import StudyData
from taichinet.models.weights import load_weights

PLAIN = {"model": "unet", "training.strategy": "plain", "training.epochs": 1, "data.include_normal": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fake_busi(tmp_path_factory.mktemp("data") / "busi", benign=5, malignant=4, normal=4)


@pytest.fixture(scope="module")
def study(folder: Path) -> StudyData:
    manifest = DATASET.read(folder)
    return StudyData(manifest, prepare(manifest, 32, 1), make_folds(manifest, (), count=2))


def job(study: StudyData, folder: Path, **changes: object) -> FoldJob:
    recipe = vary(TINY, PLAIN | {key.replace("__", "."): value for key, value in changes.items()})
    return FoldJob(recipe, study, 0, folder, folder.parent / "mining")


def test_decision_is_recorded_stored_and_used(study: StudyData, folder: Path, tmp_path: Path) -> None:
    result = run_fold(job(study, tmp_path / "fold-0", decision__calibrate=True))
    chosen = result.record.decision
    assert chosen is not None
    split = study.plan.split(0, study.manifest.labels, 0.5)
    assert chosen.lesion_images + chosen.normal_images == len(split.validation)
    assert chosen.sensitivity == 0.95
    assert read_fold(result.folder).record.decision == chosen
    loaded = load_weights(result.folder / "weights")
    assert loaded.config.decision == chosen.decision.model_dump(mode="json")
    assert loaded.config.threshold == chosen.decision.threshold
    test = study.prepared.subset(split.test)
    again = score_images(loaded.network, study.manifest, test, 0, FLOAT32_CPU, chosen.decision).rows
    pd.testing.assert_frame_equal(again, result.scores)
    evaluated, scored = (
        rows.set_index("key").sort_index()[["dice", "dice_native"]]
        for rows in (evaluate_weights(result.folder, f"busi={folder}").scores, result.scores)
    )
    pd.testing.assert_frame_equal(evaluated, scored)


def test_run_without_calibration_has_no_decision(study: StudyData, tmp_path: Path) -> None:
    result = run_fold(job(study, tmp_path / "fold-0"))
    assert "decision" not in json.loads((result.folder / "result.json").read_text())
    assert "decision" not in json.loads((result.folder / "weights" / "config.json").read_text())
    assert "dice_before_native" not in result.scores


def test_calibration_without_validation_images_is_refused(study: StudyData, tmp_path: Path) -> None:
    refused = job(study, tmp_path / "fold-0", decision__calibrate=True, data__validation_share=0)
    with pytest.raises(SettingError, match=r"has 0 validation images.*Increase data\.validation_share"):
        run_fold(refused)


class Constant(nn.Module):
    """A lesion probability of 0.7 everywhere."""

    def forward(self, image: torch.Tensor) -> Prediction:
        return Prediction(positive=torch.logit(torch.full_like(image, 0.7)))


@pytest.mark.parametrize(("presence", "predicted"), [(0.6, 1), (0.8, 0)])
def test_scores_follow_the_presence_decision_and_keep_the_dice_before_it(
    study: StudyData, presence: float, predicted: int
) -> None:
    rows = score_images(Constant(), study.manifest, study.prepared, 0, FLOAT32_CPU, Decision(presence=presence)).rows
    assert rows["predicted_pixels"].tolist() == [predicted * 32 * 32] * len(rows)
    assert (rows["predicted_pixels_native"] > 0).tolist() == [bool(predicted)] * len(rows)
    lesions = rows[rows["true_pixels"] > 0]
    assert (lesions["dice_before_native"] > 0).all()
    if predicted:
        assert lesions["dice_before_native"].tolist() == pytest.approx(lesions["dice_native"].tolist())
    else:
        assert (lesions["dice_native"] == 0).all()
