"""Data sets, folds, training, evaluation and comparison from Python have the results of the commands."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cli.test_commands import TINY, run, settings

import taichinet
from taichinet.datasets.folds import read_folds
from taichinet.errors import DataError, FoldError, SettingError
from taichinet.experiments.cross_validate import Study

RECIPE = "short-unet"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "phantoms"
    return taichinet.write_phantom_busi(folder, 12, 10, 4, seed=1, size=(96, 128))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def study(data: Path, output: Path) -> Study:
    return taichinet.train(taichinet.get_recipe(RECIPE, {**TINY, "training.epochs": 1}), data, output)


def test_folds_and_scores_are_those_of_the_command(study: Study, data: Path, output: Path, tmp_path: Path) -> None:
    run("train", RECIPE, "--data", data, "--output", tmp_path, *settings(**{"training.epochs": 1}))
    command = pd.read_csv(tmp_path / f"busi/{RECIPE}/grouped/scores.csv")
    np.testing.assert_allclose(study.scores["dice"], command["dice"], atol=1e-6)
    dataset = taichinet.load_dataset(data, include_normal=False)
    plan = taichinet.make_folds(dataset, count=2)
    assert plan == read_folds(output / "folds/busi-lesions-grouped-2folds-seed0.json")
    assert len(plan.split(0, dataset.strata, 0.25).test) == 11


def test_epochs_are_logged_and_existing_runs_are_kept(
    study: Study, data: Path, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = taichinet.get_recipe(RECIPE, {**TINY, "training.epochs": 1, "name": "logged"})
    with caplog.at_level(logging.INFO, "taichinet"):
        taichinet.train(recipe, data, output, folds=[1])
    assert "logged, fold 1 of 2" in caplog.text
    assert "train, epoch 1 of 1, loss" in caplog.text
    with pytest.raises(FoldError, match="already contains a training"):
        taichinet.train(recipe, data, output, folds=[1])
    with pytest.raises(FoldError, match=r"Fold 7 does not exist.*0 to 1"):
        taichinet.train(recipe, data, output, folds=[7])
    with pytest.raises(SettingError, match="short-unet"):
        taichinet.get_recipe("shrt-unet")


def test_evaluation_of_study_model_and_loaded_data_are_the_same(study: Study, data: Path, tmp_path: Path) -> None:
    dataset = taichinet.load_dataset(data)
    results = [
        taichinet.evaluate(study.folder, data, output=tmp_path / "scores"),
        taichinet.evaluate(taichinet.load(study.folder), dataset),
    ]
    for result in results:
        assert result.counts.used == 22  # the recipe was trained without normal images
        np.testing.assert_allclose(result.scores["dice"], study.scores["dice"], atol=1e-6)
    assert (tmp_path / "scores/summary.json").is_file()
    with pytest.raises(SettingError, match="another threshold"):
        taichinet.evaluate(taichinet.load(study.folder, threshold=0.2), dataset)


def test_comparison_is_paired_by_key_and_resamples_groups(study: Study) -> None:
    other = study.scores.sample(frac=1, random_state=0)
    other["dice"] = other["dice"].fillna(0.0) - 0.1
    result = taichinet.compare_scores(study, other, groups=[list(study.scores["key"][:3])])
    assert result.difference.mean == pytest.approx(0.1)
    assert (result.images, result.difference.clusters, result.better, result.worse) == (22, 20, 22, 0)
    with pytest.raises(DataError, match="no column 'iou'"):
        taichinet.compare_scores(study, other, "iou")
    with pytest.raises(DataError, match="1 lesion images were scored for one network only"):
        taichinet.compare_scores(study, other.iloc[1:])
    with pytest.raises(DataError, match="several scores"):
        taichinet.compare_scores(study, pd.concat([other, other]))
    with pytest.raises(DataError, match="no column 'key'"):
        taichinet.compare_scores(study, other.drop(columns="key"))
    with pytest.raises(DataError, match="no lesion image"):
        taichinet.compare_scores(other[:0], other[:0])


def test_invalid_arguments_are_refused_before_a_training(study: Study, data: Path, output: Path) -> None:
    recipe = taichinet.get_recipe(RECIPE, {**TINY, "training.epochs": 1})
    written = (study.folder / "fold-0/result.json").stat().st_mtime_ns
    with pytest.raises(SettingError, match="value of existing 'Refuse'"):
        taichinet.train(recipe, data, output, existing="Refuse")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="fold protocol 'group'"):
        taichinet.train(recipe, data, output, protocol="group")  # type: ignore[arg-type]
    with pytest.raises(FoldError, match="folds is empty"):
        taichinet.train(recipe, data, output, folds=[])
    with pytest.raises(DataError, match="No data set was given"):
        taichinet.train(recipe, [], output)
    with pytest.raises(DataError, match="No data set was given"):
        taichinet.evaluate(study.folder, [])
    assert (study.folder / "fold-0/result.json").stat().st_mtime_ns == written
    dataset = taichinet.load_dataset(data)
    wrong: list[dict[str, Any]] = [{"count": 1}, {"count": 2.5}, {"seed": -1}, {"protocol": "group"}]
    for arguments in wrong:
        with pytest.raises(SettingError, match=next(iter(arguments))):
            taichinet.make_folds(dataset, **arguments)


def test_patients_are_found_in_file_names(tmp_path: Path) -> None:
    from PIL import Image

    for number, patient in enumerate("AABB"):
        for folder, value in (("images", 40 * number + 20), ("masks", 255)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(np.full((40, 40), value, np.uint8)).save(tmp_path / folder / f"{patient}_{number}.png")
    dataset = taichinet.load_dataset(f"clinic={tmp_path}", group_by="^([A-Z])_")
    assert [sample.patient for sample in dataset] == list("AABB")
