"""The learning curves: validation Dice by epoch of every network, as a figure and in words."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from math import isfinite

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from taichinet.reports.html import png_uri

FIGURE_WIDTHS = {"wide": 8.4, "narrow": 4.4}  # inches
FIGURE_HEIGHT = 3.6
DPI = 160


@dataclass(frozen=True)
class LearningCurve:
    """Validation Dice after each epoch; `hard_from` and `selected` are epochs from 1, or None."""

    network: str
    validation_dice: tuple[float, ...]
    hard_from: int | None = None
    selected: int | None = None


@dataclass(frozen=True)
class Look:
    """Colours of the figure on one kind of screen."""

    ink: str
    faint: str
    lines: tuple[str, ...]


# Okabe and Ito's colours, told apart by colour-blind eyes; line styles and labels say the same once more.
LIGHT = Look("#3c4148", "#d9d5cc", ("#00669e", "#c2500a", "#00795b", "#9a4f7f"))
DARK = Look("#c9c6bf", "#3d4046", ("#5fb8ec", "#f09a5b", "#3fc79d", "#dd9cc4"))
LINE_STYLES = ("-", "--", "-.", ":")


def image_sources(
    draw: Callable[[Look, float], bytes], size: Callable[[float], tuple[int, int]]
) -> dict[str, tuple[str, int, int]]:
    """A figure for each screen and colour scheme.

    Args:
        draw: Makes a PNG for a colour scheme and a width in inches.
        size: Width and height of that PNG in pixels.

    Returns:
        Data URI, width and height in pixels, by `wide_dark` etc.
    """
    return {
        f"{screen}_{scheme}": (png_uri(draw(look, width)), *size(width))
        for screen, width in FIGURE_WIDTHS.items()
        for scheme, look in (("light", LIGHT), ("dark", DARK))
    }


def curves_size(width: float) -> tuple[int, int]:
    """Width and height in pixels of `curves_figure` of this width in inches."""
    return round(DPI * width), round(DPI * FIGURE_HEIGHT)


def curves_figure(curves: Sequence[LearningCurve], look: Look = LIGHT, width: float = 8.4) -> bytes:
    """PNG of validation Dice by epoch: a line a network, its selected epoch, the step from easy to hard.

    `width` in inches of 160 pixels; letters keep their size, so a narrow figure is the one for a phone.
    """
    figure = Figure(figsize=(width, FIGURE_HEIGHT), dpi=DPI)
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


def curves_in_words(curves: Sequence[LearningCurve]) -> str:
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
