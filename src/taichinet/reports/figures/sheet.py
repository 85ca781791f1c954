"""A figure as rows of panels with titles, and its files: PNG and PDF for print, and a JSON record of its content."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, withStroke
from matplotlib.textpath import TextPath
from numpy.typing import NDArray

from taichinet.reports.overlay import COLOUR_MAP, TRUTH, contours, wrap
from taichinet.storage.atomic import write_json
from taichinet.storage.output_folder import output_files

DPI = 300
TEXT_SIZE = 7.5  # points; journals require at least 7
LINE = TEXT_SIZE * 1.25 / 72  # height of a line of text in inches
PAGE_WIDTH = 7.16  # inches, both columns of a journal page
PAGE_HEIGHT = 9.4  # inches; many rows or tall images make the panels narrower
MAX_PANEL_WIDTH = 1.75  # inches
COLOUR_BAR_WIDTH = 0.55  # inches, with its labels
GAP = 0.05  # inches between panels
MARGIN = 0.04  # inches around the figure
MIN_ROW_ASPECT = 0.5  # height of a row / width of a panel, at least: the row label needs space beside wide images

# Palette of Okabe and Ito for colour-blind readers. The ground truth is red and solid, predictions are dashed.
RED: Any = tuple(channel / 255 for channel in TRUTH.colour)
SKY_BLUE = "#56B4E9"
ORANGE = "#E69F00"
DASHES = (0, (2.8, 1.4))  # in units of the line width
MIN_LINE_WIDTH, MAX_LINE_WIDTH = 0.45, 0.95  # points; thin lines in narrow panels do not cover small lesions
DARK, LIGHT = "#0A0C10", "#FFFFFF"
STYLE: Any = {
    "font.family": "DejaVu Sans",  # included in matplotlib: the same font on every machine
    "font.size": TEXT_SIZE,
    "axes.titlesize": TEXT_SIZE,
    "axes.titlepad": 3,
    "axes.labelsize": TEXT_SIZE,
    "axes.labelpad": 2.5,
    "pdf.fonttype": 42,  # embedded as TrueType, as journals require
}


@dataclass(frozen=True)
class Panel:
    """One image of a figure, with the borders of masks at original resolution, bool (H, W)."""

    values: NDArray[Any]  # (h, w) of any size: grey values as uint8, or floats in [0, 1]
    truth: NDArray[np.bool_]
    prediction: NDArray[np.bool_] | None = None
    region: NDArray[np.bool_] | None = None  # (h, w), a part of the lesion, filled on the dimmed values
    is_feature_map: bool = False  # drawn in colours instead of grey
    note: str = ""  # below the panel
    record: dict[str, Any] = field(default_factory=dict)  # for the JSON file


@dataclass(frozen=True)
class Row:
    """Panels of one image side by side, with a label to their left."""

    label: str
    panels: tuple[Panel, ...]

    @property
    def aspect(self) -> float:
        """Height / width of the row per panel."""
        height, width = self.panels[0].truth.shape
        return max(float(height / width), MIN_ROW_ASPECT)


@dataclass(frozen=True)
class Sheet:
    """Content of a figure. Caption, rule and provenance are written to the JSON file."""

    number: int  # in the paper
    caption: str
    columns: tuple[str, ...]  # titles; every row has as many panels
    rows: tuple[Row, ...]
    rule: str  # by which the images were selected
    provenance: dict[str, Any]  # data sets, runs and version of the code

    @property
    def has_feature_maps(self) -> bool:
        """Whether the figure needs a colour bar."""
        return any(panel.is_feature_map for row in self.rows for panel in row.panels)

    def record(self) -> dict[str, Any]:
        """Content of the JSON file."""
        return {
            "figure": self.number,
            "caption": self.caption,
            "rule": self.rule,
            **self.provenance,
            "columns": list(self.columns),
            "rows": [{"label": row.label, "panels": [panel.record for panel in row.panels]} for row in self.rows],
        }


def figure_files(number: int) -> tuple[str, str, str]:
    """Return the names of the files of figure `number`: PNG, PDF, JSON."""
    return f"fig-{number}.png", f"fig-{number}.pdf", f"fig-{number}.json"


def write_figure(sheet: Sheet, folder: Path, dpi: int = DPI) -> tuple[Path, Path, Path]:
    """Write a figure as PNG, as PDF with contours and text as vectors, and its content as JSON.

    The same sheet gives identical files.

    Args:
        sheet: Content of the figure.
        folder: Output folder; created if needed.
        dpi: Resolution of the PNG in pixels per inch.

    Returns:
        Paths of the PNG, PDF and JSON files.

    Raises:
        StorageError: A file cannot be written. Earlier files are unchanged.
    """
    png, pdf, record = (folder / name for name in figure_files(sheet.number))
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns about dates in the fonts of matplotlib
    options: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": MARGIN}
    with matplotlib.rc_context(STYLE):
        figure = draw(sheet)
        with output_files(folder) as temporary:
            figure.savefig(
                temporary / png.name, dpi=dpi, metadata={"Software": None}, pil_kwargs={"optimize": True}, **options
            )
            figure.savefig(temporary / pdf.name, dpi=dpi, metadata={"CreationDate": None}, **options)
            write_json(temporary / record.name, sheet.record())
    return png, pdf, record


def draw(sheet: Sheet) -> Figure:
    """Draw a figure of at most one journal page; each panel has the aspect ratio of its image."""
    aspects = [row.aspect for row in sheet.rows]
    note_lines = [max(len(panel.note.splitlines()) for panel in row.panels) for row in sheet.rows]
    # Titles and legend have about three lines of text; each row has its notes and some space below.
    text_height = 3 * LINE + sum(note_lines) * LINE + len(sheet.rows) * 2 * GAP
    label_width = 2 * LINE + GAP
    side_width = label_width + (COLOUR_BAR_WIDTH if sheet.has_feature_maps else 0)
    columns = len(sheet.columns)
    panel_width = min(
        (PAGE_WIDTH - 2 * MARGIN - side_width) / columns - GAP,
        MAX_PANEL_WIDTH,
        (PAGE_HEIGHT - text_height) / sum(aspects),
    )
    width = columns * (panel_width + GAP) + side_width
    height = panel_width * sum(aspects) + text_height
    layout = ConstrainedLayoutEngine(w_pad=GAP / 2, h_pad=GAP / 2, wspace=0, hspace=0)
    figure = Figure(figsize=(width, height), facecolor="white", layout=layout)
    grid = figure.subplots(len(sheet.rows), columns, squeeze=False, height_ratios=aspects)
    for axes, title in zip(grid[0], sheet.columns, strict=True):
        axes.set_title(_wrapped(title, panel_width))
    for row, line, aspect in zip(sheet.rows, grid, aspects, strict=True):
        line[0].set_ylabel(_wrapped(row.label, panel_width * aspect))
        for axes, panel in zip(line, row.panels, strict=True):
            _draw_panel(axes, panel, panel_width)
            axes.set_xlabel(_wrapped(panel.note, panel_width))
    if sheet.has_feature_maps:
        _draw_colour_bar(figure, grid)
    _draw_legend(figure, sheet)
    return figure


def _wrapped(text: str, inches: float) -> str:
    return "\n".join(wrap(text, inches, _text_width))


def _text_width(text: str) -> float:
    with matplotlib.rc_context(STYLE):
        return float(TextPath((0, 0), text, size=TEXT_SIZE).get_extents().width) / 72


def _draw_panel(axes: Axes, panel: Panel, panel_width: float) -> None:
    height, width = panel.truth.shape
    line_width = MIN_LINE_WIDTH + (MAX_LINE_WIDTH - MIN_LINE_WIDTH) * min(panel_width / MAX_PANEL_WIDTH, 1)
    axes.imshow(
        panel.values if panel.region is None else _filled(panel.values, panel.region),
        cmap=COLOUR_MAP if panel.is_feature_map else "gray",
        vmin=0,
        vmax=255 if panel.values.dtype == np.uint8 else 1,
        extent=(0, width, height, 0),
        interpolation="bilinear" if panel.is_feature_map else None,
    )
    _draw_border(axes, panel.truth, RED, line_width, "solid", LIGHT if panel.is_feature_map else DARK)
    if panel.prediction is not None:
        _draw_border(axes, panel.prediction, SKY_BLUE, line_width, DASHES, DARK)
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _filled(grey: NDArray[np.uint8], region: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fill `region` with orange on the dimmed grey image; RGB (h, w, 3) in [0, 1]."""
    dimmed = np.repeat(0.6 * grey[..., None] / 255, 3, axis=2)
    dimmed[region] = 0.25 * dimmed[region] + 0.75 * np.array(to_rgb(ORANGE))
    return dimmed


def _draw_border(axes: Axes, mask: NDArray[np.bool_], colour: Any, width: float, style: Any, halo: str) -> None:
    effects = [withStroke(linewidth=1.7 * width, foreground=halo, alpha=0.55), Normal()]
    for line in contours(mask):
        axes.plot(*line.T, color=colour, linewidth=width, linestyle=style, path_effects=effects)


def _draw_colour_bar(figure: Figure, grid: NDArray[Any]) -> None:
    bar = figure.colorbar(ScalarMappable(cmap=COLOUR_MAP), ax=grid, fraction=0.015, aspect=30, pad=0.01)
    bar.set_ticks([0, 1], labels=["weak", "strong"])
    bar.ax.tick_params(length=2, width=0.5, pad=2, labelsize=TEXT_SIZE)
    bar.outline.set_linewidth(0.5)


def _draw_legend(figure: Figure, sheet: Sheet) -> None:
    """Explain the lines of the figure below its panels."""
    handles = [Line2D([], [], color=RED, linewidth=1.2, label="ground truth")]
    if any(panel.prediction is not None for row in sheet.rows for panel in row.panels):
        handles.append(Line2D([], [], color=SKY_BLUE, linewidth=1.2, linestyle=DASHES, label="prediction"))
    figure.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False, borderpad=0.2, fontsize=TEXT_SIZE)
