"""Charts as SVG in the colours of the page: matplotlib draws them once for light and dark colour schemes."""

from __future__ import annotations

import io
import re
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Placeholders: `to_svg` replaces each of them by a CSS variable of document.html.
INK = "#000001"
FAINT = "#000002"
LINES = ("#000003", "#000004", "#000005", "#000006")
CSS_VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)"} | {
    colour: f"var(--line-{number})" for number, colour in enumerate(LINES, start=1)
}
DOTTED = (0, (1, 2.2))
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def style_axes(axes: Axes, grid: Literal["x", "y", "both"]) -> None:
    """Apply the common style: a bottom spine only, no tick marks, grid lines along `grid` ("x", "y" or "both")."""
    axes.grid(axis=grid, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=INK, labelsize=10, length=0, pad=6)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(INK)


def to_svg(figure: Figure) -> str:
    """Return `figure` as an SVG element for an HTML page that defines the variables of `CSS_VARIABLES`.

    Args:
        figure: A figure whose colours are `INK`, `FAINT` and `LINES`. Its background becomes transparent.

    Returns:
        The element without XML header. Equal figures give equal text.
    """
    memory = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "taichinet"}):
        figure.savefig(memory, format="svg", transparent=True, metadata=NO_METADATA)
    svg = memory.getvalue()
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg[svg.index("<svg") :]).replace("xlink:href", "href")
    return re.sub("|".join(CSS_VARIABLES), lambda match: CSS_VARIABLES[match[0]], svg)
