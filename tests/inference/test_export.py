"""Exported files: masks equal those of the predictor for any image, and int8 with a large Dice loss is rejected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional as F

from taichinet.cli.export import export as export_command
from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.duplicates.known_images import ImageDigests
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import DataError, SettingError, WeightsError
from taichinet.evaluation.decision import Decision
from taichinet.inference.export.comparison import find_cases, split_images
from taichinet.inference.export.export import ExportRequest, export
from taichinet.inference.export.processing import before_network, behind_network
from taichinet.inference.predictor import Predictor
from taichinet.inference.runtimes.catalogue import find_runtime
from taichinet.inference.runtimes.choose import open_runtime
from taichinet.inference.runtimes.eager import PLAIN
from taichinet.inference.runtimes.openvino import openvino_core
from taichinet.inference.shipped import shipped_weights
from taichinet.models.catalogue import create_model
from taichinet.models.weights import load_weights, save_weights
from taichinet.models.weights_folder import WeightsConfig
from taichinet.runner import Model
from taichinet.storage.digest import digest_file

SIZE = 32
SIZES = [(1, 1), (7, 5), (33, 47), (32, 32), (20, 300), (300, 20), (101, 64)]


def random_image(height: int, width: int, channels: int = 0, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth noise, which resizing does not turn into plain grey."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((width, height))
    fine = rng.integers(-30, 31, (height, width, 3))
    colour = np.clip(np.asarray(coarse).astype(int) + fine, 0, 255).astype(np.uint8)
    return colour if channels else colour[..., 0].copy()


@pytest.fixture(autouse=True, scope="module")
def _share_graphs(shared_graph: Callable[..., onnx.ModelProto]) -> Iterator[None]:
    """Capture each network once for several exports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taichinet.inference.export.graph.network_graph", shared_graph)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 5, 5, 2, seed=1, size=(66, 81))


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "colour"])
def exported(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A weights folder and its ONNX file; the predicted masks are neither empty nor full."""
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(3)
    network = create_model("taichinet", width=2, in_channels=request.param)
    nn.init.zeros_(network.positive.output.bias)  # type: ignore[union-attr, arg-type]
    config = WeightsConfig("taichinet", {"width": 2, "in_channels": request.param}, SIZE)
    weights = save_weights(network, config, folder / "weights")
    plain = Predictor(load_weights(weights), PLAIN)
    values = np.concatenate([plain.predict(random_image(*size, 3)).probability.ravel() for size in SIZES])
    config = WeightsConfig("taichinet", config.options, SIZE, threshold=round(float(np.median(values)), 6))
    save_weights(network, config, weights)
    export(ExportRequest(weights, "onnx", False, folder / "file.onnx", f"busi={data}"))
    return weights, folder / "file.onnx"


@pytest.fixture(scope="module")
def opened(exported: tuple[Path, Path]) -> tuple[Predictor, Model]:
    weights, file = exported
    return Predictor(load_weights(weights), PLAIN), Model(file)


@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("size", SIZES)
def test_exported_file_equals_predictor_for_every_size_and_colour(
    opened: tuple[Predictor, Model], size: tuple[int, int], channels: int
) -> None:
    predictor, model = opened
    pixels = random_image(*size, channels)
    expected = predictor.predict(pixels)
    result = model.segment(pixels)
    assert result.mask.shape == result.probability.shape == size
    np.testing.assert_allclose(result.probability, expected.probability, atol=5e-3)
    clear = np.abs(expected.probability - predictor.decision.threshold) > 5e-3
    np.testing.assert_array_equal(result.mask[clear] > 0, expected.mask[clear])
    assert set(np.unique(result.mask)) <= {0, 255}


def test_report_lists_comparisons_and_graph_is_usable_by_predict(exported: tuple[Path, Path]) -> None:
    weights, file = exported
    report = json.loads(file.with_name("file.onnx.parity.json").read_text())
    assert report["rows"].keys() == {"the file", "in predict", "tuned PyTorch"}
    assert report["parity_images"] == report["unseen_images"] == 10
    assert report["rows"]["the file"]["pixels"] == 10 * 66 * 81
    assert report["rows"]["in predict"]["agreement"] > 0.999
    assert abs(report["rows"]["in predict"]["dice_cost"]) < 0.001
    assert report["largest_grey_difference"] <= 1
    assert report["resized_apart"] < 0.01
    assert "| the file |" in file.with_name("file.onnx.parity.md").read_text()
    assert open_runtime("onnx", load_weights(weights), weights).description.name == "onnx"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [*SIZES, (500, 611), (31, 1200)])
def test_resizing_equals_pillow_within_one_grey_level(size: tuple[int, int], channels: int) -> None:
    session = onnxruntime.InferenceSession(before_network(channels, SIZE).SerializeToString())
    pixels = random_image(*size, 3)
    resized = session.run(["network_image"], {"image": pixels})[0][0] * 255
    converted = Image.fromarray(pixels).convert("L" if channels == 1 else "RGB")
    expected = np.asarray(converted.resize((SIZE, SIZE), Image.Resampling.BILINEAR)).reshape(SIZE, SIZE, channels)
    difference = np.abs(resized.transpose(1, 2, 0) - expected)
    assert difference.max() < 1.001
    much_taller = size[0] > 1.3 * size[1]  # Pillow may round the height first
    assert np.mean(difference > 0.001) < (0.3 if much_taller else 0.01)


@pytest.mark.parametrize("size", SIZES)
def test_resizing_of_output_equals_pytorch(size: tuple[int, int]) -> None:
    session = onnxruntime.InferenceSession(behind_network(SIZE, Decision(threshold=0.4)).SerializeToString())
    lesion = np.random.default_rng(0).random((1, 1, SIZE, SIZE), dtype=np.float32)
    mask, probability = session.run(None, {"lesion": lesion, "native_size": np.array(size)})
    expected = F.interpolate(torch.from_numpy(lesion), size, mode="bilinear", align_corners=False)[0, 0].numpy()
    np.testing.assert_allclose(probability, expected, atol=1e-5)
    np.testing.assert_array_equal(mask > 0, probability > np.float32(0.4))


def test_int8_above_loss_limit_is_rejected_without_output_files(
    exported: tuple[Path, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "taichinet.inference.runtimes.parity.MAX_DICE_LOSS", -1.0
    )  # the Dice of random weights cannot decrease
    weights, _ = exported
    black = tmp_path / "black"
    black.mkdir()
    for i in range(2):
        Image.fromarray(np.full((66, 81), i, dtype=np.uint8)).save(black / f"{i}.png")
    before = sorted(weights.rglob("*"))
    request = ExportRequest(weights, "onnx", True, tmp_path / "out" / "f.onnx", f"busi={data}", str(black))
    with pytest.raises(WeightsError, match="nothing was written"):
        export(request)
    assert not (tmp_path / "out").exists()
    assert sorted(weights.rglob("*")) == before


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_quantisation_succeeds_with_good_and_is_rejected_with_black_calibration_images(
    form: str, tmp_path: Path
) -> None:
    """The limit of 0.005 Dice, tested with the shipped network, real quantisation and a ground truth."""
    weights = tmp_path / "weights"
    shutil.copytree(shipped_weights(), weights)
    data = write_phantom_busi(tmp_path / "data", 4, 4, 0, seed=3, size=(96, 128))
    good = write_phantom_busi(tmp_path / "good", 5, 5, 0, seed=4, size=(96, 128))
    black = tmp_path / "black"
    black.mkdir()
    for i in range(2):
        Image.fromarray(np.full((96, 128), i, dtype=np.uint8)).save(black / f"{i}.png")
    file = tmp_path / f"lesion{find_runtime(form).suffix}"
    request = ExportRequest(weights, form, True, file, f"busi={data}", f"busi={good}")
    with pytest.raises(WeightsError, match=r"int8 is refused.*it loses 0\.\d+ Dice .*more than 0\.005.*calibrate"):
        export(replace(request, calibration=str(black)))
    assert not file.exists()
    assert not (weights / "runtimes").exists()
    report = export(request)
    assert report.rows["the file"].plain_dice is not None
    assert report.rows["the file"].plain_dice > 0.3, "the network must predict lesions"
    assert report.rows["the file"].flipped_pixels > 0, "the file is not computed in int8"
    assert file.stat().st_size + sum(part.stat().st_size for part in tmp_path.glob("lesion.bin")) < 8e6


def test_openvino_file_gives_same_masks(exported: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    weights, file = exported
    images = tmp_path / "images"
    images.mkdir()
    for image in (data / "benign").glob("benign (?).png"):
        shutil.copy(image, images)
    report = export(ExportRequest(weights, "openvino", False, tmp_path / "f.xml", str(images)))
    assert report.rows["the file"].plain_dice is None, "a plain folder has no ground truth"
    # By default, OpenVINO computes in bf16 if the processor supports it, which changes the masks.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino_core().compile_model(tmp_path / "f.xml", "CPU", settings)
    for size in SIZES:
        pixels = random_image(*size, 3)
        np.testing.assert_allclose(
            compiled([pixels])["probability"], Model(file).segment(pixels).probability, atol=5e-3
        )


def test_training_images_calibrate_and_other_images_are_compared(data: Path) -> None:
    cases = find_cases(f"busi={data}")
    seen = [digest_file(case.file)[:16] for case in cases[:4]]
    config = WeightsConfig("unet", {}, SIZE, provenance={"seen_images": seen})
    images = split_images(cases, None, config, max_parity=3)
    assert images.calibration == cases[:4]
    assert len(images.parity) == images.unseen == 3
    assert not set(images.parity) & set(images.calibration)
    unknown = split_images(cases, None, WeightsConfig("unet", {}, SIZE), 100)
    assert not set(unknown.parity) & set(unknown.calibration)
    assert len(unknown.parity) + len(unknown.calibration) == len(cases) == 10
    own = split_images(cases, cases[:2], WeightsConfig("unet", {}, SIZE), 100)
    assert own.parity == cases[2:]
    with pytest.raises(DataError, match="--images"):
        split_images(cases[:1], None, WeightsConfig("unet", {}, SIZE), 100)


def test_resaved_training_images_calibrate_and_are_not_compared(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "resaved")
    for path in (tmp_path / "resaved").glob("*/*).png"):
        Image.open(path).save(path, compress_level=1)
    cases, resaved = find_cases(f"busi={data}"), find_cases(f"busi={tmp_path / 'resaved'}")
    seen = ImageDigests(open_dataset(data, include_normal=False)).pixels[:4]
    config = WeightsConfig("unet", {}, SIZE, provenance={"seen_images": [], "seen_pixels": seen})
    images = split_images(resaved, None, config, 100)
    assert (images.calibration, images.parity) == (resaved[:4], resaved[4:])
    # With two sets: calibration images are not compared if they are stored as other files.
    own = split_images(resaved, cases[:2], WeightsConfig("unet", {}, SIZE), 100)
    assert own.parity == resaved[2:]


def test_invalid_requests_are_rejected_before_export(tmp_path: Path, data: Path) -> None:
    with pytest.raises(SettingError, match=r"Name it FILE\.onnx"):
        export_command(tmp_path / "f.pt", str(data), form="onnx")
    with pytest.raises(SettingError, match="Did you mean 'onnx'"):
        export_command(tmp_path / "f.onnx", str(data), form="onx")
    with pytest.raises(SettingError, match="--calibration"):
        export_command(tmp_path / "f.onnx", str(data), form="onnx", calibrate=str(data))
    with pytest.raises(DataError):
        export_command(tmp_path / "f.onnx", str(tmp_path), form="onnx")
