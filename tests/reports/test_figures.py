"""The paper's figures from tiny runs: what is drawn, how it is chosen, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.random_runs import make_fake_mining, make_fake_run, set_scores
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from torch import nn

from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.phantom_folder import write_phantom_busi
from taichinet.errors import DataError, FoldError, SettingError, WeightsError
from taichinet.reports.figures import layout
from taichinet.reports.figures.ablation import MODELS
from taichinet.reports.figures.cases import Request, at_quantiles, representative
from taichinet.reports.figures.catalogue import FIGURES, draw_figures
from taichinet.reports.figures.feature_maps import distinct_channels
from taichinet.reports.figures.layout import DPI, broken, draw, write_figure
from taichinet.reports.figures.methods import PRINTED
from taichinet.reports.figures.panels import stretched
from taichinet.reports.figures.runs import find_runs, take_together
from taichinet.reports.figures.sheet import Panel, Row, Sheet
from taichinet.reports.figures.source import Source, open_source

PANELS = {4: (2, 7), 7: (3, 3), 8: (3, 9), 9: (3, 7), 11: (3, 9), 12: (2, 4)}  # rows, columns


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 10, 8, 0, seed=1, height=96, width=128)


@pytest.fixture(scope="module")
def manifest(data: Path) -> Manifest:
    return open_dataset(data, include_normal=False)


def halves(manifest: Manifest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(training keys, held-out keys)."""
    return manifest.keys[::2], manifest.keys[1::2]


def marking_nothing(network: nn.Module) -> None:
    nn.init.constant_(network.positive.output.bias, -50.0)  # type: ignore[union-attr, arg-type]


@pytest.fixture(scope="module")
def runs(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every run that the six figures need, with one planted failure of each kind."""
    out = tmp_path_factory.mktemp("runs")
    train, held_out = halves(manifest)
    make_fake_mining(out, manifest, train)
    for row in dict.fromkeys((*MODELS, *PRINTED)):
        if row != "model-1":  # the run of "unet" stands for it
            folder = make_fake_run(out, manifest, f"demo-{row}", held_out)
    folder = out / "busi/demo-taichinet/grouped/fold-0"
    for key in held_out:
        set_scores(folder, key, dice=0.8, sensitivity=0.9, true_pixels=100, predicted_pixels=100)
    set_scores(folder, held_out[3], dice=0.0, sensitivity=0.0, true_pixels=500, predicted_pixels=0)
    set_scores(folder, held_out[5], dice=0.0, sensitivity=0.0, true_pixels=400, predicted_pixels=300)
    return out


@pytest.fixture(scope="module")
def source(data: Path, runs: Path) -> Source:
    return open_source(str(data), find_runs(runs), runs)


@pytest.fixture(scope="module")
def sheets(source: Source) -> dict[int, Sheet]:
    return {number: make((source,), Request()) for number, make in FIGURES.items()}


def every_text(figure: Figure) -> Iterator[Text]:
    figure.canvas.draw()
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            yield text


@pytest.mark.parametrize("number", FIGURES)
def test_every_figure_is_written_as_png_pdf_and_json(number: int, sheets: dict[int, Sheet], tmp_path: Path) -> None:
    png, pdf, record = write_figure(sheets[number], tmp_path)
    picture = Image.open(png)
    assert picture.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)
    assert picture.width <= 7.17 * DPI
    assert np.asarray(picture.convert("L")).std() > 5
    assert pdf.read_bytes().startswith(b"%PDF")
    assert b"/Type3" not in pdf.read_bytes()  # journals refuse letters that are drawings
    told = json.loads(record.read_text())
    rows, columns = PANELS[number]
    assert len(told["columns"]) == columns
    assert [len(row["panels"]) for row in told["rows"]] == [columns] * rows
    assert all(panel["case"] for row in told["rows"] for panel in row["panels"])
    assert all(len(run["weights_sha256"]) == 64 for run in told["runs"])
    assert {path.name for path in tmp_path.iterdir()} == {png.name, pdf.name, record.name}


@pytest.mark.parametrize("number", FIGURES)
def test_every_panel_is_drawn_with_the_truth_in_red(number: int, sheets: dict[int, Sheet]) -> None:
    figure = draw(sheets[number])
    rows, columns = PANELS[number]
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == rows * columns
    assert len(figure.axes) == rows * columns + sheets[number].has_responses
    for axes in panels:
        assert any(line.get_color() == layout.RED for line in axes.lines)


@pytest.mark.parametrize("number", FIGURES)
def test_no_text_is_small_cut_off_or_over_another(number: int, sheets: dict[int, Sheet]) -> None:
    with layout.matplotlib.rc_context(layout.STYLE):
        figure = draw(sheets[number])
        texts = list(every_text(figure))
        boxes = [text.get_window_extent() for text in texts]
    assert min(text.get_fontsize() for text in texts) >= 7
    width, height = figure.bbox.width, figure.bbox.height
    for text, box in zip(texts, boxes, strict=True):
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"'{text.get_text()}' leaves the figure"
    for i, one in enumerate(boxes):
        for j in range(i):
            assert not one.overlaps(boxes[j]), f"'{texts[i].get_text()}' over '{texts[j].get_text()}'"


def test_the_same_runs_give_the_same_bytes(source: Source, tmp_path: Path) -> None:
    written = [draw_figures([7], (source,), Request(count=1), tmp_path / name).sheets[0][1] for name in ("one", "two")]
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_the_printed_dice_is_that_of_the_scores_table_at_native_size(sheets: dict[int, Sheet], source: Source) -> None:
    for run in source.runs:
        told = [
            panel
            for row in sheets[8].record()["rows"]
            for panel in row["panels"]
            if panel.get("recipe") == run.recipe and "dice_native" in panel
        ]
        for panel in told:
            assert panel["dice_native"] == pytest.approx(run.scores["dice_native"][panel["case"]], abs=1e-3)


def test_the_strokes_are_told_apart_by_colour_blind_eyes_and_in_grey() -> None:
    red = np.array(layout.RED)
    blue = np.array(layout.matplotlib.colors.to_rgb(layout.SKY_BLUE))
    # Machado, Oliveira and Fernandes 2009, severity 1: protanopia, deuteranopia, tritanopia.
    eyes = (
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    )
    for eye in eyes:
        seen = [np.clip(np.array(eye) @ colour, 0, 1) for colour in (red, blue)]
        assert np.linalg.norm(seen[0] - seen[1]) > 0.5
    grey = np.array([0.2126, 0.7152, 0.0722])
    assert grey @ (blue - red) > 0.2
    assert layout.DASHES != "solid"


def test_cases_are_the_quartiles_of_the_references_dice() -> None:
    scores = pd.DataFrame(
        {
            "key": [f"image {i}" for i in (4, 2, 0, 3, 1, 9)],
            "dice": [0.4, 0.2, 0.0, 0.3, 0.1, np.nan],
            "true_pixels": [5, 5, 5, 5, 5, 0],
            "sensitivity_native": [1, 1, 1, 1, 1, np.nan],
        }
    )
    assert representative(scores, 1) == ("image 2",)
    assert representative(scores, 3) == ("image 1", "image 2", "image 3")
    assert at_quantiles(["only"], 3) == ("only",)
    assert at_quantiles([], 3) == ()


def test_the_failures_drawn_are_the_planted_ones(sheets: dict[int, Sheet], manifest: Manifest) -> None:
    _, held_out = halves(manifest)
    assert [(row.label, row.panels[0].record["case"]) for row in sheets[12].rows] == [
        ("taken for background", held_out[3]),
        ("inverted", held_out[5]),
    ]
    assert sheets[12].made["found"] == {"taken for background": 1, "inverted": 1}


def test_easy_and_hard_parts_are_those_that_were_mined(sheets: dict[int, Sheet], manifest: Manifest) -> None:
    train, _ = halves(manifest)
    for row in sheets[7].rows:
        assert row.label in train
        easy, hard = (panel.values for panel in row.panels[1:])
        assert not (easy & hard).any()
        shares = [panel.record["share_of_lesion"] for panel in row.panels[1:]]
        assert sum(shares) == pytest.approx(1, abs=1e-3)  # the fake mining splits whole lesions
        columns = np.arange(128) * 32 // 128 % 10 <= train.index(row.label)
        assert not easy[:, ~columns].any()
        assert not hard[:, columns].any()


def test_feature_maps_show_the_network_that_scored(sheets: dict[int, Sheet], source: Source) -> None:
    positive, negative = sheets[4].rows
    run = next(run for run in source.runs if run.recipe == "demo-taichinet")
    maps = source.feature_maps(run, positive.panels[0].record["case"])
    assert maps.negative is not None
    for row, path in ((positive, maps.positive), (negative, maps.negative)):
        channels = [int(panel.record["map"].removeprefix("channel ")) for panel in row.panels[2:6]]
        assert len(set(channels)) == 4
        for panel, channel in zip(row.panels[2:6], channels, strict=True):
            values = path.decoded[0, channel].double().numpy()
            np.testing.assert_allclose(panel.values, (values - values.min()) / max(np.ptp(values), 1e-30), atol=1e-6)


def test_channels_that_show_the_same_are_taken_once() -> None:
    rng = torch.Generator().manual_seed(0)
    maps = torch.rand(6, 8, 8, generator=rng)
    maps[0] = 9 * maps[5]  # the strongest, and the same picture as the last
    maps[1] *= 5
    assert distinct_channels(maps, 2) == (0, 1)
    assert 5 not in distinct_channels(maps, 5)
    assert sorted(distinct_channels(maps, 6)) == [0, 1, 2, 3, 4, 5]


def test_a_constant_map_is_drawn_as_no_response() -> None:
    assert (stretched(np.full((2, 2), 3.0)) == 0).all()


def test_named_cases_are_drawn_in_their_order(source: Source, manifest: Manifest) -> None:
    _, held_out = halves(manifest)
    sheet = FIGURES[8]((source,), Request(cases=(held_out[2], held_out[0])))
    assert [row.label for row in sheet.rows] == [held_out[2], held_out[0]]


@pytest.mark.parametrize("number", [4, 8, 9, 11, 12])
def test_an_image_of_the_training_is_refused_where_answers_are_shown(
    number: int, source: Source, manifest: Manifest
) -> None:
    train, _ = halves(manifest)
    with pytest.raises(FoldError, match="took part in the training"):
        FIGURES[number]((source,), Request(cases=(train[0],)))
    with pytest.raises(SettingError, match="Did you mean"):
        FIGURES[number]((source,), Request(cases=(f"{train[0]}x",)))


def test_an_image_that_was_not_mined_is_refused_in_figure_7(source: Source, manifest: Manifest) -> None:
    _, held_out = halves(manifest)
    with pytest.raises(FoldError, match="--figure 7"):
        FIGURES[7]((source,), Request(cases=(held_out[0],)))


def test_mining_that_found_no_easy_part_is_told(data: Path, manifest: Manifest, tmp_path: Path) -> None:
    train, held_out = halves(manifest)
    make_fake_run(tmp_path, manifest, "demo-taichinet", held_out)
    make_fake_mining(tmp_path, manifest, train, easy=False)
    with pytest.raises(FoldError, match=r"of 9, 0 have an easy and 9 a hard one"):
        FIGURES[7]((open_source(str(data), find_runs(tmp_path), tmp_path),), Request())


def test_a_mining_folder_that_was_moved_away_is_told(data: Path, manifest: Manifest, tmp_path: Path) -> None:
    make_fake_run(tmp_path, manifest, "demo-taichinet", halves(manifest)[1])
    with pytest.raises(FoldError, match=r"no folder mining/"):
        FIGURES[7]((open_source(str(data), find_runs(tmp_path), tmp_path),), Request())


def test_an_image_that_is_no_failure_is_refused_in_figure_12(source: Source, manifest: Manifest) -> None:
    _, held_out = halves(manifest)
    with pytest.raises(FoldError, match=r"no failure of the two kinds.*Failures are"):
        FIGURES[12]((source,), Request(cases=(held_out[0],)))


def test_methods_can_be_chosen(source: Source) -> None:
    sheet = FIGURES[11]((source,), Request(methods=("unet", "taichinet"), count=2))
    assert sheet.columns == ("Image", "U-Net", "TaiChiNet")
    assert len(sheet.rows) == 2
    with pytest.raises(SettingError, match="Did you mean 'unet'"):
        FIGURES[11]((source,), Request(methods=("unett",)))
    with pytest.raises(SettingError, match="legibly"):
        FIGURES[11]((source,), Request(methods=PRINTED + MODELS[1:4]))


def test_a_figure_names_the_runs_that_it_lacks_and_how_to_train_them(
    data: Path, manifest: Manifest, tmp_path: Path
) -> None:
    _, held_out = halves(manifest)
    for recipe in ("demo-taichinet", "demo-model-3"):
        make_fake_run(tmp_path, manifest, recipe, held_out)
    few = open_source(str(data), find_runs(tmp_path), tmp_path)
    with pytest.raises(FoldError) as caught:
        FIGURES[8]((few,), Request())
    message = str(caught.value)
    assert f"taichinet train demo-model-1 --data {data} --protocol grouped --fold 0 --out {tmp_path}" in message
    for row in ("model-2", "model-7"):
        assert f"demo-{row}" in message
    assert "demo-model-3" not in message
    drawn = draw_figures([4, 8, 9], (few,), Request(), tmp_path / "figures")
    assert [number for number, _ in drawn.failed] == [8, 9]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["fig-4.json", "fig-4.pdf", "fig-4.png"]


def test_runs_of_different_folds_are_never_shown_together(manifest: Manifest, tmp_path: Path) -> None:
    _, held_out = halves(manifest)
    make_fake_run(tmp_path, manifest, "demo-model-5", held_out, fold=0)
    make_fake_run(tmp_path, manifest, "demo-model-7", held_out, fold=1)
    with pytest.raises(FoldError, match="demo-model-7"):
        take_together(find_runs(tmp_path), ("model-5", "model-7"), "DATA", tmp_path)
    make_fake_run(tmp_path, manifest, "demo-model-5", held_out, fold=1)
    chosen = take_together(find_runs(tmp_path), ("model-5", "model-7"), "DATA", tmp_path)
    assert [run.fold for run in chosen.values()] == [1, 1]


def test_the_paper_scale_goes_before_a_smaller_one(manifest: Manifest, tmp_path: Path) -> None:
    _, held_out = halves(manifest)
    for recipe in ("demo-taichinet", "cpu-taichinet"):
        make_fake_run(tmp_path, manifest, recipe, held_out)
    (chosen,) = take_together(find_runs(tmp_path), ["taichinet"], "DATA", tmp_path).values()
    assert chosen.recipe == "cpu-taichinet"


def test_runs_on_other_pictures_are_not_shown(data: Path, manifest: Manifest, tmp_path: Path) -> None:
    folder = make_fake_run(tmp_path, manifest, "demo-taichinet", halves(manifest)[1])
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "dataset_digest": "other"}))
    with pytest.raises(DataError, match="trained on the pictures"):
        open_source(str(data), find_runs(tmp_path), tmp_path)


def test_a_folder_without_runs_and_a_torn_result_are_told(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No finished run"):
        find_runs(tmp_path)
    folder = make_fake_run(tmp_path, manifest, "demo-taichinet", halves(manifest)[1])
    (folder / "result.json").write_text("{")
    with pytest.raises(DataError, match=r"result\.json"):
        find_runs(tmp_path)


def test_weights_that_were_moved_away_are_named(data: Path, manifest: Manifest, tmp_path: Path) -> None:
    folder = make_fake_run(tmp_path, manifest, "demo-taichinet", halves(manifest)[1])
    shutil.rmtree(folder / "weights")
    with pytest.raises(WeightsError, match=r"Train demo-taichinet again"):
        FIGURES[4]((open_source(str(data), find_runs(tmp_path), tmp_path),), Request())


def test_a_run_that_never_fails_has_no_figure_12(data: Path, manifest: Manifest, tmp_path: Path) -> None:
    _, held_out = halves(manifest)
    folder = make_fake_run(tmp_path, manifest, "demo-taichinet", held_out)
    for key in held_out:
        set_scores(folder, key, sensitivity=0.9, predicted_pixels=100, true_pixels=100, dice=0.9)
    with pytest.raises(FoldError, match="nothing to show"):
        FIGURES[12]((open_source(str(data), find_runs(tmp_path), tmp_path),), Request())


def test_an_answer_that_marks_nothing_draws_no_dashes(data: Path, manifest: Manifest, tmp_path: Path) -> None:
    _, held_out = halves(manifest)
    make_fake_run(tmp_path, manifest, "demo-taichinet", held_out, alter=marking_nothing)
    source = open_source(str(data), find_runs(tmp_path), tmp_path)
    sheet = FIGURES[11]((source,), Request(methods=("taichinet",), count=1))
    (panel,) = (axes for axes in draw(sheet).axes[1:])
    assert {line.get_color() for line in panel.lines} == {layout.RED}
    assert sheet.rows[0].panels[1].note == "DI 0.00"


def test_text_is_broken_where_it_would_be_wider() -> None:
    assert broken("one two", 5) == ["one two"]
    assert broken("one two", 0.3) == ["one", "two"]
    assert broken("one\ntwo three", 5) == ["one", "two three"]
    assert broken("", 1) == [""]


def test_many_rows_of_tall_images_still_fit_a_page() -> None:
    panel = Panel(np.zeros((90, 60), np.uint8), truth=np.eye(90, 60, dtype=bool), note="DI 0.50")
    rows = tuple(Row(f"case {i}", (90, 60), (panel, panel)) for i in range(8))
    figure = draw(Sheet(11, "", ("one", "two"), rows, "", {}))
    assert figure.get_figheight() <= 9.5


def test_a_panel_keeps_the_shape_of_its_image() -> None:
    truth = np.zeros((30, 60), bool)
    truth[10:20, 20:40] = True
    panel = Panel(np.zeros((30, 60), np.uint8), truth=truth)
    sheet = Sheet(4, "", ("one", "two"), (Row("case", (30, 60), (panel, panel)),), "", {})
    figure = draw(sheet)
    box = figure.axes[0].get_window_extent()
    assert box.width / box.height == pytest.approx(2, abs=0.02)
