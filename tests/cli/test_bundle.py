"""Commands accept a bundle in place of the data set and give the same results, or refuse it with the reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bundles import change_record
from safetensors.numpy import load_file
from typer.testing import CliRunner

from taichinet.cli.app import app
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import DataError, SettingError, StorageError
from taichinet.experiments.experiment import vary
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.study_data import open_folds

TINY = {
    "options.width": 2,
    "data.size": 32,
    "data.folds": 2,
    "data.validation_share": 0.4,
    "training.epochs": 1,
    "training.batch_size": 4,
    "mining.epochs": 1,
    "mining.width": 2,
}
SETTINGS = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]


def run(*words: object) -> str:
    """Standard output of `taichinet WORDS`; errors of the command are raised."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 12, 10, 8, seed=1, size=(96, 128))


@pytest.fixture(scope="module")
def bundle(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "busi-32.zip"
    told = json.loads(run("data", "bundle", data, "--size", 32, "-o", path, "--json"))
    assert (told["file"], told["images"], told["protocols"]) == ("busi-32.zip", 30, ["grouped", "paper"])
    return path


@pytest.fixture(scope="module")
def trained(data: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Studies trained from the original folder and from the bundle."""
    outs = {}
    for name, given in (("original", data), ("bundle", bundle)):
        outs[name] = tmp_path_factory.mktemp(name)
        run("train", "cpu-taichinet", "--data", given, "--output", outs[name], *SETTINGS)
    return outs


def test_a_training_has_the_same_weights_scores_folds_and_identity(trained: dict[str, Path]) -> None:
    one, other = trained["original"], trained["bundle"]
    names = [sorted(str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()) for out in (one, other)]
    assert names[0] == names[1]
    study = "busi/cpu-taichinet/grouped"
    for fold in ("fold-0", "fold-1"):
        weights = [load_file(out / study / fold / "weights/model.safetensors") for out in (one, other)]
        assert weights[0].keys() == weights[1].keys()
        assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
        for file in ("scores.csv", "seen.safetensors", "weights/config.json"):
            assert (one / study / fold / file).read_bytes() == (other / study / fold / file).read_bytes()
        results = [json.loads((out / study / fold / "result.json").read_text()) for out in (one, other)]
        for field in ("identity", "dataset_digest", "summary"):
            assert results[0][field] == results[1][field]
    scores = pd.read_csv(other / study / "scores.csv")
    assert {"dice", "dice_native"} <= set(scores)
    (plan,) = (one / "folds").glob("*.json")
    assert plan.read_bytes() == (other / "folds" / plan.name).read_bytes()


def test_a_run_of_the_original_is_resumed_from_the_bundle(trained: dict[str, Path], bundle: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained["original"].rglob("*.safetensors")}
    run("train", "cpu-taichinet", "--data", bundle, "--output", trained["original"], "--resume", *SETTINGS)
    assert {path: path.stat().st_mtime_ns for path in trained["original"].rglob("*.safetensors")} == before


def test_an_evaluation_knows_the_training_images_and_has_the_same_scores(
    trained: dict[str, Path], data: Path, bundle: Path, tmp_path: Path
) -> None:
    study = trained["original"] / "busi/cpu-taichinet/grouped"
    for name, given in (("original", data), ("bundle", f"busi={bundle}")):
        run("evaluate", study, "--data", given, "-o", tmp_path / name)
    assert (tmp_path / "original/scores.csv").read_bytes() == (tmp_path / "bundle/scores.csv").read_bytes()
    one, other = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("original", "bundle"))
    for field in ("dataset_digest", "note", "images", "networks", "summary"):
        assert one[field] == other[field]


def test_a_card_of_a_bundle_has_no_images(trained: dict[str, Path], bundle: Path, tmp_path: Path) -> None:
    fold = trained["original"] / "busi/cpu-taichinet/grouped/fold-0"
    run("evaluate", fold, "--data", bundle, "--card", tmp_path / "card.html")
    assert "data:image/png" not in (tmp_path / "card.html").read_text(encoding="utf-8")


def test_another_size_or_number_of_channels_is_refused_before_training(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"busi-32.zip has grey images of 32 px, but grey images of 48 px.*--size 48"):
        run("train", "cpu-unet", "--data", bundle, "-o", tmp_path, *SETTINGS, "--set", "data.size=48")
    with pytest.raises(DataError, match=r"RGB images of 32 px are needed.*--size 32 --colour"):
        run("train", "cpu-unet", "--data", bundle, "-o", tmp_path, *SETTINGS, "--set", "options.in_channels=3")
    with pytest.raises(DataError, match=r"has grey images of 32 px"):
        run("compare", "table1", "--scale", "cpu", "--data", bundle, "-o", tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_weights_of_another_size_are_refused(trained: dict[str, Path], data: Path, tmp_path: Path) -> None:
    run("data", "bundle", data, "--size", 40, "-o", tmp_path / "busi-40.zip")
    with pytest.raises(DataError, match=r"busi-40.zip has grey images of 40 px, but grey images of 32 px"):
        run("evaluate", trained["original"] / "busi/cpu-taichinet/grouped/fold-0", "--data", tmp_path / "busi-40.zip")


def test_compare_trains_from_a_bundle(bundle: Path, tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text("parts:\n  - {data: busi, recipes: [cpu-unet]}\n", encoding="utf-8")
    out = tmp_path / "runs"
    told = json.loads(run("compare", suite, "--data", bundle, "-o", out, "--fold", 0, "--json", *SETTINGS))
    assert [cell["state"] for cell in told["cells"]] == ["done"]


def test_the_fold_plan_of_the_bundle_is_used_for_its_settings(bundle: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copy(bundle, tmp_path / "changed.zip"))
    moved = []

    def change(record: dict[str, Any]) -> None:
        (plan,) = (plan for plan in record["lesions"]["plans"] if plan["protocol"] == "paper")
        plan["fold_of"]["benign (1)"] = (plan["fold_of"]["benign (1)"] + 1) % 5
        moved.append(plan["fold_of"]["benign (1)"])

    change_record(changed, change)
    (expected,) = moved
    recipe = vary(get_recipe("cpu-unet"), {"data.size": 32})
    _, plan = open_folds(recipe, changed, "paper", tmp_path / "runs")
    assert plan.fold_of["benign (1)"] == expected


def test_commands_that_need_the_original_images_refuse_a_bundle(bundle: Path, tmp_path: Path) -> None:
    for words in (
        ("data", "export", bundle, "--format", "monai", "-o", tmp_path / "out"),
        ("data", "bundle", bundle, "--size", 32, "-o", tmp_path / "again.zip"),
    ):
        with pytest.raises(DataError, match=r"busi-32.zip: a bundle has its images at input resolution only.*original"):
            run(*words)
    assert not list(tmp_path.iterdir())


def test_a_foreign_file_is_not_overwritten_and_an_own_one_is(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.zip"
    path.write_bytes(b"mine")
    with pytest.raises(StorageError, match=r"mine.zip exists and was not written by this command.*--overwrite"):
        run("data", "bundle", data, "--size", 32, "-o", path)
    run("data", "bundle", data, "--size", 32, "-o", path, "--overwrite")
    assert "RGB images of 32 px of BUSI" in run("data", "bundle", data, "--size", 32, "-o", path, "--colour")
    with pytest.raises(SettingError, match=r"mine.bin does not end in .zip"):
        run("data", "bundle", data, "--size", 32, "-o", tmp_path / "mine.bin")


def test_a_bundle_is_verified_against_the_original(data: Path, bundle: Path, tmp_path: Path) -> None:
    assert "agree with the original" in run("data", "verify-bundle", bundle, data)
    other = write_phantom_busi(tmp_path / "other", 12, 10, 8, seed=2, size=(96, 128))
    with pytest.raises(DataError, match=r"(?s)differs from.*images with another 'pixels'"):
        run("data", "verify-bundle", bundle, other)
    with pytest.raises(DataError, match="does not exist, is cut short, or is not a bundle"):
        run("data", "verify-bundle", data, data)
