"""Caliper crosses: an upright stroke and a lying one of like length that halve each other."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from taichinet.datasets.checks.strokes import CROSSING, BoolMap, Box, box_around, bridged

ARM = (2, 20)  # pixels beyond the crossing
UNEVEN = 2  # pixels by which opposite arms may differ
LENGTHS = 0.6  # the shorter stroke is at least this share of the longer
SMALLEST = 7  # pixels of the longer stroke


def find_crosses(stems: BoolMap, bars: BoolMap) -> list[Box]:
    """Upright crosses of 7 to 44 pixels whose four arms end freely, among `stems` and `bars` (H, W).

    Missed: crosses turned by 45 degrees, arrows, and a cross one arm of which lies on tissue as bright as itself; of
    the two to four crosses of a measurement some other usually stands free. By eye, of 143 BUSI pictures with a find
    about 16 show no cross but a letter (X, S, 4), an arrow or a maker's sign; of 118 with a dotted measuring line,
    113 have a find.
    """
    meeting = bridged(stems, 0) & bridged(bars, 1)
    whole = box_around(meeting)  # crossings are few: all else need not be labelled
    crossings, _ = ndimage.label(whole.cut(meeting))
    best: dict[int, Box] = {}
    for row, column in np.argwhere(crossings).tolist():
        box = _cross_at(stems, bars, whole.top + row, whole.left + column)
        number = int(crossings[row, column])
        if box is not None and (
            number not in best or box.height * box.width > best[number].height * best[number].width
        ):
            best[number] = box
    return list(best.values())


def _cross_at(stems: BoolMap, bars: BoolMap, row: int, column: int) -> Box | None:
    """The cross whose middle is at (`row`, `column`), if its arms are long enough and even."""
    up, down = _end(stems[row::-1, column]), _end(stems[row:, column])
    left, right = _end(bars[row, column::-1]), _end(bars[row, column:])
    if not all(ARM[0] <= arm <= ARM[1] for arm in (up, down, left, right)):
        return None
    height, width = up + down + 1, left + right + 1
    if abs(up - down) > UNEVEN or abs(left - right) > UNEVEN:
        return None
    if max(height, width) < SMALLEST or min(height, width) < LENGTHS * max(height, width):
        return None
    return Box(row - up, column - left, height, width)


def _end(ray: BoolMap) -> int:
    """How far from the first pixel of `ray` its stroke reaches; it may begin after the other stroke's half."""
    reach = ray[: ARM[1] + 2].tobytes()  # asked a hundred thousand times a data set: bytes are searched fastest
    first = reach.find(1)
    if not 0 <= first < CROSSING:
        return 0
    gap = reach.find(0, first)
    return gap - 1 if gap >= 0 else len(reach)
