"""Predictor: preprocessing of training, output at the original size, and measurements of the mask."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import FLOAT32_CPU, NARROW
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional as F

from taichinet.batch import Prediction
from taichinet.errors import DataError, SettingError, WeightsError
from taichinet.evaluation.decision import Decision
from taichinet.inference import predictor as predictor_module
from taichinet.inference import shipped
from taichinet.inference.predictor import BoundingBox, Predictor
from taichinet.inference.runtimes.runtime import Maps, RuntimeDescription
from taichinet.models.catalogue import create_model, list_models
from taichinet.models.weights import load_weights, save_weights
from taichinet.models.weights_folder import LoadedWeights, WeightsConfig

SIZE = 32


def random_weights(model: str = "taichinet", /, **options: object) -> LoadedWeights:
    torch.manual_seed(0)
    chosen = {**NARROW.get(model, {}), **options}
    network = create_model(model, **chosen).eval()
    return LoadedWeights(lambda: network, WeightsConfig(model, chosen, SIZE))


def random_image(height: int, width: int, channels: int = 0, seed: int = 0) -> NDArray[np.uint8]:
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class Brightness(nn.Module):
    """A network that predicts pixels above mid-grey as lesion; its second path agrees or predicts background."""

    def __init__(self, agrees: bool) -> None:
        super().__init__()
        self.settings = create_model("unet", width=2).settings
        self.agrees = agrees

    def forward(self, image: torch.Tensor) -> Prediction:
        logits = 40 * (image - 0.5)
        return Prediction(positive=logits, negative=-logits if self.agrees else torch.full_like(logits, 40.0))


def brightness_predictor(agrees: bool = True) -> Predictor:
    return Predictor(LoadedWeights(lambda: Brightness(agrees), WeightsConfig("unet", {"width": 2}, SIZE)), FLOAT32_CPU)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3000, 20), (20, 3000), (32, 32), (45, 71)])
@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_output_has_size_of_input_for_every_size_and_colour(
    height: int, width: int, channels: int, in_channels: int
) -> None:
    weights = random_weights(in_channels=in_channels)
    result = Predictor(weights, FLOAT32_CPU).predict(random_image(height, width, channels))
    assert result.mask.shape == result.probability.shape == (height, width)
    assert result.disagreement is not None
    assert result.disagreement.shape == (height, width)
    assert result.mask.dtype == np.bool_
    assert result.probability.dtype == result.disagreement.dtype == np.float32
    for values in (result.probability, result.disagreement):
        assert values.min() >= 0
        assert values.max() <= 1


@pytest.mark.parametrize("model", list_models())
def test_probability_equals_network_output_after_training_preprocessing(model: str) -> None:
    weights, pixels = random_weights(model), random_image(40, 50)
    result = Predictor(weights, FLOAT32_CPU).predict(pixels)
    resized = np.array(Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    # Same memory layout as the predictor: rounding differs between layouts, and random weights amplify it.
    network = FLOAT32_CPU.place(weights.network)
    with torch.inference_mode():
        expected = F.interpolate(
            network(torch.from_numpy(resized)[None, None].float() / 255).lesion, (40, 50), mode="bilinear"
        )
    np.testing.assert_allclose(result.probability, expected[0, 0].numpy(), atol=1e-5)
    np.testing.assert_array_equal(result.mask, result.probability > 0.5)


def test_grey_image_and_its_colour_copy_give_same_prediction() -> None:
    grey = random_image(33, 47)
    repeated = np.stack([grey] * 3, axis=2)
    for in_channels in (1, 3):
        predictor = Predictor(random_weights(in_channels=in_channels), FLOAT32_CPU)
        np.testing.assert_array_equal(predictor.predict(grey).probability, predictor.predict(repeated).probability)


def test_predict_many_equals_single_predictions_in_order() -> None:
    predictor = Predictor(random_weights(), FLOAT32_CPU)
    images = [random_image(20 + 5 * i, 40 - 3 * i, 3 * (i % 2), seed=i) for i in range(5)]
    together = list(predictor.predict_many(iter(images), batch_size=2))
    assert len(together) == 5
    for result, pixels in zip(together, images, strict=True):
        np.testing.assert_allclose(result.probability, predictor.predict(pixels).probability, atol=1e-5)
    assert list(predictor.predict_many([])) == []


def test_predict_many_loads_one_batch_at_a_time() -> None:
    loaded = []

    def images() -> object:
        for i in range(6):
            loaded.append(i)
            yield random_image(8, 8, seed=i)

    results = Predictor(random_weights(), FLOAT32_CPU).predict_many(images(), batch_size=2)  # type: ignore[arg-type]
    next(results)
    assert loaded == [0, 1]


def test_network_with_one_path_has_no_disagreement() -> None:
    result = Predictor(random_weights("unet"), FLOAT32_CPU).predict(random_image(20, 30))
    assert result.disagreement is None
    assert result.mean_disagreement is None


def test_measurements_of_two_known_rectangles() -> None:
    pixels = np.zeros((SIZE, SIZE), dtype=np.uint8)
    pixels[4:10, 6:12] = 255
    pixels[20:25, 15:30] = 255
    result = brightness_predictor().predict(pixels)
    np.testing.assert_array_equal(result.mask, pixels > 0)
    assert result.lesion_pixels == 6 * 6 + 5 * 15
    assert result.area_share == pytest.approx((6 * 6 + 5 * 15) / SIZE**2)
    assert result.components == 2
    assert result.bounding_box == BoundingBox(top=4, left=6, bottom=25, right=30)
    assert result.max_probability == pytest.approx(1)
    assert result.mean_disagreement == pytest.approx(0, abs=1e-6)


def test_diagonal_pixels_are_one_component() -> None:
    pixels = np.zeros((SIZE, SIZE), dtype=np.uint8)
    pixels[4:8, 4:8] = pixels[8:12, 8:12] = 255
    assert brightness_predictor().predict(pixels).components == 1


def test_empty_mask_has_no_bounding_box() -> None:
    result = brightness_predictor().predict(np.zeros((SIZE, SIZE), dtype=np.uint8))
    assert (result.lesion_pixels, result.area_share, result.components) == (0, 0, 0)
    assert result.bounding_box is None


def test_contradicting_paths_have_disagreement_one() -> None:
    result = brightness_predictor(agrees=False).predict(np.full((10, 12), 255, dtype=np.uint8))
    assert result.mean_disagreement == pytest.approx(1, abs=1e-6)


def test_given_threshold_overrides_threshold_of_weights() -> None:
    weights = random_weights()
    strict = LoadedWeights(lambda: weights.network, replace(weights.config, threshold=1.0))
    pixels = random_image(20, 20)
    assert Predictor(strict, FLOAT32_CPU).predict(pixels).lesion_pixels == 0
    assert Predictor(strict, FLOAT32_CPU, threshold=0.0).predict(pixels).lesion_pixels == 400


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_threshold_outside_0_to_1_is_rejected(threshold: float) -> None:
    with pytest.raises(SettingError, match="threshold"):
        Predictor(random_weights(), FLOAT32_CPU, threshold)


@pytest.mark.parametrize("size", [0, -16, 33, "32"])
def test_weights_with_invalid_size_are_rejected(size: object) -> None:
    weights = random_weights()
    with pytest.raises(WeightsError, match="multiple of 16"):
        Predictor(LoadedWeights(lambda: weights.network, replace(weights.config, size=size)), FLOAT32_CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"in_channels": 2}, {"num_classes": 2}])
def test_networks_with_other_channels_or_regions_are_rejected(options: dict[str, int]) -> None:
    with pytest.raises(WeightsError, match="regions"):
        Predictor(random_weights(**options), FLOAT32_CPU)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), dtype=np.float32),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((0, 4), dtype=np.uint8),
        np.zeros(4, dtype=np.uint8),
    ],
)
def test_arrays_that_are_no_image_are_rejected(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match="uint8"):
        Predictor(random_weights(), FLOAT32_CPU).predict(pixels)


def test_batch_size_zero_is_rejected() -> None:
    with pytest.raises(SettingError, match="batch_size"):
        next(Predictor(random_weights(), FLOAT32_CPU).predict_many([random_image(4, 4)], batch_size=0))


def test_components_and_bounding_box_equal_flood_fill() -> None:
    probability = np.random.default_rng(1).random((40, 30)).astype(np.float32)
    result = predictor_module._measured(probability, None, Decision(threshold=0.8), 1.0)
    remaining = {(int(r), int(c)) for r, c in np.argwhere(result.mask)}
    rows, columns = [r for r, _ in remaining], [c for _, c in remaining]
    assert result.bounding_box == BoundingBox(min(rows), min(columns), max(rows) + 1, max(columns) + 1)
    components = 0
    while remaining:
        components += 1
        reached = [remaining.pop()]
        while reached:
            row, column = reached.pop()
            for neighbour in [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if neighbour in remaining:
                    remaining.remove(neighbour)
                    reached.append(neighbour)
    assert result.components == components


def test_missing_shipped_weights_are_reported_with_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shipped, "SHIPPED", "never-trained")
    with pytest.raises(WeightsError, match=r"never-trained.*--weights"):
        shipped.shipped_weights()


def test_shipped_weights_are_a_folder_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = random_weights()
    folder = save_weights(weights.network, weights.config, tmp_path / "weights" / shipped.SHIPPED)
    monkeypatch.setattr(shipped, "PACKAGED", tmp_path / "weights")
    assert shipped.shipped_weights() == folder
    assert json.loads((folder / "config.json").read_text())["size"] == SIZE
    assert load_weights(shipped.shipped_weights()).config == weights.config


def test_probability_equal_to_threshold_is_background() -> None:
    probability = np.array([[0.25, 0.5, 0.75]], dtype=np.float32)
    assert predictor_module._measured(probability, None, Decision(threshold=0.5), 1.0).mask.tolist() == [
        [False, False, True]
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["lesion", "disagreement"])
@pytest.mark.parametrize("name", ["eager", "tuned", "onnx", "openvino"])
def test_non_finite_prediction_raises_error_with_image_number(name: Any, field: str, value: float) -> None:
    class Damaged:
        description = RuntimeDescription(name, "float32")

        def maps(self, images: NDArray[np.uint8]) -> Maps:
            planes = {key: np.full(images[:, 0].shape, 0.7, np.float32) for key in ("lesion", "disagreement")}
            planes[field][images[:, 0, 0, 0] == 0, 3, 4] = value  # one pixel of each black image
            return Maps(**planes)

    weights = replace(random_weights("unet"), folder=Path("runs/some-weights"))
    predictor = Predictor(weights, FLOAT32_CPU, runtime=Damaged())
    grey, black = (np.full((20, 30), level, np.uint8) for level in (90, 0))
    results = predictor.predict_many([grey, grey, black, grey], batch_size=2)
    assert [next(results).lesion_pixels for _ in range(2)] == [600, 600]
    with pytest.raises(DataError, match=rf"Image 2 .*weights runs/some-weights \({name} float32\).*not finite"):
        next(results)
