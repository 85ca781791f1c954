"""The reliability diagram: the share of lesion pixels by predicted probability, as a chart, in words, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from taichinet.evaluation.calibration import UNCERTAIN, Bin, Calibration
from taichinet.reports.document.chart import DOTTED, FAINT, INK, LINES, style_axes, to_svg
from taichinet.reports.document.format import number
from taichinet.reports.document.model import Figure, Table, table_of

WIDTH, HEIGHT = 4.8, 6.3  # inches
FEW = 100
"""Bins with fewer pixels are drawn as hollow points: their share of lesion is mostly noise."""
CAPTION = (
    "Points on the dotted diagonal are calibrated. Grey: uncertain probabilities. Hollow points have fewer than "
    f"{FEW} pixels. Counts are on a logarithmic scale."
)


def reliability_figure(calibration: Calibration) -> Figure:
    """Return the reliability diagram of `calibration`."""
    draw = partial(draw_reliability, calibration)
    return Figure(draw, describe_reliability(calibration), CAPTION, reliability_table(calibration))


def draw_reliability(calibration: Calibration) -> str:
    """SVG of the share of lesion over the mean probability of each bin, above the number of pixels of each bin.

    Points above the diagonal have too low probabilities, points below it too high ones. Counts are on a logarithmic
    scale, because background dominates the lowest bin.
    """
    figure = matplotlib.figure.Figure(figsize=(WIDTH, HEIGHT))
    left, width = 0.65 / WIDTH, (WIDTH - 0.85) / WIDTH
    curve = figure.add_axes((left, 2.22 / HEIGHT, width, (WIDTH - 0.85) / HEIGHT))
    counts = figure.add_axes((left, 0.52 / HEIGHT, width, 1.35 / HEIGHT))
    filled = [bin_ for bin_ in calibration.bins if bin_.pixels]
    _draw_curve(curve, filled)
    _draw_counts(counts, filled)
    for axes in (curve, counts):
        axes.set_xlim(0, 1)
    counts.set_xlabel("probability of lesion", color=INK, fontsize=10.5)
    return to_svg(figure)


def describe_reliability(calibration: Calibration) -> str:
    """The content of the chart in words: three bins, and the distribution of the pixels."""
    filled = [bin_ for bin_ in calibration.bins if bin_.pixels]
    if not filled:
        return "No pixel was measured."
    sentences = [
        f"Of the {bin_.pixels:,} pixels with a mean probability of {bin_.mean_confidence:.2f}, "
        f"{100 * bin_.lesion_share:.0f}% are lesion."
        for bin_ in dict.fromkeys((filled[0], filled[len(filled) // 2], filled[-1]))
    ]
    lowest, highest = (100 * filled[end].pixels / calibration.total for end in (0, -1))
    sentences.append(
        f"The lowest of {len(filled)} filled bins contains {lowest:.1f}% of all pixels, the highest {highest:.1f}%."
    )
    return " ".join(sentences)


def reliability_table(calibration: Calibration) -> Table:
    """The values in the chart, one row per bin."""
    return table_of(
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


def _draw_curve(axes: Axes, filled: Sequence[Bin]) -> None:
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
