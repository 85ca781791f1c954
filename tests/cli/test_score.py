"""`taichinet score`: predicted masks of other programs on the folds of a plan."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cli.test_commands import run, settings
from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import DataError, FoldError, SettingError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 8, 8, 3, seed=1, size=(64, 96))


@pytest.fixture(scope="module")
def study(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained U-Net, whose runs have the fold plan."""
    out = tmp_path_factory.mktemp("runs")
    run("train", "cpu-unet", "--data", data, "--output", out, *settings())
    return out / "busi" / "cpu-unet" / "grouped"


@pytest.fixture
def plan(study: Path) -> Path:
    (file,) = (study.parents[2] / "folds").glob("*.json")
    return file


@pytest.fixture
def masks(data: Path, tmp_path: Path) -> Path:
    """The ground truth as predictions, 0 and 1, by key."""
    folder = tmp_path / "masks"
    folder.mkdir()
    manifest = open_dataset(data, include_normal=False)
    for sample in manifest:
        Image.fromarray(manifest.region_masks(sample)[0].astype(np.uint8)).save(folder / f"{sample.key}.png")
    return folder


def mean(printed: str, size: str = "native", score: str = "dice") -> float:
    value: float = json.loads(printed)["summary"]["groups"][0][size][score]["mean"]
    return value


def test_perfect_masks_have_perfect_scores_in_the_files_of_evaluate(
    masks: Path, data: Path, plan: Path, tmp_path: Path
) -> None:
    printed = run("score", masks, "--data", data, "--folds", plan, "--output", tmp_path / "scores", "--json")
    assert (mean(printed), mean(printed, "network"), mean(printed, score="hd95")) == (1, 1, 0)
    rows = pd.read_csv(tmp_path / "scores/scores.csv")
    assert len(rows) == 16
    assert rows.set_index("key")["fold"].to_dict() == json.loads(plan.read_text())["fold_of"]
    record = json.loads((tmp_path / "scores/summary.json").read_text())
    assert record["networks"][0]["model"] == "masks"
    assert record["summary"]["detection"]["lesions"]["share"] == 1


def test_masks_of_our_own_network_have_its_scores_at_original_resolution(
    study: Path, data: Path, plan: Path, tmp_path: Path
) -> None:
    """`predict` with the network of each fold, then `score`."""
    fold_of = json.loads(plan.read_text())["fold_of"]
    together = tmp_path / "together"
    together.mkdir()
    for fold in (0, 1):
        images = [data / key.split()[0] / f"{key}.png" for key, tested in fold_of.items() if tested == fold]
        run("predict", *images, "-o", tmp_path / f"{fold}", "--weights", study / f"fold-{fold}", "--runtime", "eager")
        for mask in (tmp_path / f"{fold}").glob("*_mask.png"):
            shutil.copy(mask, together)
    run("score", together, "--data", data, "--folds", plan, "--output", tmp_path / "scores", "--size", 32)
    ours = pd.read_csv(study / "scores.csv").set_index("key").sort_index()
    scored = pd.read_csv(tmp_path / "scores/scores.csv").set_index("key").sort_index()
    columns = ["fold", *(column for column in ours if str(column).endswith("_native"))]
    pd.testing.assert_frame_equal(scored[columns], ours[columns], atol=2e-3)


def test_names_of_an_export_for_nnunet_are_found(masks: Path, data: Path, plan: Path, tmp_path: Path) -> None:
    run("data", "export", data, "--format", "nnunet", "--folds", plan, "-o", tmp_path / "raw")
    (labels,) = (tmp_path / "raw").glob("*/labelsTr")
    assert mean(run("score", labels, "--data", data, "--folds", plan, "--json")) == 1


def test_lesion_value_selects_the_pixels(masks: Path, data: Path, plan: Path) -> None:
    file = next(masks.iterdir())
    values = np.asarray(Image.open(file)) * 2
    values[0, 0] = 1
    Image.fromarray(values).save(file)
    assert mean(run("score", masks, "--data", data, "--folds", plan, "--json")) < 1
    for other in masks.iterdir():
        if other != file:
            Image.fromarray(np.asarray(Image.open(other)) * 2).save(other)
    assert mean(run("score", masks, "--data", data, "--folds", plan, "--value", 2, "--json")) == 1


def test_missing_masks_are_listed(masks: Path, data: Path, plan: Path) -> None:
    for key in ("benign (1)", "malignant (2)"):
        (masks / f"{key}.png").unlink()
    with pytest.raises(DataError, match=r"no mask for 2 of 16 test images[^$]*benign \(1\)[^$]*malignant \(2\)"):
        run("score", masks, "--data", data, "--folds", plan)


def test_mask_of_another_size_is_named(masks: Path, data: Path, plan: Path) -> None:
    Image.new("L", (32, 48)).save(masks / "benign (1).png")
    with pytest.raises(DataError, match=r"benign \(1\)\.png: the mask has 48 x 32 pixels .*the image has"):
        run("score", masks, "--data", data, "--folds", plan)


def test_two_masks_of_one_image_are_refused(masks: Path, data: Path, plan: Path) -> None:
    shutil.copy(masks / "benign (1).png", masks / "benign (1).bmp")
    with pytest.raises(DataError, match=r"benign \(1\): benign \(1\)\.bmp and benign \(1\)\.png"):
        run("score", masks, "--data", data, "--folds", plan)


def test_plan_of_other_images_and_values_out_of_range_are_refused(
    masks: Path, data: Path, plan: Path, tmp_path: Path
) -> None:
    other = write_phantom_busi(tmp_path / "other", 8, 8, 3, seed=2, size=(64, 96))
    with pytest.raises(FoldError, match="other pixels"):
        run("score", masks, "--data", other, "--folds", plan)
    for option in (("--value", 0), ("--size", 0)):
        with pytest.raises(SettingError, match=option[0]):
            run("score", masks, "--data", data, "--folds", plan, *option)
