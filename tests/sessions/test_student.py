"""A student compares networks of other libraries with a baseline, on her own folder, and scores foreign masks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copy

import numpy as np
import pandas as pd
import pytest
from cli.test_commands import run
from cli.test_own_networks import EXAMPLES
from numpy.typing import NDArray
from PIL import Image

from sessions import first_command
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import DataError, SettingError

COUNT = 6
Namer = Callable[[int], str]


def kind(n: int) -> str:
    return ("benign", "malignant")[n % 2]


def part(n: int) -> str:
    return ("train", "val", "test")[n % 3]


LAYOUTS: dict[str, tuple[Namer, Namer]] = {
    "images, masks": (lambda n: f"images/s{n}.png", lambda n: f"masks/s{n}.png"),
    "upper case": (lambda n: f"IMG/s{n}.PNG", lambda n: f"GT/s{n}.PNG"),
    "jpg, suffix": (lambda n: f"imgs/s{n}.jpg", lambda n: f"annotations/s{n}_seg.png"),
    "tif": (lambda n: f"image/s{n}.tif", lambda n: f"label/s{n}.bmp"),
    "one folder": (lambda n: f"s{n}.png", lambda n: f"s{n}_mask.png"),
    "one folder, long suffix": (lambda n: f"s{n}.png", lambda n: f"s{n}_segmentation.png"),
    "numbered masks": (lambda n: f"images/s{n}.png", lambda n: f"masks/0/s{n}.png"),
    "parts above": (lambda n: f"{part(n)}/images/s{n}.png", lambda n: f"{part(n)}/masks/s{n}.png"),
    "parts below": (lambda n: f"images/{part(n)}/s{n}.png", lambda n: f"labels/{part(n)}/s{n}.png"),
    "parts, one folder": (lambda n: f"{part(n)}/s{n}.png", lambda n: f"{part(n)}/s{n}_gt.png"),
    "classes above": (lambda n: f"{kind(n)}/images/s{n}.png", lambda n: f"{kind(n)}/masks/s{n}.png"),
    "classes, one folder": (lambda n: f"{kind(n)}/s{n}.png", lambda n: f"{kind(n)}/s{n}_mask.png"),
    "parts and classes": (lambda n: f"{part(n)}/{kind(n)}/s{n}.png", lambda n: f"{part(n)}/{kind(n)}/s{n}_seg.png"),
    "table": (lambda n: f"{kind(n)}/Scans/s{n}.png", lambda n: f"{kind(n)}/Ground Truth/t{n}.png"),
}


def write(folder: Path, layout: str) -> Path:
    image_name, mask_name = LAYOUTS[layout]
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        mask = np.zeros((24, 32), dtype=np.uint8)
        mask[4 : 9 + number, 6:16] = 255
        for name, content in (
            (image_name(number), rng.integers(0, 255, mask.shape, dtype=np.uint8)),
            (mask_name(number), mask),
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(folder / name)
    if layout == "table":
        rows = [f"{image_name(n)},{mask_name(n)},P{n // 2}" for n in range(COUNT)]
        (folder / "list.csv").write_text("\n".join(["image,mask,patient", *rows]))
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_is_recognised_with_all_images(layout: str, tmp_path: Path) -> None:
    checked = json.loads(run("data", "check", f"clinic={write(tmp_path / 'own', layout)}", "--json"))
    assert (checked["dataset"], checked["images"]) == ("clinic", COUNT)
    assert checked["used_and_skipped"]["used"] == COUNT
    assert checked["used_and_skipped"]["empty_mask"] == 0
    assert checked["readable"]


def test_unknown_layout_is_shown_beside_the_accepted_ones(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", "table")
    (folder / "list.csv").unlink()
    with pytest.raises(
        DataError, match=r"not a folder of images with masks(?s:.*)or a \.csv with the columns"
    ) as caught:
        run("train", "short-unet", "--data", f"clinic={folder}", "-o", tmp_path / "runs")
    assert "Ground Truth/" in str(caught.value)


SETTINGS = {
    "data.size": 32,
    "data.folds": 2,
    "data.validation_share": 0.25,
    "training.epochs": 8,
    "training.batch_size": 4,
    "training.learning_rate": 0.003,
}
SET = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
NETWORKS = ("smp_unet", "monai_unet")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms in folders of unusual names with a table, two images per patient."""
    root = tmp_path_factory.mktemp("student")
    phantoms = write_phantom_busi(root / "phantoms", 8, 8, 0, seed=2, size=(96, 128))
    folder, rows = root / "my study", ["image,mask,patient,label"]
    for number, image in enumerate(sorted(phantoms.glob("*/*).png"))):
        label = image.parent.name
        files = (folder / label / "Scans" / f"{number}.png", folder / label / "Ground Truth" / f"{number}.png")
        for source, file in zip((image, image.with_name(f"{image.stem}_mask.png")), files, strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            copy(source, file)
        rows.append(",".join([*(str(file.relative_to(folder)) for file in files), f"P{number // 2}", label]))
    (folder / "list.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def runs(own: Path) -> Path:
    """Both networks of docs/compare/own-networks.md and the baseline, trained and compared by one command."""
    pytest.importorskip("segmentation_models_pytorch")
    files = []
    for name in NETWORKS:
        files.append(own.parent / f"{name}.py")
        files[-1].write_text(EXAMPLES[f"{name}.py"], encoding="utf-8")
    networks = [f"{file}:{file.stem}" for file in files]
    command = ("compare", *networks, "--against", "unet", "--data", f"clinic={own}", "-o", own.parent / "runs")
    printed = json.loads(first_command(*command, *SET, "--json").stdout)
    assert [cell["state"] for cell in printed["cells"]] == ["done"] * 6
    comparisons = {comparison["method"]: comparison for comparison in printed["against"]["comparisons"]}
    assert set(comparisons) == {f"own-{name}" for name in NETWORKS}
    for comparison in comparisons.values():
        assert (comparison["images"], comparison["folds"]) == (16, [0, 1])
        low, high = comparison["interval"]
        assert low <= comparison["difference"] <= high
        clear = comparison["p_holm"] < 0.05 and not low <= 0 <= high
        assert (comparison["verdict"] != "unclear") == clear
    return own.parent / "runs"


def test_all_networks_are_tested_on_the_same_folds_without_a_split_patient(runs: Path, own: Path) -> None:
    tables = [pd.read_csv(file).set_index("key")["fold"] for file in sorted(runs.glob("clinic/*/grouped/scores.csv"))]
    assert len(tables) == 3
    assert all(table.sort_index().equals(tables[0].sort_index()) for table in tables)
    patients = pd.read_csv(own / "list.csv")
    keys = patients["image"].str.removesuffix(".png").str.replace("/", "-")
    assert sorted(tables[0].index) == sorted(keys)
    assert tables[0][keys].groupby(patients["patient"].to_numpy()).nunique().max() == 1


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def test_foreign_masks_are_scored_and_compared_with_the_trained_networks(runs: Path, own: Path, tmp_path: Path) -> None:
    expected = {}
    (tmp_path / "medsam").mkdir()
    for number, file in enumerate(sorted(own.glob("*/Ground Truth/*.png"))):
        with Image.open(file) as image:
            truth = np.asarray(image.convert("L")) > 127
        mask = np.roll(truth, 1 + number % 3, axis=1)
        Image.fromarray(mask).save(tmp_path / "medsam" / file.name)
        expected[f"{file.parent.parent.name}-Scans-{file.stem}"] = dice(mask, truth)
    (plan,) = (runs / "folds").glob("*.json")
    named = ("--data", f"clinic={own}", "--folds", plan, "--name", "MedSAM", "--size", 64)
    run("score", tmp_path / "medsam", *named, "-o", tmp_path / "scores")
    scores = pd.read_csv(tmp_path / "scores" / "scores.csv").set_index("key")["dice_native"].to_dict()
    assert scores == pytest.approx(expected, abs=1e-5)
    run("report", runs, "-o", tmp_path / "report", "--scores", tmp_path / "scores", "--against", "unet")
    tests = pd.read_csv(tmp_path / "report" / "against.csv").set_index("method")
    assert set(tests.index) == {"MedSAM", *(f"own-{name}" for name in NETWORKS)}
    assert tests.loc["MedSAM", "verdict"] == "higher"
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "<code>MedSAM</code> has a higher Dice than <code>cpu-unet</code>" in page
    assert page.index("Compared with the chosen baseline") < page.index("Table I: "), "what was asked for comes first"
    (tmp_path / "medsam" / "0.png").unlink()
    with pytest.raises(DataError, match="0"):
        run("score", tmp_path / "medsam", *named, "-o", tmp_path / "incomplete")
    assert not (tmp_path / "incomplete").exists()


def test_networks_of_one_name_are_refused_with_the_remedy(own: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.py" for name in ("first", "second")]
    for width, file in enumerate(files, start=2):
        file.write_text(EXAMPLES["mynet.py"].replace("width: int = 16", f"width: int = {width}"), encoding="utf-8")
    with pytest.raises(SettingError, match=r"rename the class or function in FILE\.py"):
        run("compare", *(f"{file}:MyNet" for file in files), "--data", f"clinic={own}", "-o", tmp_path, *SET)
