"""Drawing of figures: files, panels, contours and legible text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from fakes.random_runs import halves, make_fake_run
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from torch import nn

from taichinet.datasets.manifest import Manifest
from taichinet.reports.figures import sheet as layout
from taichinet.reports.figures.catalogue import FIGURES, draw_figures
from taichinet.reports.figures.sheet import DPI, Panel, Row, Sheet, draw, write_figure
from taichinet.reports.figures.source import Case, Request, Source, find_runs, open_source
from taichinet.reports.overlay import wrap

PANELS = {4: (2, 7), 7: (3, 3), 8: (3, 9), 9: (3, 7), 11: (3, 9), 12: (2, 4)}  # rows, columns


def every_text(figure: Figure) -> Iterator[Text]:
    figure.draw_without_rendering()
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            yield text


@pytest.mark.parametrize("number", FIGURES)
def test_every_figure_is_written_as_png_pdf_and_json(number: int, sheets: dict[int, Sheet], tmp_path: Path) -> None:
    png, pdf, record = write_figure(sheets[number], tmp_path)
    image = Image.open(png)
    assert image.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)
    assert image.width <= 7.17 * DPI
    assert np.asarray(image.convert("L")).std() > 5
    assert pdf.read_bytes().startswith(b"%PDF")
    assert b"/Type3" not in pdf.read_bytes()  # journals reject Type 3 fonts
    content = json.loads(record.read_text())
    rows, columns = PANELS[number]
    assert len(content["columns"]) == columns
    assert [len(row["panels"]) for row in content["rows"]] == [columns] * rows
    assert all(panel["case"] for row in content["rows"] for panel in row["panels"])
    assert all(len(run["weights_sha256"]) == 64 for run in content["runs"])
    assert {path.name for path in tmp_path.glob("fig-*")} == {png.name, pdf.name, record.name}


@pytest.mark.parametrize("number", FIGURES)
def test_every_panel_has_ground_truth_in_red(number: int, sheets: dict[int, Sheet]) -> None:
    figure = draw(sheets[number])
    rows, columns = PANELS[number]
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == rows * columns
    assert len(figure.axes) == rows * columns + sheets[number].has_feature_maps
    for axes in panels:
        assert any(line.get_color() == layout.RED for line in axes.lines)


@pytest.mark.parametrize("number", FIGURES)
def test_texts_are_legible_inside_figure_and_do_not_overlap(number: int, sheets: dict[int, Sheet]) -> None:
    with matplotlib.rc_context(layout.STYLE):
        figure = draw(sheets[number])
        texts = list(every_text(figure))
        boxes = [text.get_window_extent() for text in texts]
    assert min(float(text.get_fontsize()) for text in texts) >= 7
    width, height = figure.bbox.width, figure.bbox.height
    for text, box in zip(texts, boxes, strict=True):
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"'{text.get_text()}' is outside of the figure"
    for i, box_of_text in enumerate(boxes):
        for j in range(i):
            assert not box_of_text.overlaps(boxes[j]), f"'{texts[i].get_text()}' overlaps '{texts[j].get_text()}'"


def test_figures_are_byte_identical_for_same_runs(source: Source, tmp_path: Path) -> None:
    written = [draw_figures([7], (source,), Request(count=1), tmp_path / name).sheets[0][1] for name in ("one", "two")]
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_contours_are_distinguishable_with_colour_blindness_and_in_grey() -> None:
    red = np.array(layout.RED)
    blue = np.array(matplotlib.colors.to_rgb(layout.SKY_BLUE))
    # Machado, Oliveira and Fernandes 2009, severity 1: protanopia, deuteranopia, tritanopia.
    colour_vision_matrices = (
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    )
    for matrix in colour_vision_matrices:
        perceived = [np.clip(np.array(matrix) @ colour, 0, 1) for colour in (red, blue)]
        assert np.linalg.norm(perceived[0] - perceived[1]) > 0.5
    grey = np.array([0.2126, 0.7152, 0.0722])
    assert grey @ (blue - red) > 0.2
    dashes: object = layout.DASHES
    assert dashes != "solid"


def predict_no_lesion(network: nn.Module) -> None:
    nn.init.constant_(network.positive.output.bias, -50.0)  # type: ignore[union-attr, arg-type]


def test_empty_prediction_has_no_dashed_contour(data: Path, manifest: Manifest, tmp_path: Path) -> None:
    _, held_out = halves(manifest)
    make_fake_run(tmp_path, manifest, "demo-taichinet", held_out, alter=predict_no_lesion)
    source = open_source(str(data), find_runs(tmp_path), tmp_path)
    sheet = FIGURES[11]((source,), Request(methods=("taichinet",), count=1))
    (panel,) = (axes for axes in draw(sheet).axes[1:])
    assert {line.get_color() for line in panel.lines} == {layout.RED}
    assert sheet.rows[0].panels[1].note == "DI 0.00"


def test_text_is_wrapped_at_maximum_width() -> None:
    assert wrap("one two", 7, len) == ["one two"]
    assert wrap("one two", 6, len) == ["one", "two"]
    assert wrap("one\ntwo three", 9, len) == ["one", "two three"]
    assert wrap("", 1, len) == [""]


def test_many_rows_of_tall_images_fit_on_a_page() -> None:
    panel = Panel(np.zeros((90, 60), np.uint8), np.eye(90, 60, dtype=bool), note="DI 0.50")
    rows = tuple(Row(f"case {i}", (panel, panel)) for i in range(8))
    figure = draw(Sheet(11, "", ("one", "two"), rows, "", {}))
    assert figure.get_figheight() <= 9.5


def test_panel_has_aspect_ratio_of_image() -> None:
    truth = np.zeros((30, 60), bool)
    truth[10:20, 20:40] = True
    panel = Panel(np.zeros((30, 60), np.uint8), truth=truth)
    sheet = Sheet(4, "", ("one", "two"), (Row("case", (panel, panel)),), "", {})
    figure = draw(sheet)
    figure.draw_without_rendering()
    box = figure.axes[0].get_window_extent()
    assert box.width / box.height == pytest.approx(2, abs=0.02)


def test_constant_feature_map_is_drawn_as_zero() -> None:
    case = Case("a", np.zeros((4, 4), np.uint8), np.eye(4, dtype=bool))
    assert (case.feature_map_panel(torch.full((2, 2), 3.0), {}).values == 0).all()
