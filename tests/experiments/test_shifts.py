"""Evaluation with mirror images and under the shift suite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fakes.busi import make_fake_busi
from helpers import FLOAT32_CPU, tiny_network
from torch import Tensor, nn
from typer.testing import CliRunner

from taichinet.batch import Prediction
from taichinet.cli.app import app
from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.prepared import prepare
from taichinet.datasets.ultrasound.shifts import SHIFTS
from taichinet.evaluation.decision import Decision
from taichinet.experiments.evaluate import evaluate_weights
from taichinet.experiments.shifts import UNCHANGED, _image_scores, score_shifts
from taichinet.models.weights import save_weights
from taichinet.models.weights_folder import WeightsConfig


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fake_busi(tmp_path_factory.mktemp("data") / "busi", benign=4, malignant=3, normal=3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """Random weights with a threshold above which half of all pixels are."""
    network = tiny_network("unet").eval()
    (batch,) = prepare(open_dataset(data, include_normal=True), 32, 1).batches(10)
    with torch.inference_mode():
        threshold = float(network(batch.image).lesion.median())
    config = WeightsConfig("unet", {"width": 2}, 32, threshold)
    return save_weights(network, config, tmp_path_factory.mktemp("weights"))


def test_every_shift_is_scored_and_unchanged_images_as_in_the_evaluation(data: Path, weights: Path) -> None:
    evaluation = evaluate_weights(weights, data, normal=True)
    none, *shifts = score_shifts(evaluation.networks)
    assert [none.shift, *(row.shift for row in shifts)] == [UNCHANGED, *SHIFTS]
    lesion = evaluation.summary.lesion
    assert none.dice == pytest.approx(lesion.score("dice").mean, abs=1e-6)
    assert none.lost_dice == 0
    assert none.false_positive_rate == evaluation.summary.normal_images.false_positive_rate
    assert all(row.normal_images == 3 and row.lesion_images <= 7 for row in shifts)
    assert any(row.lost_dice != 0 for row in shifts)


class EverythingIsLesion(nn.Module):
    def forward(self, image: Tensor) -> Prediction:
        return Prediction(positive=image * 0 + 5)


def test_images_are_scored_with_the_decision(data: Path) -> None:
    prepared = prepare(open_dataset(data, include_normal=True), 32, 1)
    every, none = (
        _image_scores(EverythingIsLesion(), prepared, Decision(presence=presence), FLOAT32_CPU)
        for presence in (0.9, 1.0)
    )
    assert every["predicted"].all()
    assert not none["predicted"].any()
    assert every["dice"].isna().sum() == 3
    assert (every["dice"].dropna() > 0).all()
    assert (none["dice"].dropna() == 0).all()


def test_mirrored_evaluation_differs_and_is_recorded(data: Path, weights: Path, tmp_path: Path) -> None:
    seen, mirrored = tmp_path / "seen", tmp_path / "mirrored"
    arguments = ["evaluate", str(weights), "--data", str(data), "-o"]
    assert CliRunner().invoke(app, [*arguments, str(seen)]).exit_code == 0
    printed = CliRunner().invoke(app, [*arguments, str(mirrored), "--mirror", "--shifts"])
    assert printed.exit_code == 0
    assert "speckle 0.25" in printed.stdout
    plain, averaged = (json.loads((folder / "summary.json").read_text()) for folder in (seen, mirrored))
    assert "mirrored" not in plain
    assert "shifts" not in plain
    assert averaged["mirrored"] is True
    assert [row["shift"] for row in averaged["shifts"]] == [UNCHANGED, *SHIFTS]
    assert (seen / "scores.csv").read_text() != (mirrored / "scores.csv").read_text()
