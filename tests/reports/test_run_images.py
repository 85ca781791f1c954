"""learning-curves.png and validation.png of a run folder: what they show, when they are drawn, and where they stay."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.busi import make_fake_busi
from helpers import FLOAT32_CPU, TINY, discs
from PIL import Image
from torch import Tensor, nn

from taichinet.batch import Prediction
from taichinet.datasets.folds import make_folds
from taichinet.datasets.prepared import prepare
from taichinet.datasets.readers.busi import DATASET
from taichinet.evaluation.decision import Decision
from taichinet.experiments.experiment import vary
from taichinet.experiments.fold_job import FoldJob
from taichinet.experiments.run import run_fold
from taichinet.experiments.study_data import StudyData
from taichinet.experiments.training_run import CURVES_FILE, RUN_IMAGES, VALIDATION_FILE
from taichinet.experiments.transport.pack import pack_runs
from taichinet.reports import run_images
from taichinet.reports.run_images import Case, RunImages, choose_cases, draw_curves, predict_cases

RECIPE = vary(TINY, {"model": "unet", "training.strategy": "plain"})
ORANGE = np.array([230, 159, 0])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    manifest = DATASET.read(make_fake_busi(tmp_path_factory.mktemp("data") / "busi", benign=5, malignant=4, normal=4))
    return StudyData(manifest, prepare(manifest, 32, 1), make_folds(manifest, (), count=2))


class StoppedError(Exception):
    """Simulates the end of the process."""


def test_images_of_a_run_show_validation_images_and_stay_in_its_folder(
    study: StudyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, Case]] = []
    draw_cases = run_images.draw_cases

    def draw(cases: dict[str, Case]) -> Image.Image:
        shown.append(cases)
        return draw_cases(cases)

    monkeypatch.setattr(run_images, "draw_cases", draw)
    folder = tmp_path / "runs/busi/tiny/grouped/fold-0"

    def job(**more: Any) -> FoldJob:
        return FoldJob(RECIPE, study, 0, folder, tmp_path / "mining", observers=(RunImages,), **more)

    first = job()
    run_fold(first)
    keys = {case.key for case in shown[0].values()}
    assert keys
    assert keys <= set(first.split.validation)
    for name in RUN_IMAGES:
        with Image.open(folder / name) as image:
            assert image.format == "PNG"
            assert min(image.size) > 300
    pack_runs(tmp_path / "runs", tmp_path / "archive", weights=True)
    with zipfile.ZipFile(tmp_path / "archive/runs-0001.part") as archive:
        packed = archive.namelist()
    assert any(name.endswith("history.csv") for name in packed)
    assert not any(name.endswith(".png") for name in packed)

    def stop(*epoch: object) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        run_fold(job(), stop)  # overwrites the run
    assert not any((folder / name).exists() for name in RUN_IMAGES)
    run_fold(job(resume=True))
    assert all((folder / name).exists() for name in RUN_IMAGES)
    assert list(shown[1]) == list(shown[0])


def history(folder: Path, **columns: list[Any]) -> Path:
    rows: dict[str, list[Any]] = {
        "epoch": [1, 2, 3, 4],
        "step": ["plain"] * 4,
        "loss": [4.0, 3, 2, 1],
        "validation_dice": [0.1, 0.5, 0.4, 0.5],
    }
    folder.mkdir(exist_ok=True)
    pd.DataFrame({**rows, **columns}).to_csv(folder / "history.csv", index=False)
    return folder


def pixels(folder: Path, rule: str = "best-validation-dice", selected: int | None = None) -> np.ndarray[Any, Any]:
    draw_curves(folder, rule, selected)
    with Image.open(folder / CURVES_FILE) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_curves_mark_the_selected_epoch_and_the_step(tmp_path: Path) -> None:
    plain = pixels(history(tmp_path / "a"))
    assert np.array_equal(plain, pixels(tmp_path / "a", selected=2))  # the first of the best
    assert (np.abs(plain - ORANGE).sum(-1) < 10).sum() > 50
    last = pixels(tmp_path / "a", rule="last")
    assert np.array_equal(last, pixels(tmp_path / "a", selected=4))
    assert not np.array_equal(last, plain)
    with_steps = pixels(history(tmp_path / "a", step=["easy", "hard", "hard", "hard"]))
    assert not np.array_equal(with_steps, plain)
    taller = pixels(history(tmp_path / "a", learning_rate=[1e-3, 1e-3, 1e-4, 1e-5]))
    assert len(taller) > len(plain)
    without_validation = pixels(history(tmp_path / "a", validation_dice=[float("nan")] * 4))
    assert len(without_validation) < len(plain)
    assert np.array_equal(without_validation, pixels(tmp_path / "a", selected=4))


class Dark(nn.Module):
    """Predicts lesion where the first channel is dark."""

    def forward(self, image: Tensor) -> Prediction:
        return Prediction(positive=(0.4 - image[:, :1]) * 20)


@pytest.mark.parametrize("channels", [1, 3])
def test_cases_are_the_worst_the_median_and_the_best(channels: int) -> None:
    data = discs(5, channels=channels)
    data.lesion[0] = 0
    cases = predict_cases(Dark(), Decision(), data, FLOAT32_CPU)
    assert np.isnan(cases[0].dice)
    for number, case in enumerate(cases[1:], start=1):
        predicted, truth = (data.image[number, 0] < 0.4 * 255).numpy(), data.lesion[number, 0].numpy() > 0
        assert case.dice == pytest.approx(2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()))
        assert case.image.shape == (32, 32)
    never = predict_cases(Dark(), Decision(presence=1.0), data, FLOAT32_CPU)
    assert not any(case.prediction.any() for case in never)

    chosen = choose_cases(cases)
    assert list(chosen) == ["worst", "median", "best"]
    ranked = sorted(case.dice for case in cases[1:])
    assert [case.dice for case in chosen.values()] == [ranked[0], ranked[2], ranked[-1]]
    assert choose_cases(cases[::-1]) == chosen
    assert [case.key for case in choose_cases(never).values()] == ["disc (2)", "disc (4)", "disc (5)"]  # of equal Dice
    assert list(choose_cases(cases[:2]).values()) == [cases[1]]
    assert list(choose_cases(cases[:1]).values()) == [cases[0]]
    sheet = run_images.draw_cases(choose_cases(cases))
    colours = np.asarray(sheet).reshape(-1, 3).astype(int)
    for colour in ([255, 40, 40], [40, 215, 255]):
        assert (np.abs(colours - colour).sum(1) < 40).sum() > 100


def test_curves_are_drawn_at_intervals_that_cost_at_most_one_percent(
    study: StudyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    drawn: list[float] = []

    def draw(folder: Path, rule: str, selected: int | None) -> None:
        drawn.append(clock[0])
        clock[0] += 0.4

    monkeypatch.setattr("taichinet.reports.run_images.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(run_images, "draw_curves", draw)
    images = RunImages(FoldJob(RECIPE, study, 0, tmp_path, tmp_path / "mining"))
    for _ in range(600):
        clock[0] += 1
        images.after_epoch({})
    assert drawn[0] >= 100
    assert len(drawn) > 10
    assert 0.4 * len(drawn) <= 0.01 * clock[0]


def test_training_without_validation_images_has_curves_only(study: StudyData, tmp_path: Path) -> None:
    recipe = vary(RECIPE, {"training.selection": "last"})
    job = FoldJob(recipe, study, 0, tmp_path, tmp_path / "mining", observers=(RunImages,))
    object.__setattr__(job, "split", type(job.split)(train=job.split.train, validation=(), test=job.split.test))
    with torch.random.fork_rng():
        run_fold(job)
    assert (tmp_path / CURVES_FILE).exists()
    assert not (tmp_path / VALIDATION_FILE).exists()
