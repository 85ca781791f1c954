"""Scores table and learning curves of the demo page."""

from __future__ import annotations

import re
from math import nan
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from taichinet.evaluation.statistics import compare_pairs
from taichinet.reports.charts import CSS_VARIABLES, LearningCurve, curves_figure
from taichinet.reports.demo.page import scores_table
from taichinet.reports.differences import differences_figure, draw_differences, stack
from taichinet.reports.document.html import document_html
from taichinet.reports.document.model import Cell, Document, Section, cell_text

CURVES = (LearningCurve("TaiChiNet", (0.2, 0.5, 0.7), 2, 3), LearningCurve("U-Net", (0.3, nan, 0.6)))


def study(model: str, scores: dict[str, float], rate: float | None = None, seconds: float | None = None) -> Any:
    """A study with the values that the table needs."""
    experiment = SimpleNamespace(model=model)
    record = SimpleNamespace(experiment=experiment, parameters=1148210, wall_seconds=seconds)
    lesion = SimpleNamespace(score=lambda name: SimpleNamespace(mean=scores[name]))
    summary = SimpleNamespace(lesion=lesion, normal_images=SimpleNamespace(false_positive_rate=rate))
    return SimpleNamespace(folds=[SimpleNamespace(record=record)], summary=summary)


FIRST = {"dice": 0.8424, "jaccard": 0.7511, "precision": 0.861, "sensitivity": 0.857, "hd95": 7.31}
SECOND = {"dice": 0.815, "jaccard": 0.7511, "precision": 0.870, "sensitivity": 0.811, "hd95": 9.84}


def columns(*studies: Any) -> dict[str, list[Cell | str]]:
    table = scores_table(studies)
    return {heading: [row[place] for row in table.groups[0]] for place, heading in enumerate(table.headings)}


def test_best_score_of_each_column_is_marked() -> None:
    table = columns(study("taichinet", FIRST, 0.25, 96.4), study("unet", SECOND, 0.5))
    assert table["Dice"] == [Cell("0.842", best=True), Cell("0.815")]
    assert table["Precision"] == [Cell("0.861"), Cell("0.870", best=True)]
    assert "HD95 (px)" not in table  # at most seven columns, which are not cut off on a phone
    assert table["False-positive rate"] == [Cell("0.25", best=True), Cell("0.50")]
    assert table["Network"] == ["TaiChiNet", "U-Net"]
    assert table["Parameters"] == ["1,148,210"] * 2
    assert table["Training"] == ["96 s", "–"]


def test_equal_scores_are_not_marked_and_missing_scores_are_dashes() -> None:
    table = columns(study("taichinet", FIRST, 0.25), study("unet", SECOND | {"dice": nan, "precision": 0.861}, None))
    assert table["Precision"] == [Cell("0.861"), Cell("0.861")]
    assert [cell_text(cell) for cell in table["Dice"]] == ["0.842", "–"]
    assert [cell_text(cell) for cell in table["False-positive rate"]] == ["0.25", "–"]


def test_no_false_positive_rate_without_normal_images() -> None:
    assert "False-positive rate" not in columns(study("taichinet", FIRST), study("unet", SECOND))


def test_chart_has_one_line_per_network_in_page_colours() -> None:
    svg = curves_figure(CURVES, "").draw()
    root = ElementTree.fromstring(svg)  # noqa: S314  our own text
    assert root.tag == "svg"
    for number in (1, 2):
        assert len(re.findall(rf"stroke: var\(--line-{number}\)", svg)) >= 1
    texts = [element.text for element in root.iter("text")]
    assert {"TaiChiNet", "U-Net", "epoch", "easy", "hard"} <= set(texts)
    assert not any(placeholder in svg for placeholder in CSS_VARIABLES)
    assert svg == curves_figure(CURVES, "").draw()


def test_chart_has_description_and_table_of_numbers() -> None:
    figure = curves_figure(CURVES, "")
    assert figure.description == (
        "TaiChiNet: validation Dice 0.20 after the first of 3 epochs, 0.70 after the last, maximum 0.70. "
        "U-Net: validation Dice 0.30 after the first of 3 epochs, 0.60 after the last, maximum 0.60."
    )
    assert figure.numbers.groups[0][1] == ("2", "0.500", "–")
    assert curves_figure([LearningCurve("U-Net", (nan,))], "").description == ""


def test_chart_of_differences_has_a_dot_per_image_and_the_interval() -> None:
    values = np.array([-0.101, -0.1, 0.0, 0.2, 0.199, 0.201])
    assert stack(values).tolist() == [0, 1, 0, 1, 0, 2]  # dots that would overlap are above each other
    test = compare_pairs(values, np.zeros(6), np.random.default_rng(0), resamples=200)
    figure = differences_figure(values.tolist(), test, "TaiChiNet", "U-Net")
    root = ElementTree.fromstring(figure.draw())  # noqa: S314  our own text
    texts = [element.text for element in root.iter("text")]
    assert {"TaiChiNet better", "U-Net better", "difference in Dice"} <= set(texts)
    assert "the higher Dice on 3 of 6 test images, U-Net on 2." in figure.description
    (axes,) = draw_differences(values.tolist(), test, "a", "b").axes
    dots, bar, mean = axes.get_lines()[1:]
    assert np.array_equal(dots.get_xdata(), values)
    assert np.array_equal(bar.get_xdata(), [test.difference.low, test.difference.high])
    assert np.array_equal(mean.get_xdata(), [test.difference.mean])


@pytest.mark.parametrize("name", ['"><script>alert(1)</script>', "<b>x</b> & y"])
def test_names_of_networks_are_escaped_in_the_chart(name: str) -> None:
    figure = curves_figure([LearningCurve(name, (0.1, 0.2))], name)
    page = document_html(Document("T", (), (Section("s", "S", (figure,)),)))
    assert "<script" not in page
    assert "<b>x" not in page
