"""The decision of the weights: the predictor, the exported file, its runner and `taichinet predict`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from helpers import FLOAT32_CPU
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from taichinet.batch import Prediction
from taichinet.cli.predict import predict
from taichinet.errors import DataError, WeightsError
from taichinet.evaluation.decision import Decision
from taichinet.inference.outputs import refuse_foreign_files
from taichinet.inference.predictor import Predictor
from taichinet.models.catalogue import create_model
from taichinet.models.weights import load_weights, save_weights
from taichinet.models.weights_folder import LoadedWeights, WeightsConfig
from taichinet.runner import Model, cleaned

SIZE = 32
DECISION = Decision(temperature=2.0, threshold=0.55, smallest_component=0.02, fill_holes=True, presence=0.6)


class Brightness(nn.Module):
    """The grey value of a pixel is its lesion probability."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = create_model("unet", width=2).settings

    def forward(self, image: torch.Tensor) -> Prediction:
        return Prediction(positive=torch.logit(image, eps=1e-7))


def predictor(decision: Decision | None, threshold: float | None = None, presence: bool = True) -> Predictor:
    values = None if decision is None else decision.model_dump(mode="json")
    config = WeightsConfig("unet", {"width": 2}, SIZE, decision=values)
    return Predictor(LoadedWeights(Brightness, config), FLOAT32_CPU, threshold, presence_decision=presence)


def scene(grey: int) -> NDArray[np.uint8]:
    """A square of `grey` with a hole, and a speck, on black."""
    pixels = np.zeros((2 * SIZE, 3 * SIZE), dtype=np.uint8)
    pixels[10:40, 20:60] = grey
    pixels[20:26, 30:38] = 0
    pixels[50:54, 80:84] = grey
    return pixels


def test_predictor_applies_the_decision_of_the_weights() -> None:
    pixels = scene(220)
    plain, decided = (predictor(decision).predict(pixels) for decision in (None, DECISION))
    assert (plain.components, decided.components) == (2, 1)
    assert not plain.mask[23, 34]
    assert decided.mask[23, 34]
    np.testing.assert_allclose(decided.probability, DECISION.calibrated(plain.probability), atol=1e-6)
    assert decided.presence == pytest.approx(float(DECISION.calibrated(np.array([220 / 255]))[0]), abs=1e-4)
    assert plain.presence == pytest.approx(220 / 255, abs=1e-4)


def test_image_below_the_presence_threshold_has_no_lesion_unless_it_is_switched_off() -> None:
    pixels = scene(150)  # its score is 150 / 255 = 0.59
    threshold = Decision(presence=0.6)
    assert predictor(threshold).predict(pixels).lesion_pixels == 0
    assert predictor(threshold, presence=False).predict(pixels).lesion_pixels > 0


def test_threshold_overrides_that_of_the_decision_only() -> None:
    assert predictor(DECISION, 0.7).decision == DECISION.model_copy(update={"threshold": 0.7})
    assert predictor(DECISION, presence=False).decision == DECISION.model_copy(update={"presence": 0.0})
    assert predictor(None, 0.7).decision == Decision(threshold=0.7)


def test_config_has_a_decision_only_if_there_is_one(tmp_path: Path) -> None:
    config = WeightsConfig("unet", {"width": 2}, SIZE)
    save_weights(create_model("unet", width=2), config, tmp_path / "plain")
    assert "decision" not in json.loads((tmp_path / "plain" / "config.json").read_text())
    with_decision = replace(config, decision=DECISION.model_dump(mode="json"))
    folder = save_weights(create_model("unet", width=2), with_decision, tmp_path / "decided")
    assert Predictor(load_weights(folder), FLOAT32_CPU).decision == DECISION


@pytest.mark.parametrize(("value", "named"), [([1], "'decision' must be a dictionary"), ({"presence": 2}, "presence")])
def test_bad_decision_in_config_is_an_error_of_the_weights(tmp_path: Path, value: Any, named: str) -> None:
    folder = save_weights(create_model("unet", width=2), WeightsConfig("unet", {"width": 2}, SIZE), tmp_path / "w")
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"decision": value}))
    with pytest.raises(WeightsError, match=named):
        Predictor(load_weights(folder), FLOAT32_CPU)


@pytest.mark.parametrize("grey", [0, 150, 220])
@pytest.mark.parametrize("decision", [Decision(), DECISION, Decision(presence=0.6)])
def test_exported_file_makes_the_same_decision(tmp_path: Path, grey: int, decision: Decision) -> None:
    onnx = pytest.importorskip("onnx")
    from taichinet.inference.export.graph import LESION, NETWORK_IMAGE
    from taichinet.inference.export.processing import complete_onnx

    network = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> same (float[1, 1, {SIZE}, {SIZE}] {NETWORK_IMAGE})'
        f" => (float[1, 1, {SIZE}, {SIZE}] {LESION}) {{ {LESION} = Identity ({NETWORK_IMAGE}) }}"
    )
    complete = complete_onnx(network, 1, SIZE, decision, {"weights": "none"})
    metadata = {entry.key: entry.value for entry in complete.metadata_props}
    assert Decision.model_validate_json(metadata["decision"]) == decision
    exported = Model(complete.SerializeToString()).segment(scene(grey))
    expected = predictor(decision).predict(scene(grey))
    assert np.abs(exported.probability - expected.probability).mean() < 1e-3  # resizing may round differently
    apart = np.count_nonzero((exported.mask > 0) != expected.mask)
    assert apart <= 0.002 * expected.mask.size
    assert bool(exported.mask.any()) == bool(expected.mask.any())


@pytest.mark.parametrize("density", [0.1, 0.4, 0.6, 0.9])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (25, 40)])
@pytest.mark.parametrize(("smallest", "fill"), [(0.0, True), (0.01, False), (0.02, True)])
def test_runner_cleans_masks_as_the_decision_does(
    density: float, shape: tuple[int, int], smallest: float, fill: bool
) -> None:
    decision = Decision(smallest_component=smallest, fill_holes=fill)
    for seed in range(5):
        mask = np.random.default_rng(seed).random(shape) < density
        result = cleaned(mask.astype(np.uint8) * np.uint8(255), smallest, fill)
        assert set(np.unique(result)) <= {0, 255}
        np.testing.assert_array_equal(result > 0, decision.cleaned(mask))


def run(*arguments: object) -> list[dict[str, Any]]:
    app = typer.Typer()
    app.command()(predict)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads((Path(str(arguments[-1])) / "predictions.json").read_text())
    return rows


def test_predict_reports_presence_and_can_switch_the_decision_off(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    Image.fromarray(scene(200)).save(tmp_path / "scans" / "a.png")
    torch.manual_seed(0)
    decision = Decision(threshold=0.0, presence=1.0).model_dump(mode="json")
    config = WeightsConfig("unet", {"width": 2}, SIZE, decision=decision)
    weights = save_weights(create_model("unet", width=2), config, tmp_path / "weights")
    (row,) = run(tmp_path / "scans", "-w", weights, "-o", tmp_path / "out")
    assert (row["lesion_pixels"], row["presence_threshold"]) == (0, 1.0)
    assert 0 < row["presence"] < 1
    (row,) = run(tmp_path / "scans", "-w", weights, "--no-presence-decision", "-o", tmp_path / "out")
    assert (row["lesion_pixels"], row["presence_threshold"]) == (scene(0).size, 0.0)


@pytest.mark.parametrize("removed", [0, 6, 8, 9])  # no provenance, no presence, no device
def test_tables_of_earlier_versions_are_recognised(tmp_path: Path, removed: int) -> None:
    from taichinet.inference.outputs import _COLUMNS

    columns = _COLUMNS[: len(_COLUMNS) - removed]
    (tmp_path / "predictions.csv").write_text(",".join(columns) + "\n")
    refuse_foreign_files(tmp_path, {})
    (tmp_path / "predictions.csv").write_text(",".join(columns[1:]) + "\n")
    with pytest.raises(DataError, match=r"predictions\.csv"):
        refuse_foreign_files(tmp_path, {})
