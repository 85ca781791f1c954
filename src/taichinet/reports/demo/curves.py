"""Learning curves: validation Dice by epoch of every network, as a chart, in words and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, pairwise
from math import isfinite

import matplotlib.figure
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from taichinet.reports.document.chart import DOTTED, INK, LINES, style_axes, to_svg
from taichinet.reports.document.format import number
from taichinet.reports.document.model import Figure, table_of

WIDTH, HEIGHT = 6.4, 3.4  # inches
LINE_STYLES = ("-", "--", "-.", ":")
LABEL_DISTANCE = 0.075  # between two labels, as a share of the height of the axes


@dataclass(frozen=True)
class LearningCurve:
    """Validation Dice after each epoch; `hard_from` and `selected` are epochs from 1, or None."""

    network: str
    validation_dice: tuple[float, ...]
    hard_from: int | None = None
    selected: int | None = None


def curves_figure(curves: Sequence[LearningCurve], caption: str) -> Figure:
    """Return the figure of `curves`, each with at least one epoch."""
    epochs = range(1, max(len(curve.validation_dice) for curve in curves) + 1)
    rows = [
        {"Epoch": str(epoch)}
        | {curve.network: number(dict(enumerate(curve.validation_dice, 1)).get(epoch), 3) for curve in curves}
        for epoch in epochs
    ]
    return Figure(partial(draw_curves, curves), describe_curves(curves), caption, table_of(rows))


def draw_curves(curves: Sequence[LearningCurve]) -> str:
    """SVG with one line per network, its selected epoch, and the change from the easy to the hard step."""
    figure = matplotlib.figure.Figure(figsize=(WIDTH, HEIGHT))
    label_width = 0.25 + 0.1 * max(len(curve.network) for curve in curves)
    axes = figure.add_axes((0.5 / WIDTH, 0.145, (WIDTH - 0.5 - label_width) / WIDTH, 0.8))
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
        )
    axes.set_xlabel("epoch", color=INK, fontsize=10.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    style_axes(axes, "y")
    return to_svg(figure)


def describe_curves(curves: Sequence[LearningCurve]) -> str:
    """The content of the chart in words."""
    sentences = []
    for curve in curves:
        finite = [dice for dice in curve.validation_dice if isfinite(dice)]
        if finite:
            sentences.append(
                f"{curve.network}: validation Dice {finite[0]:.2f} after the first of {len(curve.validation_dice)} "
                f"epochs, {finite[-1]:.2f} after the last, maximum {max(finite):.2f}."
            )
    return " ".join(sentences)


def _draw_steps(axes: Axes, curves: Sequence[LearningCurve]) -> None:
    """A dotted line before the first hard epoch, with labels at the first such line."""
    steps = sorted({curve.hard_from for curve in curves if curve.hard_from is not None and curve.hard_from > 1})
    for step in steps:
        axes.axvline(step - 0.5, color=INK, linewidth=0.9, linestyle=DOTTED)
    for text, shift, side in (("easy", -5, "right"), ("hard", 5, "left")) if steps else ():
        place = (steps[0] - 0.5, 0.0)
        axes.annotate(
            text,
            place,
            (shift, 7),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha=side,
            color=INK,
            fontsize=9.5,
        )


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
