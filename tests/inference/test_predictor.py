"""The predictor: training's preprocessing, native size, numbers that agree with loops."""

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
from taichinet.inference import predictor as predictor_module
from taichinet.inference import shipped
from taichinet.inference.predictor import BoundingBox, Predictor
from taichinet.inference.runtimes.runtime import Maps, RuntimeDescription
from taichinet.models.catalogue import create_model, list_models
from taichinet.models.weights import LoadedWeights, WeightsConfig, load_weights, save_weights

SIZE = 32


def random_weights(model: str = "taichinet", /, **options: object) -> LoadedWeights:
    torch.manual_seed(0)
    chosen = {**NARROW.get(model, {}), **options}
    return LoadedWeights(create_model(model, **chosen).eval(), WeightsConfig(model, chosen, SIZE))


def picture(height: int, width: int, channels: int = 0, seed: int = 0) -> NDArray[np.uint8]:
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class Brightness(nn.Module):
    """A network whose lesion is what is brighter than mid-grey, and whose second path agrees or objects."""

    def __init__(self, agrees: bool) -> None:
        super().__init__()
        self.settings = create_model("unet", width=2).settings
        self.agrees = agrees

    def forward(self, image: torch.Tensor) -> Prediction:
        logits = 40 * (image - 0.5)
        return Prediction(positive=logits, negative=-logits if self.agrees else torch.full_like(logits, 40.0))


def brightness_predictor(agrees: bool = True) -> Predictor:
    return Predictor(LoadedWeights(Brightness(agrees), WeightsConfig("unet", {"width": 2}, SIZE)), FLOAT32_CPU)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3000, 20), (20, 3000), (32, 32), (45, 71)])
@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_every_size_and_colour_comes_back_at_its_own_size(
    height: int, width: int, channels: int, in_channels: int
) -> None:
    weights = random_weights(in_channels=in_channels)
    result = Predictor(weights, FLOAT32_CPU).predict(picture(height, width, channels))
    assert result.mask.shape == result.probability.shape == (height, width)
    assert result.disagreement is not None
    assert result.disagreement.shape == (height, width)
    assert result.mask.dtype == np.bool_
    assert result.probability.dtype == result.disagreement.dtype == np.float32
    for values in (result.probability, result.disagreement):
        assert values.min() >= 0
        assert values.max() <= 1


@pytest.mark.parametrize("model", list_models())
def test_the_probability_is_the_networks_own_after_the_preprocessing_of_training(model: str) -> None:
    weights, pixels = random_weights(model), picture(40, 50)
    result = Predictor(weights, FLOAT32_CPU).predict(pixels)
    resized = np.array(Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    # In the predictor's own layout: another one rounds otherwise, which random weights of many layers amplify.
    network = FLOAT32_CPU.place(weights.network)
    with torch.inference_mode():
        expected = F.interpolate(
            network(torch.from_numpy(resized)[None, None].float() / 255).lesion, (40, 50), mode="bilinear"
        )
    np.testing.assert_allclose(result.probability, expected[0, 0].numpy(), atol=1e-5)
    np.testing.assert_array_equal(result.mask, result.probability > 0.5)


def test_grey_and_grey_repeated_in_colour_are_one_image() -> None:
    grey = picture(33, 47)
    repeated = np.stack([grey] * 3, axis=2)
    for in_channels in (1, 3):
        predictor = Predictor(random_weights(in_channels=in_channels), FLOAT32_CPU)
        np.testing.assert_array_equal(predictor.predict(grey).probability, predictor.predict(repeated).probability)


def test_many_images_give_what_each_gives_alone_in_their_order() -> None:
    predictor = Predictor(random_weights(), FLOAT32_CPU)
    pictures = [picture(20 + 5 * i, 40 - 3 * i, 3 * (i % 2), seed=i) for i in range(5)]
    together = list(predictor.predict_many(iter(pictures), batch_size=2))
    assert len(together) == 5
    for result, pixels in zip(together, pictures, strict=True):
        np.testing.assert_allclose(result.probability, predictor.predict(pixels).probability, atol=1e-5)
    assert list(predictor.predict_many([])) == []


def test_many_images_are_drawn_one_batch_at_a_time() -> None:
    drawn = []

    def pictures() -> object:
        for i in range(6):
            drawn.append(i)
            yield picture(8, 8, seed=i)

    results = Predictor(random_weights(), FLOAT32_CPU).predict_many(pictures(), batch_size=2)  # type: ignore[arg-type]
    next(results)
    assert drawn == [0, 1]


def test_one_path_has_no_disagreement() -> None:
    result = Predictor(random_weights("unet"), FLOAT32_CPU).predict(picture(20, 30))
    assert result.disagreement is None
    assert result.mean_disagreement is None


def test_the_numbers_describe_two_known_rectangles() -> None:
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


def test_pixels_that_meet_at_a_corner_are_one_component() -> None:
    pixels = np.zeros((SIZE, SIZE), dtype=np.uint8)
    pixels[4:8, 4:8] = pixels[8:12, 8:12] = 255
    assert brightness_predictor().predict(pixels).components == 1


def test_an_empty_mask_has_no_box() -> None:
    result = brightness_predictor().predict(np.zeros((SIZE, SIZE), dtype=np.uint8))
    assert (result.lesion_pixels, result.area_share, result.components) == (0, 0, 0)
    assert result.bounding_box is None


def test_paths_that_contradict_each_other_everywhere_disagree_by_one() -> None:
    result = brightness_predictor(agrees=False).predict(np.full((10, 12), 255, dtype=np.uint8))
    assert result.mean_disagreement == pytest.approx(1, abs=1e-6)


def test_the_threshold_of_the_weights_holds_unless_another_is_given() -> None:
    weights = random_weights()
    strict = LoadedWeights(weights.network, replace(weights.config, threshold=1.0))
    pixels = picture(20, 20)
    assert Predictor(strict, FLOAT32_CPU).predict(pixels).lesion_pixels == 0
    assert Predictor(strict, FLOAT32_CPU, threshold=0.0).predict(pixels).lesion_pixels == 400


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_outside_0_to_1_is_refused(threshold: float) -> None:
    with pytest.raises(SettingError, match="threshold"):
        Predictor(random_weights(), FLOAT32_CPU, threshold)


@pytest.mark.parametrize("size", [0, -16, 33, "32"])
def test_weights_for_an_impossible_size_are_refused(size: object) -> None:
    weights = random_weights()
    with pytest.raises(WeightsError, match="multiple of 16"):
        Predictor(LoadedWeights(weights.network, replace(weights.config, size=size)), FLOAT32_CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"in_channels": 2}, {"num_classes": 2}])
def test_networks_for_other_images_or_regions_are_refused(options: dict[str, int]) -> None:
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
def test_arrays_that_are_no_image_are_refused(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match="uint8"):
        Predictor(random_weights(), FLOAT32_CPU).predict(pixels)


def test_a_batch_of_none_is_refused() -> None:
    with pytest.raises(SettingError, match="batch_size"):
        next(Predictor(random_weights(), FLOAT32_CPU).predict_many([picture(4, 4)], batch_size=0))


def test_components_and_box_agree_with_a_flood_fill() -> None:
    probability = np.random.default_rng(1).random((40, 30)).astype(np.float32)
    result = predictor_module._measured(probability, None, 0.8)
    left = {(int(r), int(c)) for r, c in np.argwhere(result.mask)}
    rows, columns = [r for r, _ in left], [c for _, c in left]
    assert result.bounding_box == BoundingBox(min(rows), min(columns), max(rows) + 1, max(columns) + 1)
    parts = 0
    while left:
        parts += 1
        reached = [left.pop()]
        while reached:
            row, column = reached.pop()
            for near in [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    reached.append(near)
    assert result.components == parts


def test_shipped_weights_that_are_not_installed_are_named_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shipped, "SHIPPED", "never-trained")
    with pytest.raises(WeightsError, match=r"never-trained.*--weights"):
        shipped.shipped_weights()


def test_shipped_weights_are_a_folder_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = random_weights()
    folder = save_weights(weights.network, weights.config, tmp_path / "weights" / shipped.SHIPPED)
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path)
    assert shipped.shipped_weights() == folder
    assert json.loads((folder / "config.json").read_text())["size"] == SIZE
    assert load_weights(shipped.shipped_weights()).config == weights.config


def test_a_probability_equal_to_the_threshold_is_background() -> None:
    probability = np.array([[0.25, 0.5, 0.75]], dtype=np.float32)
    assert predictor_module._measured(probability, None, 0.5).mask.tolist() == [[False, False, True]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["lesion", "disagreement"])
@pytest.mark.parametrize("name", ["eager", "tuned", "onnx", "openvino"])
def test_a_prediction_that_is_not_finite_is_an_error_of_its_image(name: Any, field: str, value: float) -> None:
    class Damaged:
        description = RuntimeDescription(name, "float32")

        def maps(self, images: NDArray[np.uint8]) -> Maps:
            planes = {key: np.full(images[:, 0].shape, 0.7, np.float32) for key in ("lesion", "disagreement")}
            planes[field][images[:, 0, 0, 0] == 0, 3, 4] = value  # of black images, one pixel
            return Maps(**planes)

    weights = replace(random_weights("unet"), folder=Path("runs/some-weights"))
    predictor = Predictor(weights, FLOAT32_CPU, runtime=Damaged())
    grey, black = (np.full((20, 30), level, np.uint8) for level in (90, 0))
    answers = predictor.predict_many([grey, grey, black, grey], batch_size=2)
    assert [next(answers).lesion_pixels for _ in range(2)] == [600, 600]
    with pytest.raises(DataError, match=rf"Image 2 .*weights runs/some-weights \({name} float32\).*not finite"):
        next(answers)
