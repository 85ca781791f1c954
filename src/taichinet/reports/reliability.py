"""The reliability curve: what share of the pixels called p is lesion, as a figure and in words."""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from taichinet.evaluation.calibration import UNCERTAIN, Bin, Calibration
from taichinet.reports.curves import LIGHT, Look
from taichinet.reports.document.format import counted, number

CURVE_SIDE = 3.6  # inches of the square curve where there is room for it
FEW = 100
"""Bins of fewer pixels are drawn hollow: their share of lesion is mostly chance."""


def reliability_size(width: float = 8.4) -> tuple[int, int]:
    """Width and height in pixels of `reliability_figure` of this width in inches."""
    return round(160 * width), round(160 * _height(width))


def reliability_figure(calibration: Calibration, look: Look = LIGHT, width: float = 8.4) -> bytes:
    """PNG of the share of lesion over the mean confidence of each bin, and how many pixels each bin holds.

    On the diagonal the probabilities are calibrated; above it they are too low, below it too high. Counts are on a
    logarithmic scale, for background fills the lowest bin a thousandfold; hollow points rest on fewer than 100 pixels.
    The grey band marks the probabilities of `UNCERTAIN`. `width` in inches of 160 pixels; on a narrow figure, the one
    for a phone, the counts stand below the curve instead of beside it.
    """
    height = _height(width)
    figure = Figure(figsize=(width, height), dpi=160)
    FigureCanvasAgg(figure)
    if _narrow(width):
        side = width - 0.85
        curve = figure.add_axes((0.65 / width, 1 - (side + 0.12) / height, side / width, side / height))
        counts = figure.add_axes((0.65 / width, 0.52 / height, side / width, 1.35 / height))
    else:
        curve = figure.add_axes((0.65 / width, 0.58 / height, CURVE_SIDE / width, CURVE_SIDE / height))
        left = 0.65 + CURVE_SIDE + 0.95
        counts = figure.add_axes(
            (left / width, 0.58 / height, (width - left - 0.25) / width, CURVE_SIDE / height),
        )
    filled = [one for one in calibration.bins if one.pixels]
    _draw_curve(curve, filled, look)
    _draw_counts(counts, filled, look)
    for axes in (curve, counts):
        axes.patch.set_alpha(0)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
        axes.set_axisbelow(True)
        axes.tick_params(which="both", colors=look.ink, labelsize=10, length=0, pad=6)
        for where, spine in axes.spines.items():
            spine.set_visible(where == "bottom")
            spine.set_color(look.ink)
    counts.set_xlabel("probability of lesion", color=look.ink, fontsize=10.5)
    if not _narrow(width):
        curve.set_xlabel("probability of lesion", color=look.ink, fontsize=10.5)
    memory = io.BytesIO()
    figure.savefig(memory, format="png", transparent=True, metadata={"Software": None})
    return memory.getvalue()


def reliability_in_words(calibration: Calibration) -> str:
    """What the figure shows, for those who cannot see it: three places of the curve, and where the pixels are."""
    filled = [one for one in calibration.bins if one.pixels]
    if not filled:
        return "No pixel was measured."
    said = [
        f"Of the {counted(one.pixels)} pixels called {one.mean_confidence:.2f} on average, "
        f"{100 * one.lesion_share:.0f} in 100 are lesion."
        for one in dict.fromkeys((filled[0], filled[len(filled) // 2], filled[-1]))
    ]
    lowest, highest = (100 * filled[end].pixels / calibration.total for end in (0, -1))
    said.append(
        f"The lowest of {len(filled)} filled bins holds {lowest:.1f}% of all pixels, the highest {highest:.1f}%."
    )
    return " ".join(said)


def calibration_rows(calibration: Calibration) -> list[tuple[str, str, str, str]]:
    """The figure's numbers: of each bin its borders, pixels, mean confidence and share of lesion, as printed."""
    return [
        (
            f"{one.low:.2f} to {one.high:.2f}",
            counted(one.pixels),
            number(one.mean_confidence, 3),
            number(one.lesion_share, 3),
        )
        for one in calibration.bins
    ]


def _draw_curve(axes: Axes, filled: list[Bin], look: Look) -> None:
    axes.axvspan(*UNCERTAIN, color=look.faint, alpha=0.35, linewidth=0)
    axes.plot([0, 1], [0, 1], color=look.ink, linewidth=1.0, linestyle=(0, (1, 2.2)))
    x, y = [one.mean_confidence for one in filled], [one.lesion_share for one in filled]
    colour = look.lines[0]
    axes.plot(x, y, color=colour, linewidth=2.0, solid_capstyle="round")
    for many in (True, False):
        places = [i for i, one in enumerate(filled) if (one.pixels >= FEW) == many]
        axes.plot(
            [x[i] for i in places],
            [y[i] for i in places],
            "o",
            markersize=6.5,
            color=colour,
            markerfacecolor=colour if many else "none",
            markeredgewidth=1.5,
            clip_on=False,
        )
    for text, place, side in (
        ("probability too low", (0.05, 0.93), "left"),
        ("probability too high", (0.95, 0.05), "right"),
    ):
        axes.annotate(text, place, xycoords="axes fraction", ha=side, color=look.ink, fontsize=9.5)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.set_ylabel("share that is lesion", color=look.ink, fontsize=10.5)
    axes.grid(color=look.faint, linewidth=0.8)


def _draw_counts(axes: Axes, filled: list[Bin], look: Look) -> None:
    axes.bar(
        [one.low for one in filled],
        [one.pixels for one in filled],
        width=[0.92 * (one.high - one.low) for one in filled],
        align="edge",
        color=look.lines[0],
        alpha=0.55,
    )
    axes.set_yscale("log")
    most = max((one.pixels for one in filled), default=1)
    axes.set_ylim(0.7, max(10, 2 * most))
    axes.yaxis.set_major_locator(LogLocator(base=10, numticks=6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("pixels", color=look.ink, fontsize=10.5)
    axes.grid(axis="y", color=look.faint, linewidth=0.8)


def _narrow(width: float) -> bool:
    return width < 6


def _height(width: float) -> float:
    return width - 0.85 + 0.12 + 0.35 + 1.35 + 0.52 if _narrow(width) else CURVE_SIDE + 0.75
