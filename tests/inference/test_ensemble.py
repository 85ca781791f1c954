"""Predictors of one network, of a study, and with mirror images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_network
from PIL import Image
from typer.testing import CliRunner

from inference.test_predictor import random_image
from taichinet.cli.app import app
from taichinet.errors import WeightsError
from taichinet.evaluation.decision import Decision, mean_decision
from taichinet.inference.ensemble import PredictorChoices, open_predictor
from taichinet.inference.predictor import Predictor
from taichinet.models.weights import save_weights
from taichinet.models.weights_folder import WeightsConfig

IMAGE = random_image(40, 50)
EAGER = PredictorChoices(runtime="eager")


def fold(study: Path, number: int, size: int = 32, decision: Decision | None = None) -> Path:
    config = WeightsConfig("unet", {"width": 2}, size, decision=None if decision is None else decision.model_dump())
    return save_weights(tiny_network("unet", seed=number), config, study / f"fold-{number}" / "weights")


def test_a_study_is_the_mean_of_its_networks(tmp_path: Path) -> None:
    folders = [fold(tmp_path, number) for number in range(3)]
    ensemble, members = open_predictor(tmp_path, EAGER)
    singles = [open_predictor(folder, EAGER)[0].predict(IMAGE).probability for folder in folders]
    assert [member.folder for member in members] == folders
    assert np.allclose(ensemble.predict(IMAGE).probability, np.mean(singles, axis=0), atol=1e-6)
    assert "mean of 3 networks" in str(ensemble.runtime.description)


def test_the_decision_of_a_study_is_the_mean_of_those_of_its_networks(tmp_path: Path) -> None:
    first = Decision(temperature=1, threshold=0.4, smallest_component=0.002, presence=0.5, fill_holes=True)
    second = Decision(temperature=2, threshold=0.6, presence=0.7)
    fold(tmp_path, 0, decision=first)
    fold(tmp_path, 1, decision=second)
    expected = Decision(temperature=1.5, threshold=0.5, smallest_component=0.001, presence=0.6)
    assert open_predictor(tmp_path, EAGER)[0].decision == pytest.approx(expected)
    assert mean_decision([first, first, second]).fill_holes
    without = replace(EAGER, presence_decision=False, threshold=0.3)
    assert open_predictor(tmp_path, without)[0].decision == expected.model_copy(
        update={"presence": 0.0, "threshold": 0.3}
    )


def test_a_single_network_keeps_its_decision(tmp_path: Path) -> None:
    decision = Decision(threshold=0.37, presence=0.2)
    folder = fold(tmp_path, 0, decision=decision)
    assert open_predictor(folder, EAGER)[0].decision == decision
    assert open_predictor(tmp_path / "fold-0", EAGER)[0].decision == decision


def test_networks_with_different_inputs_are_not_averaged(tmp_path: Path) -> None:
    fold(tmp_path, 0)
    fold(tmp_path, 1, size=48)
    with pytest.raises(WeightsError, match=r"fold-0.* 32 px .*fold-1.* 48 px .*give\s+one of them"):
        open_predictor(tmp_path, EAGER)


def test_a_study_without_weights_is_reported(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError,
        match=r"No weights at .*Give a weights folder, a run folder .*, a cross-validation .*, or the name",
    ):
        open_predictor(tmp_path, EAGER)


def test_mirror_images_are_averaged(tmp_path: Path) -> None:
    folder = fold(tmp_path, 0)
    predictor: Predictor = open_predictor(folder, replace(EAGER, mirror=True))[0]
    seen, mirrored = predictor.predict(IMAGE), predictor.predict(np.ascontiguousarray(IMAGE[:, ::-1]))
    assert np.allclose(seen.probability, mirrored.probability[:, ::-1], atol=1e-5)
    assert "mirror image" in str(predictor.runtime.description)


def test_predict_accepts_a_study_and_starts_again_with_other_choices(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for number in range(2):
        fold(study, number)
    Image.fromarray(IMAGE).save(tmp_path / "image.png")
    arguments = ["predict", str(tmp_path / "image.png"), "-w", str(study), "-o", str(tmp_path / "out"), "--json"]
    runner = CliRunner()
    plain = runner.invoke(app, arguments)
    mirrored = runner.invoke(app, [*arguments, "--mirror"])
    assert plain.exit_code == mirrored.exit_code == 0
    (first,), (second,) = (json.loads(result.stdout) for result in (plain, mirrored))
    assert first["max_probability"] != second["max_probability"]
