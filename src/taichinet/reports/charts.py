"""The charts of the reports as SVG in the colours of the page: learning curves and the reliability diagram.

matplotlib draws each chart once for light and dark colour schemes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, pairwise
from math import isfinite
from typing import Any, Literal

import matplotlib
import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from taichinet.evaluation.calibration import UNCERTAIN, Bin, Calibration
from taichinet.reports.document.format import number
from taichinet.reports.document.model import Figure, table_of

# Placeholders: `to_svg` replaces each of them by a CSS variable of document.html.
INK = "#000001"
FAINT = "#000002"
LINES = ("#000003", "#000004", "#000005", "#000006")
CSS_VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)"} | {
    colour: f"var(--line-{number})" for number, colour in enumerate(LINES, start=1)
}
DOTTED = (0, (1, 2.2))
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
LINE_STYLES = ("-", "--", "-.", ":")
OFFSET: Any = {"xycoords": "axes fraction", "textcoords": "offset points"}
LABEL_DISTANCE = 0.075  # between two labels, as a share of the height of the axes
FEW = 100  # bins with fewer pixels are drawn as hollow points: their share of lesion is mostly noise


def style_axes(axes: Axes, grid: Literal["x", "y", "both"]) -> None:
    """Apply the common style: a bottom spine only, no tick marks, grid lines along `grid` ("x", "y" or "both")."""
    axes.grid(axis=grid, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=INK, labelsize=10, length=0, pad=6)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(INK)


def to_svg(figure: matplotlib.figure.Figure) -> str:
    """Return `figure` as an SVG element without XML header for an HTML page that defines `CSS_VARIABLES`.

    The colours of the figure are `INK`, `FAINT` and `LINES`; its background becomes transparent. Equal figures give
    equal text.
    """
    memory = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "taichinet"}):
        figure.savefig(memory, format="svg", transparent=True, metadata=NO_METADATA)
    svg = memory.getvalue()
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg[svg.index("<svg") :]).replace("xlink:href", "href")
    return re.sub("|".join(CSS_VARIABLES), lambda match: CSS_VARIABLES[match[0]], svg)


@dataclass(frozen=True)
class LearningCurve:
    """Validation Dice after each epoch; `hard_from` and `selected` are epochs from 1, or None."""

    network: str
    validation_dice: tuple[float, ...]
    hard_from: int | None = None
    selected: int | None = None


def curves_figure(curves: Sequence[LearningCurve], caption: str) -> Figure:
    """Return the figure of `curves`, each with at least one epoch."""
    rows = []
    for epoch in range(1, max(len(curve.validation_dice) for curve in curves) + 1):
        dice = {curve.network: dict(enumerate(curve.validation_dice, 1)).get(epoch) for curve in curves}
        rows.append({"Epoch": str(epoch)} | {network: number(value, 3) for network, value in dice.items()})
    sentences = []
    for curve in curves:
        finite = [dice for dice in curve.validation_dice if isfinite(dice)]
        if finite:
            sentences.append(
                f"{curve.network}: validation Dice {finite[0]:.2f} after the first of {len(curve.validation_dice)} "
                f"epochs, {finite[-1]:.2f} after the last, maximum {max(finite):.2f}."
            )
    return Figure(partial(_draw_curves, curves), " ".join(sentences), caption, table_of(rows))


def _draw_curves(curves: Sequence[LearningCurve]) -> str:
    """SVG with one line per network, its selected epoch, and the change from the easy to the hard step."""
    width, height = 6.4, 3.4  # inches
    figure = matplotlib.figure.Figure(figsize=(width, height))
    label_width = 0.25 + 0.1 * max(len(curve.network) for curve in curves)
    axes = figure.add_axes((0.5 / width, 0.145, (width - 0.5 - label_width) / width, 0.8))
    axes.set_xlim(1, max([1.5, *(len(curve.validation_dice) for curve in curves)]))
    axes.set_ylim(0, 1)
    _draw_steps(axes, curves)
    ends = []
    for curve, colour, style in zip(curves, cycle(LINES), cycle(LINE_STYLES), strict=False):
        dice = curve.validation_dice
        axes.plot(range(1, len(dice) + 1), dice, style, color=colour, linewidth=2.0, clip_on=False)
        if curve.selected is not None:
            axes.plot([curve.selected], [dice[curve.selected - 1]], "o", color=colour, markersize=7.5, clip_on=False)
        finite = [value for value in dice if isfinite(value)]
        ends += [(finite[-1], curve.network, colour)] if finite else []
    for place, (_, name, colour) in zip(_spread([dice for dice, _, _ in ends]), ends, strict=True):
        axes.annotate(name, (1, place), (9, 0), va="center", color=colour, fontsize=11, fontweight="bold", **OFFSET)
    axes.set_xlabel("epoch", color=INK, fontsize=10.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    style_axes(axes, "y")
    return to_svg(figure)


def _draw_steps(axes: Axes, curves: Sequence[LearningCurve]) -> None:
    """A dotted line before the first hard epoch, with labels at the first such line."""
    steps = sorted({curve.hard_from for curve in curves if curve.hard_from is not None and curve.hard_from > 1})
    for step in steps:
        axes.axvline(step - 0.5, color=INK, linewidth=0.9, linestyle=DOTTED)
    for text, shift, side in (("easy", -5, "right"), ("hard", 5, "left")) if steps else ():
        coordinates = (("data", "axes fraction"), "offset points")
        axes.annotate(text, (steps[0] - 0.5, 0.0), (shift, 7), *coordinates, ha=side, color=INK, fontsize=9.5)


def _spread(places: Sequence[float]) -> list[float]:
    """Move `places` as little as needed for labels that do not overlap; the order is kept."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for _ in range(50):
        for below, above in pairwise(order):
            overlap = LABEL_DISTANCE - (moved[above] - moved[below])
            if overlap > 1e-6:
                moved[below] -= overlap / 2
                moved[above] += overlap / 2
    return moved


def reliability_figure(calibration: Calibration) -> Figure:
    """Return the reliability diagram: the share of lesion pixels by predicted probability."""
    table = table_of(
        [
            {
                "Probability": f"{bin_.low:.2f} to {bin_.high:.2f}",
                "Pixels": f"{bin_.pixels:,}",
                "Mean probability": number(bin_.mean_confidence, 3),
                "Share that is lesion": number(bin_.lesion_share, 3),
            }
            for bin_ in calibration.bins
        ]
    )
    caption = (
        "Points on the dotted diagonal are calibrated. Grey: uncertain probabilities. Hollow points have fewer than "
        f"{FEW} pixels. Counts are on a logarithmic scale."
    )
    filled = [bin_ for bin_ in calibration.bins if bin_.pixels]
    return Figure(partial(_draw_reliability, filled), _describe_reliability(filled), caption, table)


def _describe_reliability(filled: Sequence[Bin]) -> str:
    """The content of the chart in words: three bins, and the distribution of the pixels."""
    if not filled:
        return "No pixel was measured."
    sentences = [
        f"Of the {bin_.pixels:,} pixels with a mean probability of {bin_.mean_confidence:.2f}, "
        f"{100 * bin_.lesion_share:.0f}% are lesion."
        for bin_ in dict.fromkeys((filled[0], filled[len(filled) // 2], filled[-1]))
    ]
    lowest, highest = (100 * filled[end].pixels / sum(bin_.pixels for bin_ in filled) for end in (0, -1))
    sentences.append(
        f"The lowest of {len(filled)} filled bins contains {lowest:.1f}% of all pixels, the highest {highest:.1f}%."
    )
    return " ".join(sentences)


def _draw_reliability(filled: Sequence[Bin]) -> str:
    """SVG of the share of lesion over the mean probability of each bin, above the number of pixels of each bin.

    Points above the diagonal have too low probabilities, points below it too high ones. Counts are on a logarithmic
    scale, because background dominates the lowest bin.
    """
    width, height = 4.8, 6.3  # inches
    figure = matplotlib.figure.Figure(figsize=(width, height))
    left, side = 0.65 / width, width - 0.85
    curve = figure.add_axes((left, 2.22 / height, side / width, side / height))
    counts = figure.add_axes((left, 0.52 / height, side / width, 1.35 / height))
    _draw_shares(curve, filled)
    _draw_counts(counts, filled)
    for axes in (curve, counts):
        axes.set_xlim(0, 1)
    counts.set_xlabel("probability of lesion", color=INK, fontsize=10.5)
    return to_svg(figure)


def _draw_shares(axes: Axes, filled: Sequence[Bin]) -> None:
    axes.axvspan(*UNCERTAIN, color=FAINT, alpha=0.5, linewidth=0)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1.0, linestyle=DOTTED)
    x, y = (np.array([getattr(bin_, name) for bin_ in filled]) for name in ("mean_confidence", "lesion_share"))
    many = np.array([bin_.pixels >= FEW for bin_ in filled], dtype=bool)
    axes.plot(x, y, color=LINES[0], linewidth=2.0)
    for chosen, fill in ((many, LINES[0]), (~many, "none")):
        axes.plot(x[chosen], y[chosen], "o", markersize=6.5, color=LINES[0], markerfacecolor=fill, clip_on=False)
    for text, place, side in (("probability too low", (0.05, 0.93), "left"), ("too high", (0.95, 0.05), "right")):
        axes.annotate(text, place, xycoords="axes fraction", ha=side, color=INK, fontsize=9.5)
    axes.set_ylim(0, 1)
    axes.set_ylabel("share that is lesion", color=INK, fontsize=10.5)
    style_axes(axes, "both")


def _draw_counts(axes: Axes, filled: Sequence[Bin]) -> None:
    left, pixels = [bin_.low for bin_ in filled], [bin_.pixels for bin_ in filled]
    widths = [0.92 * (bin_.high - bin_.low) for bin_ in filled]
    axes.bar(left, pixels, width=widths, align="edge", color=LINES[0], alpha=0.55)
    axes.set_yscale("log")
    axes.set_ylim(0.7, max([10, *(2 * count for count in pixels)]))
    axes.yaxis.set_major_locator(LogLocator(base=10, numticks=6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("pixels", color=INK, fontsize=10.5)
    style_axes(axes, "y")
