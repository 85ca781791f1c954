"""The demo's page: scores, learning curves and cases in one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from math import isfinite
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from taichinet.reports.overlay import PREDICTION, SECOND, TRUTH, Stroke, colour_map

EMPTY = "–"
TEMPLATE = "demo_page.html"
FIGURE_WIDTHS = {"wide": 8.4, "narrow": 4.4}  # inches
FIGURE_HEIGHT = 3.6


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
class LearningCurve:
    """Validation Dice after each epoch; `hard_from` and `selected` are epochs from 1, or None."""

    network: str
    validation_dice: tuple[float, ...]
    hard_from: int | None = None
    selected: int | None = None


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
class _Look:
    """Colours of the figure on one kind of screen."""

    ink: str
    faint: str
    lines: tuple[str, ...]


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


# Okabe and Ito's colours, told apart by colour-blind eyes; line styles and labels say the same once more.
LIGHT = _Look("#3c4148", "#d9d5cc", ("#00669e", "#c2500a", "#00795b", "#9a4f7f"))
DARK = _Look("#c9c6bf", "#3d4046", ("#5fb8ec", "#f09a5b", "#3fc79d", "#dd9cc4"))
LINE_STYLES = ("-", "--", "-.", ":")
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
    html = render_page(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(html, encoding="utf-8")
    temporary.replace(path)


def render_page(content: PageContent) -> str:
    """The page as HTML; every text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = any(isfinite(dice) for curve in content.curves for dice in curve.validation_dice)
    figures = {
        f"{screen}_{mode}": _png_uri(curves_figure(content.curves, look, width))
        for screen, width in FIGURE_WIDTHS.items()
        for mode, look in (("light", LIGHT), ("dark", DARK))
        if drawn
    }
    return environment.get_template(TEMPLATE).render(
        content=content,
        heading=_balanced(content.title),
        columns=_columns(content.scores),
        rows=[(row.network, cells) for row, cells in zip(content.scores, _cells(content.scores), strict=True)],
        figures=figures,
        curves_text=_curves_in_words(content.curves),
        steps_differ=any(curve.hard_from and curve.hard_from > 1 for curve in content.curves),
        cases=[
            {
                "caption": case.caption,
                "dice": [(network, _number(dice, 3)) for network, dice in case.dice.items()],
                "pictures": [(caption, _jpeg_uri(picture), picture.size) for caption, picture in case.pictures],
            }
            for case in content.cases
        ],
        keys=[
            _Key(text, stroke, line)
            for text, stroke, line in zip(content.strokes, (TRUTH, PREDICTION, SECOND), CSS_LINES, strict=False)
        ],
        ramp=[tuple(int(level) for level in colour) for colour in colour_map(np.linspace(0, 1, 9))],
    )


def curves_figure(curves: Sequence[LearningCurve], look: _Look = LIGHT, width: float = 8.4) -> bytes:
    """PNG of validation Dice by epoch: a line a network, its selected epoch, the step from easy to hard.

    `width` in inches of 160 pixels; letters keep their size, so a narrow figure is the one for a phone.
    """
    figure = Figure(figsize=(width, FIGURE_HEIGHT), dpi=160)
    FigureCanvasAgg(figure)
    letters = max((len(curve.network) for curve in curves), default=0)
    left, right = 0.5 / width, (0.25 + 0.105 * letters) / width
    axes = figure.add_axes((left, 0.135, 1 - left - right, 0.80))
    axes.patch.set_alpha(0)
    steps = {curve.hard_from for curve in curves if curve.hard_from is not None and curve.hard_from > 1}
    for number, step in enumerate(sorted(steps)):
        axes.axvline(step - 0.5, color=look.ink, linewidth=0.9, linestyle=(0, (1, 2.2)))
        for text, shift, side in (("easy", -5, "right"), ("hard", 5, "left")) if number == 0 else ():
            axes.annotate(
                text,
                (step - 0.5, 0.0),
                (shift, 7),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha=side,
                color=look.ink,
                fontsize=9.5,
            )
    ends: list[tuple[float, str, str]] = []
    for curve, colour, style in zip(curves, cycle(look.lines), cycle(LINE_STYLES), strict=False):
        epochs = range(1, len(curve.validation_dice) + 1)
        axes.plot(epochs, curve.validation_dice, style, color=colour, linewidth=2.0, solid_capstyle="round")
        if curve.selected is not None and 1 <= curve.selected <= len(curve.validation_dice):
            chosen = curve.validation_dice[curve.selected - 1]
            axes.plot(
                [curve.selected],
                [chosen],
                "o",
                color=colour,
                markersize=7.5,
                markeredgewidth=0,
                clip_on=False,
            )
        finite = [dice for dice in curve.validation_dice if isfinite(dice)]
        if finite:
            ends.append((finite[-1], curve.network, colour))
    longest = max((len(curve.validation_dice) for curve in curves), default=1)
    axes.set_xlim(1 if longest > 1 else 0.5, max(longest, 1.5))
    axes.set_ylim(0, 1)
    for place, (_, name, colour) in zip(_apart([dice for dice, _, _ in ends], 0.075), ends, strict=True):
        axes.annotate(
            name,
            (1, place),
            (9, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=11,
            fontweight="bold",
            annotation_clip=False,
        )
    axes.set_xlabel("epoch", color=look.ink, fontsize=10.5)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.grid(axis="y", color=look.faint, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=look.ink, labelsize=10, length=0, pad=6)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(look.ink)
    memory = io.BytesIO()
    figure.savefig(memory, format="png", transparent=True, metadata={"Software": None})
    return memory.getvalue()


def _apart(places: Sequence[float], distance: float) -> list[float]:
    """`places` moved as little as needed so that labels there do not cover each other; the order is kept."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for _ in range(50):
        for below, above in pairwise(order):
            overlap = distance - (moved[above] - moved[below])
            if overlap > 1e-6:
                moved[below] -= overlap / 2
                moved[above] += overlap / 2
    return moved


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
        cells = [_Cell("Parameters", f"{row.parameters:,}".replace(",", "\u202f"))]
        for name in _shown(scores):
            column = COLUMNS[name]
            printed = [_number(getattr(other, name), column.digits) for other in scores]
            values = [column.better * float(text) for text in printed if text != EMPTY]
            own = _number(getattr(row, name), column.digits)
            best = len(set(values)) > 1 and own != EMPTY and column.better * float(own) == max(values)
            cells.append(_Cell(column.heading, own, best, column.unit))
        table.append([*cells, _Cell("Training", duration(row.seconds))])
    return table


def duration(seconds: float | None) -> str:
    """Seconds as people say them: `48 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds is None or not isfinite(seconds):
        return EMPTY
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def _exists(value: float | None) -> bool:
    return value is not None and isfinite(value)


def _number(value: float | None, digits: int) -> str:
    return EMPTY if value is None or not isfinite(value) else f"{value:.{digits}f}"


def _balanced(title: str) -> Markup:
    """The title, escaped, whose last two words stay on one line."""
    return Markup("&nbsp;").join(title.rsplit(" ", 1))


def _curves_in_words(curves: Sequence[LearningCurve]) -> str:
    """What the figure shows, for those who cannot see it."""
    said = []
    for curve in curves:
        finite = [dice for dice in curve.validation_dice if isfinite(dice)]
        if finite:
            said.append(
                f"{curve.network}: validation Dice {finite[0]:.2f} after the first of "
                f"{len(curve.validation_dice)} epochs, {finite[-1]:.2f} after the last, "
                f"{max(finite):.2f} at best."
            )
    return " ".join(said)


def _png_uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def _jpeg_uri(picture: Image.Image) -> str:
    memory = io.BytesIO()
    # Full colour resolution: thin coloured lines would bleed otherwise.
    picture.convert("RGB").save(memory, format="JPEG", quality=90, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(memory.getvalue()).decode('ascii')}"
