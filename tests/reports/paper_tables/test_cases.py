"""Overlays of the worst cases: predicted with the weights of their test fold, only for scored images."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes.udiat import make_fake_udiat
from PIL import Image

from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.decoded import united_mask
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import DataError
from taichinet.experiments.cross_validate import train_folds
from taichinet.experiments.evaluate import evaluate_weights, write_evaluation
from taichinet.experiments.experiment import vary
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.study_data import open_study_data
from taichinet.reports.paper_tables.cases import CaseStudy, case_studies, predict_cases, with_overlays
from taichinet.reports.paper_tables.runs import read_methods
from taichinet.reports.paper_tables.write import ReportOptions, write_report

TINY = {
    "options.width": 2,
    "data.size": 32,
    "data.folds": 2,
    "data.validation_share": 0,
    "training.epochs": 2,
    "training.precision": "float32",
    "training.selection": "last",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 6, 6, 2, seed=1, size=(72, 96))


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two U-Nets with different seeds, trained on both folds."""
    out = tmp_path_factory.mktemp("runs")
    for name, seed in (("one", 0), ("two", 1)):
        experiment = vary(get_recipe("cpu-unet"), {**TINY, "name": name, "training.seed": seed})
        train_folds(experiment, open_study_data(experiment, data, "paper", out), [0, 1], out)
    return out


def studies(runs: Path) -> list[CaseStudy]:
    return case_studies(read_methods(runs))


def test_case_is_predicted_with_weights_of_its_test_fold(runs: Path, data: Path) -> None:
    """The Dice of the predicted masks is that of scores.csv."""
    (study,) = studies(runs)
    samples = {sample.key: sample for sample in open_dataset(str(data), include_normal=False)}
    for method in (study.first, study.second):
        rows = method.first.rows.set_index("key")
        assert set(rows["fold"]) == {0, 1}
        masks = predict_cases(method.first, list(rows.index), samples)
        for key, mask in masks.items():
            true_mask = united_mask(samples[key])
            dice = 2 * np.count_nonzero(mask & true_mask) / (np.count_nonzero(mask) + np.count_nonzero(true_mask))
            assert dice == pytest.approx(rows.loc[key, "dice_native"], abs=1e-4)


def test_page_has_worst_cases_as_images(runs: Path, data: Path, tmp_path: Path) -> None:
    write_report(runs, tmp_path, ReportOptions(data=[str(data)], worst=3, resamples=50))
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    (study,) = json.loads(re.findall(r"const STUDIES = (.*);\n", page)[0])
    worst = sorted(zip(study["dice"][study["first"]], study["keys"], strict=True))[:3]
    assert list(study["images"]) == [key for _, key in worst]
    for uri in study["images"].values():
        kind, _, text = uri.partition(",")
        assert kind == "data:image/png;base64"
        image = Image.open(io.BytesIO(base64.b64decode(text)))
        assert max(image.size) <= 560
        red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")).astype(int), -1, 0)
        assert np.count_nonzero((red > 180) & (green < 110) & (blue < 110))  # the contour of the ground truth


def test_different_images_with_same_keys_are_rejected(runs: Path, tmp_path: Path) -> None:
    other = write_phantom_busi(tmp_path / "other", 6, 6, 2, seed=2, size=(72, 96))
    with pytest.raises(DataError, match="not those that the runs were scored on"):
        with_overlays(studies(runs), [str(other)])


def test_evaluation_on_other_data_is_separate_study(runs: Path, data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(runs, tmp_path / "runs")
    other = make_fake_udiat(tmp_path / "udiat")
    for name in ("one", "two"):
        study = copy / "busi" / name / "paper"
        write_evaluation(evaluate_weights(study, f"udiat={other}"), study / "on-udiat")
    own, foreign = with_overlays(studies(copy), [str(data), f"udiat={other}"], count=2)
    assert (own.first.first.tested_on, foreign.first.first.tested_on) == ("busi", "udiat")
    assert foreign.title.endswith("tested on UDIAT (Dataset B), the paper's random folds")
    assert list(foreign.images) == list(foreign.worst(2))
    assert set(foreign.keys) == set(open_dataset(f"udiat={other}").keys)


def test_no_images_without_weights_and_note_has_reason(runs: Path, data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(runs, tmp_path / "runs")
    for folder in copy.glob("busi/two/paper/fold-1/weights"):
        shutil.rmtree(folder)
    (study,) = with_overlays(studies(copy), [str(data)])
    assert not study.images
    assert "no weights in the run folders of `two`" in study.note
    assert study.worst(2) == studies(runs)[0].worst(2)
