"""Errors for figures that cannot be drawn."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes.random_runs import halves, make_fake_mining, make_fake_run, set_scores, source_of

from taichinet.datasets.manifest import Manifest
from taichinet.errors import DataError, FoldError, SettingError, WeightsError
from taichinet.reports.figures.catalogue import FIGURES, draw_figures
from taichinet.reports.figures.source import Request, Source, find_runs, open_source


@pytest.mark.parametrize("number", [4, 8, 9, 11, 12])
def test_training_image_is_rejected_in_figures_of_predictions(number: int, source: Source, manifest: Manifest) -> None:
    train, _ = halves(manifest)
    with pytest.raises(FoldError, match="was used in the training"):
        FIGURES[number]((source,), Request(cases=(train[0],)))
    with pytest.raises(SettingError, match="Did you mean"):
        FIGURES[number]((source,), Request(cases=(f"{train[0]}x",)))


def test_image_without_mined_regions_is_rejected_in_figure_7(source: Source, manifest: Manifest) -> None:
    _, held_out = halves(manifest)
    with pytest.raises(FoldError, match="--figure 7"):
        FIGURES[7]((source,), Request(cases=(held_out[0],)))


def test_mining_without_easy_parts_is_reported(data: Path, manifest: Manifest, tmp_path: Path) -> None:
    train, held_out = halves(manifest)
    make_fake_run(tmp_path, manifest, "demo-taichinet", held_out)
    make_fake_mining(tmp_path, manifest, train, easy=False)
    with pytest.raises(FoldError, match=r"of 9, 0 have easy and 9 hard pixels"):
        FIGURES[7]((open_source(str(data), find_runs(tmp_path), tmp_path),), Request())


def test_missing_mining_folder_is_reported(data: Path, manifest: Manifest, tmp_path: Path) -> None:
    make_fake_run(tmp_path, manifest, "demo-taichinet", halves(manifest)[1])
    with pytest.raises(FoldError, match=r"no folder mining/"):
        FIGURES[7]((open_source(str(data), find_runs(tmp_path), tmp_path),), Request())


def test_image_that_is_no_failure_is_rejected_in_figure_12(source: Source, manifest: Manifest) -> None:
    _, held_out = halves(manifest)
    with pytest.raises(FoldError, match=r"not a failure of the two kinds.*Failures are"):
        FIGURES[12]((source,), Request(cases=(held_out[0],)))


def test_missing_runs_are_reported_with_training_commands(data: Path, manifest: Manifest, tmp_path: Path) -> None:
    _, held_out = halves(manifest)
    for recipe in ("demo-taichinet", "demo-model-3"):
        make_fake_run(tmp_path, manifest, recipe, held_out)
    few = open_source(str(data), find_runs(tmp_path), tmp_path)
    with pytest.raises(FoldError) as caught:
        FIGURES[8]((few,), Request())
    message = str(caught.value)
    assert f"taichinet train demo-model-1 --data {data} --protocol grouped --fold 0 --output {tmp_path}" in message
    for row in ("model-2", "model-7"):
        assert f"demo-{row}" in message
    assert "demo-model-3" not in message
    drawn = draw_figures([4, 8, 9], (few,), Request(), tmp_path / "figures")
    assert [number for number, _ in drawn.failed] == [8, 9]
    files = (tmp_path / "figures").glob("fig-*")
    assert sorted(path.name for path in files) == [
        "fig-4.json",
        "fig-4.pdf",
        "fig-4.png",
    ]


def test_runs_of_different_folds_are_not_combined(manifest: Manifest, tmp_path: Path) -> None:
    _, held_out = halves(manifest)
    make_fake_run(tmp_path, manifest, "demo-model-5", held_out, fold=0)
    make_fake_run(tmp_path, manifest, "demo-model-7", held_out, fold=1)
    with pytest.raises(FoldError, match="demo-model-7"):
        source_of(tmp_path).select_runs(("model-5", "model-7"))
    make_fake_run(tmp_path, manifest, "demo-model-5", held_out, fold=1)
    chosen = source_of(tmp_path).select_runs(("model-5", "model-7"))
    assert [run.fold for run in chosen.values()] == [1, 1]


def test_runs_on_other_images_are_rejected(data: Path, manifest: Manifest, tmp_path: Path) -> None:
    folder = make_fake_run(tmp_path, manifest, "demo-taichinet", halves(manifest)[1])
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "dataset_digest": "other"}))
    with pytest.raises(DataError, match="trained on the images"):
        open_source(str(data), find_runs(tmp_path), tmp_path)


def test_folder_without_runs_and_damaged_result_are_reported(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No finished run"):
        find_runs(tmp_path)
    folder = make_fake_run(tmp_path, manifest, "demo-taichinet", halves(manifest)[1])
    (folder / "result.json").write_text("{")
    with pytest.raises(DataError, match=r"result\.json"):
        find_runs(tmp_path)


def test_missing_weights_are_reported(data: Path, manifest: Manifest, tmp_path: Path) -> None:
    folder = make_fake_run(tmp_path, manifest, "demo-taichinet", halves(manifest)[1])
    shutil.rmtree(folder / "weights")
    with pytest.raises(WeightsError, match=r"Train demo-taichinet again"):
        FIGURES[4]((open_source(str(data), find_runs(tmp_path), tmp_path),), Request())


def test_run_without_failures_has_no_figure_12(data: Path, manifest: Manifest, tmp_path: Path) -> None:
    _, held_out = halves(manifest)
    folder = make_fake_run(tmp_path, manifest, "demo-taichinet", held_out)
    for key in held_out:
        set_scores(folder, key, sensitivity=0.9, predicted_pixels=100, true_pixels=100, dice=0.9)
    with pytest.raises(FoldError, match="cannot be drawn"):
        FIGURES[12]((open_source(str(data), find_runs(tmp_path), tmp_path),), Request())
