"""The chart of a paired comparison: the difference of each test image, their mean and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.figure
import numpy as np
from numpy.typing import NDArray

from taichinet.evaluation.statistics import PairedTest
from taichinet.evaluation.uncertainty import LEVEL
from taichinet.reports.charts import DOTTED, FAINT, INK, LINES, style_axes, to_svg
from taichinet.reports.document.format import interval, signed
from taichinet.reports.document.model import Figure, table_of

STACKED = 0.02  # width of the bins in which dots are put above each other, in Dice
WIDTH, HEIGHT = 6.4, 2.9  # inches
MEAN_HEIGHT = -1.6  # of the mean, in dots below the lowest dot


@dataclass(frozen=True)
class Colours:
    """Colours of a chart: text, grid lines and zero line, dots, mean and interval."""

    ink: str = INK
    faint: str = FAINT
    dots: str = LINES[0]
    mean: str = LINES[1]


def differences_figure(differences: Sequence[float], test: PairedTest, first: str, second: str) -> Figure:
    """The figure of the Dice of network `first` minus that of `second` on each test image, with the test of them."""
    sentence = (
        f"{first} has the higher Dice on {test.better} of {test.images} test images, {second} on {test.worse}. Mean "
        f"difference {interval(test.difference)}."
    )
    with_interval = f"mean with its {100 * LEVEL:.0f} % interval"
    caption = (
        f"Dice of {first} minus Dice of {second}: each dot is a test image, the bar below is the {with_interval}. "
        "An interval that contains 0 does not show which network is better."
    )
    ordered = sorted(differences)
    named = {"smallest": ordered[0], "median": float(np.median(ordered)), "largest": ordered[-1]}
    rows = [{"Difference in Dice": name, "Value": signed(value)} for name, value in named.items()]
    rows.append({"Difference in Dice": with_interval, "Value": interval(test.difference)})

    def draw() -> str:
        return to_svg(draw_differences(differences, test, first, second))

    return Figure(draw, sentence, caption, table_of(rows))


def draw_differences(
    differences: Sequence[float], test: PairedTest, first: str, second: str, colours: Colours = Colours()
) -> matplotlib.figure.Figure:
    """The chart in `colours`; by default those of a page, see `to_svg`."""
    figure = matplotlib.figure.Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.add_axes((0.03, 0.2, 0.94, 0.68))
    values = np.asarray(differences, dtype=np.float64)
    heights = stack(values)
    reach = 1.1 * max(0.1, float(np.abs(values).max()))
    axes.set_xlim(-reach, reach)
    axes.set_ylim(2 * MEAN_HEIGHT, max(4.0, heights.max() + 1))
    style_axes(axes, "x")
    axes.grid(color=colours.faint)
    axes.axvline(0, color=colours.ink, linewidth=1.0, linestyle=DOTTED)
    axes.plot(values, heights, "o", color=colours.dots, markersize=6, alpha=0.75, markeredgewidth=0)
    mean = test.difference
    if mean.bounded:
        axes.plot([mean.low, mean.high], [MEAN_HEIGHT] * 2, color=colours.mean, linewidth=4, solid_capstyle="butt")
    axes.plot([mean.mean], [MEAN_HEIGHT], "D", color=colours.mean, markersize=8)
    for text, place, side in ((f"{second} better", 0.0, "left"), (f"{first} better", 1.0, "right")):
        axes.annotate(text, (place, 1.04), xycoords="axes fraction", ha=side, color=colours.ink, fontsize=11)
    axes.set_xlabel("difference in Dice", color=colours.ink, fontsize=10.5)
    axes.tick_params(colors=colours.ink)
    axes.spines["bottom"].set_color(colours.ink)
    axes.set_yticks([])
    return figure


def stack(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Height of each dot, from 0: dots of values within one bin of `STACKED` are put above each other."""
    bins = np.rint(values / STACKED)
    heights = np.zeros(len(values))
    for number in np.unique(bins):
        members = np.flatnonzero(bins == number)
        heights[members[np.argsort(values[members])]] = np.arange(len(members))
    return heights
