"""The demo's page: scores, learning curves and cases in one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path

import numpy as np
from PIL import Image

from taichinet.reports.curves import LearningCurve, curves_figure, curves_in_words, curves_size, image_sources
from taichinet.reports.document.format import EMPTY, counted, duration, number
from taichinet.reports.html import balanced, jpeg_uri, render
from taichinet.reports.overlay import PREDICTION, SECOND, TRUTH, Stroke, colour_map
from taichinet.storage.atomic import write_text

TEMPLATE = "demo_page.html"
JPEG_QUALITY = 90


@dataclass(frozen=True)
class NetworkScore:
    """A row of the score table; a score that does not exist is None or NaN. `hd95` in pixels."""

    network: str
    parameters: int
    dice: float | None
    jaccard: float | None
    precision: float | None
    sensitivity: float | None
    hd95: float | None
    false_positive_rate: float | None
    seconds: float | None


@dataclass(frozen=True)
class Case:
    """One image: what it is, the Dice of each network by name, its pictures with captions, left to right."""

    caption: str
    dice: Mapping[str, float]
    pictures: tuple[tuple[str, Image.Image], ...]


@dataclass(frozen=True)
class PageContent:
    """All that the page says. `cases` are shown as given: worst first; `made` is its origin, (name, value).

    `strokes` says what the contours in the pictures are, in the order truth, prediction, second;
    `heat` what the heat map shows, if there is one.
    """

    title: str
    lead: str
    scores: tuple[NetworkScore, ...]
    curves: tuple[LearningCurve, ...]
    cases: tuple[Case, ...]
    made: tuple[tuple[str, str], ...]
    scores_note: str = ""
    cases_note: str = ""
    caveat: str = ""
    strokes: tuple[str, ...] = ("ground truth", "prediction")
    heat: str = ""


@dataclass(frozen=True)
class _Cell:
    """A cell as printed; `name` is its column's heading, `best` marks the column's best score."""

    name: str
    text: str
    best: bool = False
    unit: str = ""


@dataclass(frozen=True)
class _Column:
    heading: str
    digits: int
    better: int = 0  # 1: more is better, -1: less
    unit: str = ""


@dataclass(frozen=True)
class _Key:
    """One line of the pictures' legend."""

    text: str
    stroke: Stroke
    line: str


CSS_LINES = ("solid", "dashed", "dotted")
COLUMNS: dict[str, _Column] = {
    "dice": _Column("Dice", 3, better=1),
    "jaccard": _Column("Jaccard", 3, better=1),
    "precision": _Column("Precision", 3, better=1),
    "sensitivity": _Column("Sensitivity", 3, better=1),
    "hd95": _Column("HD95", 1, better=-1, unit="px"),
    "false_positive_rate": _Column("False alarms", 2, better=-1, unit="of normals"),
}


def write_page(path: Path, content: PageContent) -> None:
    """Write `content` to `path`: one file, pictures inside, nothing from elsewhere."""
    write_text(path, render_page(content))


def render_page(content: PageContent) -> str:
    """The page as HTML; every text is escaped."""
    drawn = any(isfinite(dice) for curve in content.curves for dice in curve.validation_dice)
    figures = image_sources(partial(curves_figure, content.curves), curves_size) if drawn else {}
    return render(
        TEMPLATE,
        content=content,
        heading=balanced(content.title),
        columns=_columns(content.scores),
        rows=[(row.network, cells) for row, cells in zip(content.scores, _cells(content.scores), strict=True)],
        figures=figures,
        curves_text=curves_in_words(content.curves),
        steps_differ=any(curve.hard_from and curve.hard_from > 1 for curve in content.curves),
        cases=[
            {
                "caption": case.caption,
                "dice": [(network, number(dice, 3)) for network, dice in case.dice.items()],
                "pictures": [
                    (caption, jpeg_uri(picture, JPEG_QUALITY), picture.size) for caption, picture in case.pictures
                ],
            }
            for case in content.cases
        ],
        keys=[
            _Key(text, stroke, line)
            for text, stroke, line in zip(content.strokes, (TRUTH, PREDICTION, SECOND), CSS_LINES, strict=False)
        ],
        ramp=[tuple(int(level) for level in colour) for colour in colour_map(np.linspace(0, 1, 9))],
    )


def _columns(scores: Sequence[NetworkScore]) -> list[_Cell]:
    headings = [_Cell("parameters", "Parameters")]
    headings += [_Cell(name, COLUMNS[name].heading, unit=COLUMNS[name].unit) for name in _shown(scores)]
    return [*headings, _Cell("seconds", "Training")]


def _shown(scores: Sequence[NetworkScore]) -> list[str]:
    """The score columns; false alarms only where some network was tried on normal images."""
    return [
        name for name in COLUMNS if name != "false_positive_rate" or any(_exists(getattr(row, name)) for row in scores)
    ]


def _cells(scores: Sequence[NetworkScore]) -> list[list[_Cell]]:
    """The table's body, a list a network; a column's best score is marked where they differ in print."""
    table = []
    for row in scores:
        cells = [_Cell("Parameters", counted(row.parameters))]
        for name in _shown(scores):
            column = COLUMNS[name]
            printed = [number(getattr(other, name), column.digits) for other in scores]
            values = [column.better * float(text) for text in printed if text != EMPTY]
            own = number(getattr(row, name), column.digits)
            best = len(set(values)) > 1 and own != EMPTY and column.better * float(own) == max(values)
            cells.append(_Cell(column.heading, own, best, column.unit))
        table.append([*cells, _Cell("Training", duration(row.seconds, EMPTY))])
    return table


def _exists(value: float | None) -> bool:
    return value is not None and isfinite(value)
