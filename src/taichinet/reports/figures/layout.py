"""Drawing a sheet: panels, titles, contours and the colour bar, as PNG and PDF for print."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, withStroke
from matplotlib.textpath import TextPath
from numpy.typing import NDArray

from taichinet.reports.figures.sheet import Panel, Sheet
from taichinet.reports.overlay import MAP, TRUTH, contours
from taichinet.storage.atomic import write_json
from taichinet.storage.output_folder import output_files

DPI = 300
TEXT_SIZE = 7.5  # points; journals ask for 7 at least
PAGE_WIDTH = 7.16  # inches, both columns of a journal's page
PAGE_HEIGHT = 9.4  # inches; many rows, or tall images, make the panels narrower
WIDEST_PANEL = 1.75
GAP = 0.05  # inches between panels
EDGE = 0.04
LINE = TEXT_SIZE * 1.25 / 72  # inches a line of text
BAR = 0.55  # inches at the right, for the colour bar and its numbers
SHORTEST_ROW = 0.5  # a panel's height over its width, at least; wide images are drawn with air above and below

# Okabe and Ito's palette, told apart by every eye; the truth is red as in the paper, solid where answers are dashed.
RED = tuple(channel / 255 for channel in TRUTH.colour)
SKY_BLUE = "#56B4E9"
ORANGE = "#E69F00"
DASHES = (0, (2.8, 1.4))  # in units of the line's width
THINNEST, THICKEST = 0.45, 0.95  # points of a line, from no panel to the widest: small lesions keep their inside
FADED = 0.6  # of the brightness outside of a highlighted lesion
DARK, LIGHT = "#0A0C10", "#FFFFFF"
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": TEXT_SIZE,
    "pdf.fonttype": 42,  # letters stay letters, which journals ask for
    "svg.fonttype": "none",
}


def write_figure(sheet: Sheet, folder: Path, dpi: int = DPI) -> tuple[Path, Path, Path]:
    """`fig-<number>.png` at `dpi`, `.pdf` with contours and letters as vectors, and `.json`, the sheet's record."""
    png, pdf, record = (folder / name for name in figure_files(sheet.number))
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it doubts the dates in matplotlib's own fonts
    with matplotlib.rc_context(STYLE):
        figure = draw(sheet)
        with output_files(folder) as temporary:
            figure.savefig(temporary / png.name, dpi=dpi, metadata={"Software": None}, pil_kwargs={"optimize": True})
            figure.savefig(temporary / pdf.name, dpi=dpi, metadata={"CreationDate": None})  # same runs, same bytes
            write_json(temporary / record.name, sheet.record())
    return png, pdf, record


def figure_files(number: int) -> tuple[str, str, str]:
    """The names of the files of figure `number`: PNG, PDF, record."""
    return f"fig-{number}.png", f"fig-{number}.pdf", f"fig-{number}.json"


def draw(sheet: Sheet) -> Figure:
    """The figure of `sheet`, no wider than a journal's page; panels keep the shape of their images."""
    columns = len(sheet.columns)
    right = BAR if sheet.has_responses else 0.0
    label, wide, heights, labels = _sizes(sheet, PAGE_WIDTH - 2 * EDGE - right - (columns - 1) * GAP)
    titles = [broken(title, wide) for title in sheet.columns]
    notes = [[broken(panel.note, wide) for panel in row.panels] for row in sheet.rows]
    head = max(len(lines) for lines in titles) * LINE + 0.05
    feet = [max(len(lines) for lines in row) * LINE + 2 * GAP if any(map(any, row)) else GAP for row in notes]
    legend = LINE + 0.02
    width = 2 * EDGE + label + columns * wide + (columns - 1) * GAP + right
    height = EDGE + head + sum(heights) + sum(feet) + legend + EDGE
    figure = Figure(figsize=(width, height), facecolor="white")

    def place(left: float, top: float, wide: float, high: float) -> tuple[float, float, float, float]:
        return left / width, 1 - (top + high) / height, wide / width, high / height

    lefts = [EDGE + label + column * (wide + GAP) for column in range(columns)]
    for left, lines in zip(lefts, titles, strict=True):
        x, y = (left + wide / 2) / width, 1 - (EDGE + head - 0.06) / height
        figure.text(x, y, "\n".join(lines), ha="center", va="baseline", linespacing=1.1)
    top = EDGE + head
    for row, name, below, high, foot in zip(sheet.rows, labels, notes, heights, feet, strict=True):
        x, y = (EDGE + (label - GAP) / 2) / width, 1 - (top + high / 2) / height
        figure.text(x, y, "\n".join(name), ha="center", va="center", rotation=90, linespacing=1.1)
        for left, panel, lines in zip(lefts, row.panels, below, strict=True):
            _draw_panel(figure.add_axes(place(left, top, wide, high)), panel, row.shape, wide)
            x, y = (left + wide / 2) / width, 1 - (top + high + 0.03) / height
            figure.text(x, y, "\n".join(lines), ha="center", va="top", linespacing=1.1)
        top += high + foot
    if sheet.has_responses:
        full = sum(heights) + sum(feet[:-1])
        bar = figure.add_axes(place(lefts[-1] + wide + 0.08, EDGE + head, 0.09, min(full, 2.5)))
        _colour_bar(figure, bar)
    _legend(figure, sheet, (EDGE + label) / width, (EDGE + LINE / 2) / height)
    return figure


def broken(text: str, inches: float) -> list[str]:
    """`text` in lines no wider than `inches`, broken at its own line ends and spaces; a single word may be wider."""
    broken_lines: list[str] = []
    for written in text.split("\n"):
        line = ""
        for word in written.split():
            if line and _inches(f"{line} {word}") > inches:
                broken_lines.append(line)
                line = word
            else:
                line = f"{line} {word}".strip()
        broken_lines.append(line)
    return broken_lines


def _sizes(sheet: Sheet, room: float) -> tuple[float, float, list[float], list[list[str]]]:
    """Inches for the row labels, for a panel's width, for each row's height; and the labels in lines."""
    lines, wide, heights, labels = 1, 0.0, [], []
    shapes = [max(row.shape[0] / row.shape[1], SHORTEST_ROW) for row in sheet.rows]
    texts = 5 * LINE + len(shapes) * (2 * LINE + 2 * GAP)  # titles, legend and two lines below each row
    highest = (PAGE_HEIGHT - 2 * EDGE - texts) / sum(shapes)
    for _ in range(3):  # the labels' lines follow from the rows' heights, these from what the labels leave
        label = lines * LINE + GAP
        wide = min((room - label) / len(sheet.columns), WIDEST_PANEL, highest)
        heights = [wide * shape for shape in shapes]
        labels = [broken(row.label, high) for row, high in zip(sheet.rows, heights, strict=True)]
        lines = max(lines, *(len(name) for name in labels))
    return lines * LINE + GAP, wide, heights, labels


def _inches(text: str) -> float:
    with matplotlib.rc_context(STYLE):
        return float(TextPath((0, 0), text, size=TEXT_SIZE).get_extents().width) / 72


def _draw_panel(axes: Axes, panel: Panel, shape: tuple[int, int], inches: float) -> None:
    height, width = shape
    points = THINNEST + (THICKEST - THINNEST) * min(inches / WIDEST_PANEL, 1)
    extent = (0, width, height, 0)
    halo = DARK
    if panel.look == "response":
        axes.imshow(panel.values, cmap=MAP, vmin=0, vmax=1, extent=extent, interpolation="bilinear")
        halo = LIGHT
    elif panel.look == "region":
        axes.imshow(_filled(panel), extent=extent)
    else:
        top = 255 if panel.values.dtype == np.uint8 else 1
        values = panel.values
        if panel.highlight and panel.truth is not None:
            values = np.where(panel.truth, values, values * FADED)
        axes.imshow(values, cmap="gray", vmin=0, vmax=top, extent=extent)
    if panel.truth is not None:
        _border(axes, panel.truth, RED, points, "solid", halo)
    if panel.prediction is not None:
        _border(axes, panel.prediction, SKY_BLUE, points, DASHES, DARK)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()


def _filled(panel: Panel) -> NDArray[np.float64]:
    """The region in orange on its backdrop, dimmed; RGB (h, w, 3) in [0, 1]."""
    part = panel.values.astype(bool)
    grey = np.zeros(part.shape) if panel.backdrop is None else panel.backdrop / 255 * 0.6
    colour = np.array(matplotlib.colors.to_rgb(ORANGE))
    blended = 0.25 * grey[..., None] + 0.75 * colour
    return np.asarray(np.where(part[..., None], blended, grey[..., None]), dtype=np.float64)


def _border(axes: Axes, mask: NDArray[np.bool_], colour: Any, points: float, style: Any, halo: str) -> None:
    for line in contours(mask, scale=1):
        xs, ys = zip(*line, strict=True)
        effects = [withStroke(linewidth=1.7 * points, foreground=halo, alpha=0.55), Normal()]
        axes.plot(xs, ys, color=colour, linewidth=points, linestyle=style, path_effects=effects, clip_on=True)


def _colour_bar(figure: Figure, axes: Axes) -> None:
    bar = figure.colorbar(ScalarMappable(cmap=MAP), cax=axes)
    bar.set_ticks([0, 1])
    bar.set_ticklabels(["weak", "strong"])
    bar.ax.tick_params(length=2, width=0.5, pad=2, labelsize=TEXT_SIZE)
    bar.outline.set_linewidth(0.5)


def _legend(figure: Figure, sheet: Sheet, left: float, middle: float) -> None:
    """The strokes that the sheet uses, in one line below its panels."""
    panels = [panel for row in sheet.rows for panel in row.panels]
    strokes: Sequence[tuple[str, Any, Any, bool]] = (
        ("ground truth", RED, "solid", any(panel.truth is not None for panel in panels)),
        ("prediction", SKY_BLUE, DASHES, any(panel.prediction is not None for panel in panels)),
    )
    inches = figure.get_figwidth()
    for name, colour, style, used in strokes:
        if not used:
            continue
        line = Line2D([left, left + 0.28 / inches], [middle, middle], color=colour, linewidth=1.2, linestyle=style)
        line.set_transform(figure.transFigure)
        figure.add_artist(line)
        figure.text(left + 0.33 / inches, middle, name, ha="left", va="center_baseline")
        left += (0.33 + _inches(name) + 0.2) / inches
