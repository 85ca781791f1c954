"""`taichinet.load` and `segment`: images of every kind, measurements, files, and where weights are found."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.study_for_use import write_study
from helpers import tiny_network
from PIL import Image
from typer.testing import CliRunner

import taichinet
from taichinet.cli.app import app
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import DataError, SettingError, StorageError, WeightsError
from taichinet.inference.measurements import diameters, entropy
from taichinet.inference.segmenter import ImageLike
from taichinet.models.weights import save_weights
from taichinet.models.weights_folder import WeightsConfig, find_one_weights, find_weights


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return (
        write_phantom_busi(tmp_path_factory.mktemp("data"), 1, 0, 0, seed=3, size=(96, 128)) / "benign/benign (1).png"
    )


def test_every_kind_of_image_has_the_same_prediction(file: Path) -> None:
    image = Image.open(file)
    grey = np.asarray(image.convert("L"))
    images: list[ImageLike] = [file, str(file), image, image.convert("RGBA"), grey, np.stack([grey] * 3, axis=-1)]
    model = taichinet.load()
    expected = taichinet.segment(file)
    assert expected.mask.shape == expected.uncertainty.shape == grey.shape
    for result in model.predict_many(images, batch_size=4):
        np.testing.assert_allclose(result.probability, expected.probability, atol=2e-6)
        assert result.lesion_pixels == expected.lesion_pixels
    assert [result.name for result in model.predict_many([file, image, grey])] == ["benign (1)", "benign (1)", "image"]
    turned = image.convert("L")
    turned.getexif()[0x0112] = 6  # to be shown turned by a quarter
    assert model.predict(turned).mask.shape == grey.shape[::-1]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8)), r"must be uint8.*not float64.*255 \* image"),
        (np.zeros((8, 8), bool), "not bool"),
        (np.zeros((3, 8, 8), np.uint8), r"not \(3, 8, 8\).*channels last"),
        (np.zeros((2, 8, 8, 3), np.uint8), "predict_many"),
        (np.zeros((0, 8), np.uint8), r"not \(0, 8\)"),
        (Path("absent.png"), r"absent\.png"),
        (b"png", "path, a PIL image or a NumPy array, not bytes"),
    ],
)
def test_other_images_are_refused(image: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        taichinet.segment(image)  # type: ignore[arg-type]


def test_one_path_is_not_many_images(file: Path) -> None:
    with pytest.raises(DataError, match="takes several images"):
        next(taichinet.load().predict_many(file.parent))  # type: ignore[arg-type]


def test_measurements_uncertainty_and_files(file: Path, tmp_path: Path) -> None:
    result = taichinet.load(presence_decision=False).predict(file, spacing=(0.5, 0.25))
    values = result.measurements()
    assert values["area_mm2"] == pytest.approx(result.lesion_pixels * 0.125)
    assert values["diameter_mm"] >= values["perpendicular_mm"] > 0
    assert values["bounding_box"].keys() == {"top", "left", "bottom", "right"}
    assert result.uncertainty_name == "disagreement of the two paths"
    assert result.uncertainty is result.disagreement
    assert "diameter_mm" not in taichinet.segment(file).measurements()
    assert taichinet.segment(file, np.float32(0.5)).spacing == (0.5, 0.5)  # type: ignore[arg-type]
    wrong: list[Any] = [0, -1.0, math.nan, (1.0, math.inf), (1, 2, 3), "x", (None, 1)]
    for spacing in wrong:
        with pytest.raises(SettingError, match="size of a pixel in mm"):
            taichinet.segment(file, spacing=spacing)

    files = {path.name: path for path in result.save(tmp_path / "out")}
    kinds = ("mask.png", "probability.png", "disagreement.png", "overlay.png")
    assert files.keys() == {"benign (1).json", *(f"benign (1)_{kind}" for kind in kinds)}
    assert json.loads(files["benign (1).json"].read_text()) == values
    np.testing.assert_array_equal(np.asarray(Image.open(files["benign (1)_mask.png"])) > 0, result.mask)
    assert Image.open(files["benign (1)_overlay.png"]).size == result.overlay().size
    result.save(tmp_path / "out")
    files["benign (1)_mask.png"].write_bytes(b"of the user")
    with pytest.raises(StorageError, match=r"benign \(1\)_mask\.png"):
        result.save(tmp_path / "out")


def test_uncertainty_of_one_path_is_the_entropy(file: Path, tmp_path: Path) -> None:
    folder = save_weights(tiny_network("unet"), WeightsConfig("unet", {"width": 2}, 32), tmp_path / "unet")
    result = taichinet.load(folder).predict(file)
    assert result.uncertainty_name == "entropy of the probability"
    p = result.probability.astype(np.float64)
    expected = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
    np.testing.assert_allclose(result.uncertainty, expected, atol=1e-6)
    np.testing.assert_array_equal(entropy(np.array([0, 0.5, 1], np.float32)), [0, 1, 0])


def test_diameters_are_those_of_rectangle_disc_and_largest_component() -> None:
    mask = np.zeros((200, 200), bool)
    assert diameters(mask, (1, 1)) is None
    mask[20:50, 30:70] = True  # 30 x 40 pixels: diagonal 50
    longest, across = diameters(mask, (1, 1)) or (0, 0)
    assert longest == pytest.approx(50, rel=1e-4)
    assert across == pytest.approx(48, rel=2e-3)  # 2 * 30 * 40 / 50
    mask[100, 0:100] = True  # longer, but smaller
    assert diameters(mask, (1, 1)) == (longest, across)
    assert diameters(mask, (2, 2)) == pytest.approx((2 * longest, 2 * across))
    y, x = np.mgrid[:200, :200]
    disc = (y - 100) ** 2 + (2 * (x - 100)) ** 2 < 80**2  # round if pixels are twice as wide as high
    assert diameters(disc, (1, 2)) == pytest.approx((160, 160), rel=0.02)


def test_weights_are_found_by_name_folder_run_and_study(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_study(tmp_path)
    fold = study / "fold-0"
    assert find_weights(fold) == find_weights(fold / "weights") == (fold / "weights",)
    assert find_weights(fold / "weights/model.safetensors") == (fold / "weights",)
    assert len(find_weights(study)) == 2
    assert find_one_weights(study / "all-images") == study / "all-images/weights"
    with pytest.raises(WeightsError, match=r"2 folds, but one network.*fold-0.*all-images"):
        find_one_weights(study)
    export = CliRunner().invoke(app, ["export", str(study), "--images", str(tmp_path), "-o", str(tmp_path / "x.onnx")])
    assert "one network is needed" in str(export.exception)
    with pytest.raises(WeightsError, match=r"No weights at absent.*in the package \(best-lite\)"):
        taichinet.load("absent")

    networks = [taichinet.load(study / f"fold-{k}").predict(file).probability for k in (0, 1)]
    ensemble = taichinet.load(study)
    assert "2 networks" in repr(ensemble)
    # Each fold has its own temperature in its decision; these weights have none.
    np.testing.assert_allclose(ensemble.predict(file).probability, np.mean(networks, axis=0), atol=1e-6)
    with pytest.raises(WeightsError, match="2 networks, which cannot be saved"):
        ensemble.save(tmp_path / "copy")

    shipped = taichinet.load("best-lite")
    copy = taichinet.load(shipped.save(tmp_path / "copy"))
    assert copy.provenance == shipped.provenance
    assert "train_keys" not in copy.provenance
    assert (tmp_path / "copy/README.md").is_file()
    with pytest.raises(WeightsError, match="not an empty folder"):
        shipped.save(tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best-lite").mkdir()  # a folder of the user is not mistaken for the weights in the package
    with pytest.raises(WeightsError, match="No weights at best-lite"):
        taichinet.load("best-lite")


def test_importing_and_segmenting_do_not_import_torch(file: Path) -> None:
    code = "import sys, taichinet as t; t.train, t.segment(sys.argv[1]).overlay(); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"load", "segment", "train"} <= set(dir(taichinet))
