"""Rulers: evenly spaced ticks along the sides of a picture, by which a scanner shows the scale."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from taichinet.datasets.checks.strokes import BoolMap, Box, pieces_of

TICK_SIDE = 8  # pixels
TICK_SPACING = (8, 160)  # pixels
TICK_DEVIATION = 1.5  # pixels
LEAST_TICKS = 5
RULER_STRIP = 0.2  # share of the picture's side in which rulers stand


def find_rulers(stems: BoolMap) -> Iterator[Box]:
    """Five ticks or more in one column or row near a side, evenly spaced by 8 to 160 pixels, each at most 8 x 8.

    Missed: ticks longer than that, ticks on bright tissue, and rulers whose ticks alternate in length.
    """
    height, width = stems.shape
    ticks = [box for box in pieces_of(stems, np.ones((3, 3), dtype=bool)) if max(box.height, box.width) <= TICK_SIDE]
    for along, across, extent in ((0, 1, width), (1, 0, height)):
        aside = [box for box in ticks if not RULER_STRIP < (box.middle[across] + 0.5) / extent < 1 - RULER_STRIP]
        lines: dict[int, list[Box]] = {}
        for box in sorted(aside, key=lambda box: box.middle[along]):
            lines.setdefault((box.left if across else box.top) // 2, []).append(box)
        for boxes in lines.values():
            yield from _evenly_spaced(boxes, along)


def _evenly_spaced(boxes: list[Box], along: int) -> Iterator[Box]:
    """The longest run of ticks at equal distances, as one box, if it is long enough."""
    places = np.array([box.middle[along] for box in boxes])
    best: list[int] = []
    for first in range(len(boxes) - LEAST_TICKS + 1):
        for second in range(first + 1, len(boxes)):
            step = places[second] - places[first]
            if not TICK_SPACING[0] <= step <= TICK_SPACING[1]:
                continue
            run = [first, second]
            while True:
                nearest = int(np.argmin(np.abs(places - (places[run[-1]] + step))))
                if nearest <= run[-1] or abs(places[nearest] - places[run[-1]] - step) > TICK_DEVIATION:
                    break
                run.append(nearest)
            best = max(best, run, key=len)
    if len(best) >= LEAST_TICKS:
        whole = boxes[best[0]]
        for number in best[1:]:
            whole = whole.joined(boxes[number])
        yield whole
