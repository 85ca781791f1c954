"""An engineer trains a network and ships it: exported file, runner, Python, package of weights, recorded runtime."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from cli.test_commands import run
from numpy.typing import NDArray
from PIL import Image

import taichinet
from sessions import SOURCES, first_command
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.storage.digest import digest_file

SETTINGS = {
    "options.width": 8,
    "data.size": 32,
    "data.folds": 2,
    "data.validation_share": 0.25,
    "training.epochs": 30,
    "training.batch_size": 4,
    "training.learning_rate": 0.01,
    "training.schedule": "constant",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 8, 8, 0, seed=1, size=(96, 128))


@pytest.fixture(scope="module")
def images(data: Path) -> list[Path]:
    return sorted((data / "benign").glob("*).png"))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of fold 0."""
    runs = tmp_path_factory.mktemp("engineer") / "runs"
    changes = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    first_command("train", "cpu-unet", "--data", data, "--fold", 0, "--output", runs, *changes)
    return runs / "busi" / "cpu-unet" / "grouped" / "fold-0"


@pytest.fixture(scope="module")
def packaged(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "weights"
    run("package-weights", trained, "-o", folder, "--full")
    return folder


def pixels(file: Path) -> NDArray[np.uint8]:
    with Image.open(file) as image:
        return np.asarray(image)


def test_exported_file_has_the_masks_of_predict_and_of_python(
    trained: Path, data: Path, images: list[Path], tmp_path: Path
) -> None:
    run("export", trained, "-o", tmp_path / "lesion.onnx", "--images", data)
    parity = json.loads((tmp_path / "lesion.onnx.parity.json").read_text())
    assert parity["weights_digest"] == digest_file(trained / "weights" / "model.safetensors")
    runner = shutil.copy(SOURCES / "taichinet" / "runner.py", tmp_path)  # it needs no other file of the package
    words = [sys.executable, "-I", runner, tmp_path / "lesion.onnx", *images, "-o", tmp_path / "out"]
    subprocess.run(words, check=True)
    masks = [pixels(tmp_path / "out" / f"{image.stem}_mask.png") for image in images]
    assert [mask.shape for mask in masks] == [pixels(image).shape[:2] for image in images]
    assert 0 < np.mean(masks) < 128, "the network finds something, and not everything"
    run("predict", *images, "-w", trained, "--runtime", "onnx", "-o", tmp_path / "predicted")
    for image, mask in zip(images, masks, strict=True):
        np.testing.assert_array_equal(pixels(tmp_path / "predicted" / f"{image.stem}_mask.png"), mask)
    model = taichinet.load(trained, runtime="eager")
    for result, mask in zip(model.predict_many(images), masks, strict=True):
        assert np.mean(result.mask != (mask > 0)) < 1e-3


def test_packaged_weights_have_the_layout_of_the_hub(trained: Path, packaged: Path) -> None:
    files = {"config.json", "model.safetensors", "README.md", "model.onnx", "model.onnx.parity.json"}
    assert files <= {file.name for file in packaged.iterdir()}
    config = json.loads((packaged / "config.json").read_text())
    assert config["digest"] == digest_file(packaged / "model.safetensors")
    _, front, card = (packaged / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["license"]
    assert metadata["datasets"] == ["busi"]
    (entry,) = metadata["model-index"]
    dice = next(metric for metric in entry["results"][0]["metrics"] if metric["type"] == "dice")
    scores = json.loads((trained / "result.json").read_text())
    assert dice["value"] > 0
    assert f"{dice['value']:.3f}" in card
    assert scores["experiment"]["name"] in entry["name"]


def test_packaged_weights_keep_the_name_of_their_run_in_any_folder(
    packaged: Path, trained: Path, images: list[Path], tmp_path: Path
) -> None:
    assert packaged.name == "weights"
    for weights, runtime in ((packaged, "onnx"), (trained, "eager")):
        output = tmp_path / runtime
        printed = run("predict", images[0], "-w", weights, "-o", output, "--json", "--runtime", runtime)
        (row,) = json.loads(printed)
        assert row["weights"] == "busi/cpu-unet/grouped/fold-0"
        assert row["runtime"] == runtime


def test_auto_follows_the_recorded_runtime(
    packaged: Path, data: Path, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAICHINET_CACHE", str(tmp_path / "cache"))
    before = {file.name: digest_file(file) for file in packaged.iterdir()}
    (record,) = json.loads(run("benchmark", "-w", packaged, "--images", data, "--json"))
    assert Path(record["file"]).is_relative_to(tmp_path / "cache")
    (row,) = json.loads(run("predict", images[0], "-w", packaged, "-o", tmp_path / "masks", "--json"))
    assert row["runtime"] == record["followed"]
    assert {file.name: digest_file(file) for file in packaged.iterdir()} == before
