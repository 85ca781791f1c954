"""`taichinet train` with several --data: folds of each data set, leave-one-dataset-out, and scores per data set."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from fakes.bus_uclm import make_fake_bus_uclm
from fakes.busi import make_fake_busi
from fakes.folder import make_fake_folder

from cli.test_commands import run
from taichinet.datasets.folds import read_folds
from taichinet.errors import FoldError, PartialFailureError, SettingError

SETTINGS = {
    "options.width": 2,
    "data.size": 32,
    "data.folds": 2,
    "data.validation_share": 0.5,
    "data.include_normal": False,
    "training.epochs": 1,
    "training.batch_size": 4,
}


def train(out: Path, *args: object, **changes: object) -> str:
    settings = [arg for key, value in {**SETTINGS, **changes}.items() for arg in ("--set", f"{key}={value}")]
    return run("train", "short-unet", "--output", out, *args, *settings)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("data")
    return make_fake_busi(root, benign=6, malignant=6, normal=4), make_fake_folder(root, count=9, seed=7)


@pytest.fixture(scope="module")
def runs(data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Leave-one-dataset-out, and fold 0 of the grouped folds."""
    out = tmp_path_factory.mktemp("runs")
    both = ("--data", f"busi={data[0]}", "--data", data[1])
    train(out, *both, "--protocol", "leave-one-dataset-out")
    train(out, *both, "--fold", 0)
    return out


def test_each_data_set_is_tested_once_by_the_other(runs: Path) -> None:
    folder = runs / "busi+folder" / "short-unet" / "leave-one-dataset-out"
    scores = pd.read_csv(folder / "scores.csv")
    assert scores.groupby("dataset")["fold"].unique().map(list).to_dict() == {"busi": [0], "folder": [1]}
    assert scores["key"].str.startswith("busi/").sum() == 12
    groups = json.loads((folder / "summary.json").read_text())["summary"]["groups"]
    assert (groups[0]["group"], groups[0]["images"]) == ("lesion", 20)
    assert [(group["group"], group["images"]) for group in groups[-2:]] == [("busi", 12), ("folder", 8)]
    for fold, (tested, other) in enumerate((("busi", "folder"), ("folder", "busi"))):
        images = json.loads((folder / f"fold-{fold}" / "weights" / "training_images.json").read_text())
        trained = [*images["train_keys"], *images["validation_keys"]]
        assert {key.partition("/")[0] for key in trained} == {other}, tested


def test_grouped_folds_are_those_of_each_data_set_alone(runs: Path) -> None:
    joint = read_folds(runs / "folds" / "busi+folder-lesions-grouped-2folds-seed0.json")
    for name in ("busi", "folder"):
        alone = read_folds(runs / "folds" / f"{name}-lesions-grouped-2folds-seed0.json")
        assert {key: joint.fold_of[f"{name}/{key}"] for key in alone.fold_of} == alone.fold_of
    scores = pd.read_csv(runs / "busi+folder" / "short-unet" / "grouped" / "fold-0" / "scores.csv")
    assert set(scores["key"]) == {key for key, fold in joint.fold_of.items() if fold == 0}


def test_report_and_evaluate_accept_joint_runs(runs: Path, data: tuple[Path, Path], tmp_path: Path) -> None:
    run("report", runs, "--output", tmp_path / "report")
    grouped = runs / "busi+folder" / "short-unet" / "grouped" / "fold-0"
    printed = json.loads(run("evaluate", grouped, "--data", f"busi={data[0]}", "--json"))
    joint = read_folds(runs / "folds" / "busi+folder-lesions-grouped-2folds-seed0.json")
    tested = sum(key.startswith("busi/") and fold == 0 for key, fold in joint.fold_of.items())
    assert printed["images"]["used"] == tested


def test_compare_leaves_one_data_set_out_and_mixes_equally(runs: Path, data: tuple[Path, Path], tmp_path: Path) -> None:
    """The same cells as `train`; another mix is another result, in another folder."""
    both = ("--data", f"busi={data[0]}", "--data", data[1])
    settings = [arg for key, value in SETTINGS.items() for arg in ("--set", f"{key}={value}")]
    args = ("compare", "short-unet", *both, "--protocol", "leave-one-dataset-out", *settings)
    printed = json.loads(run(*args, "--output", runs, "--json"))
    assert [cell["done_before"] for cell in printed["cells"]] == [True, True]
    with pytest.raises(PartialFailureError, match=r"setting data\.mix \(proportional, requested: equal\)"):
        run(*args, "--output", runs, "--mix", "equal")
    run(*("compare", "short-unet", *both, *settings), "--fold", 0, "--mix", "equal", "--output", tmp_path)
    study = tmp_path / "busi+folder" / "short-unet" / "grouped"
    mixed, proportional = (
        json.loads((folder / "fold-0" / "result.json").read_text())
        for folder in (study, runs / "busi+folder" / "short-unet" / "grouped")
    )
    assert mixed["experiment"]["data"]["mix"] == "equal"
    assert mixed["identity"] != proportional["identity"]
    printed = json.loads(run("evaluate", study / "fold-0", *both, "--json"))
    lesion, *_, busi, folder = printed["summary"]["groups"]
    assert (lesion["group"], busi["group"], folder["group"]) == ("lesion", "busi", "folder")
    assert busi["images"] + folder["images"] == lesion["images"]


def test_a_joint_fold_file_of_other_folds_is_refused(runs: Path, data: tuple[Path, Path], tmp_path: Path) -> None:
    name = "busi+folder-lesions-grouped-2folds-seed0.json"
    plan = json.loads((runs / "folds" / name).read_text())
    key = next(iter(plan["fold_of"]))
    plan["fold_of"][key] = 1 - plan["fold_of"][key]
    (tmp_path / "folds").mkdir()
    (tmp_path / "folds" / name).write_text(json.dumps(plan))
    with pytest.raises(FoldError, match=r"was made from other images or other folds of busi\+folder\. Delete it"):
        train(tmp_path, "--data", f"busi={data[0]}", "--data", data[1])


def test_group_by_keeps_the_images_of_a_patient_together(tmp_path: Path) -> None:
    folder = make_fake_bus_uclm(tmp_path)
    (folder / "masks" / "ALWI_002.png").unlink()  # of another size than its image
    (folder / "images" / "ALWI_002.png").unlink()
    pattern = ("--group-by", "^([A-Z]{4})_")
    train(tmp_path / "runs", "--data", f"folder={folder}", "--fold", 0, *pattern, **{"data.validation_share": 0})
    plan = read_folds(tmp_path / "runs" / "folds" / "folder-lesions-grouped-2folds-seed0.json")
    assert len({fold for key, fold in plan.fold_of.items() if key.startswith("ALWI")}) == 1
    assert any(len(group) == 3 for group in plan.groups)
    settings = [arg for key, value in SETTINGS.items() for arg in ("--set", f"{key}={value}")]
    args = ("short-unet", "--data", f"folder={folder}", "--fold", 0, *settings, "--set", "data.validation_share=0")
    run("compare", *args, *pattern, "--output", tmp_path / "grid")
    assert read_folds(tmp_path / "grid" / "folds" / "folder-lesions-grouped-2folds-seed0.json") == plan


def test_group_by_without_a_plain_folder_is_refused(data: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--group-by is for plain folders"):
        train(tmp_path, "--data", f"busi={data[0]}", "--group-by", "(.)")
