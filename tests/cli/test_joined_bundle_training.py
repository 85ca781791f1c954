"""`taichinet train` on joined bundles gives the scores, weights and records of the joined data sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.busi import make_fake_busi
from fakes.folder import make_fake_folder

from cli.test_commands import run
from cli.test_joint_training import SETTINGS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The two data sets, and their bundles."""
    root = tmp_path_factory.mktemp("data")
    paths = {
        "busi": make_fake_busi(root, benign=6, malignant=6, normal=4),
        "folder": make_fake_folder(root, count=9, seed=7),
    }
    for name, path in list(paths.items()):
        paths[f"{name}.zip"] = root / f"{name}.zip"
        run("data", "bundle", f"{name}={path}", "--size", 32, "-o", paths[f"{name}.zip"])
    return paths


def test_a_fold_has_the_same_record_scores_and_weights(data: dict[str, Path], tmp_path: Path) -> None:
    settings = [arg for key, value in SETTINGS.items() for arg in ("--set", f"{key}={value}")]
    for out, ending in (("originals", ""), ("bundles", ".zip")):
        given = [arg for name in ("busi", "folder") for arg in ("--data", f"{name}={data[name + ending]}")]
        run("train", "short-unet", *given, "--fold", 0, "--output", tmp_path / out, *settings)
    folders = [tmp_path / out / "busi+folder" / "short-unet" / "grouped" / "fold-0" for out in ("originals", "bundles")]
    for file in ("scores.csv", "seen.safetensors", "weights/model.safetensors", "weights/config.json"):
        assert (folders[1] / file).read_bytes() == (folders[0] / file).read_bytes(), file
    one, other = (json.loads((folder / "result.json").read_text()) for folder in folders)
    for field in ("identity", "dataset_digest", "summary"):
        assert other[field] == one[field]
    told = [
        json.loads(run("evaluate", folders[1], "--data", f"busi={data[name]}", "--json"))
        for name in ("busi", "busi.zip")
    ]
    assert told[0]["images"] == told[1]["images"]
    assert 0 < told[1]["images"]["used"] < 12
