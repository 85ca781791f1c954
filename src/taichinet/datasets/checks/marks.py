"""Marks burnt into an ultrasound image: colour, caliper crosses, dotted lines, text, drawn lines, rulers, black frames.

A network that sees calipers learns where the annotator measured, not where the lesion is. A black frame wastes input
resolution and often reveals the device, and so the hospital. The docstring of each detector says what it detects and
what it misses. Boxes are in pixels of the image as stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from taichinet.datasets.checks.finding import FindingKind
from taichinet.datasets.checks.strokes import (
    CROSSING,
    THICKEST,
    BoolMap,
    Box,
    around,
    box_around,
    bridged,
    find_strokes,
    pieces_of,
)

LEAST_DRAWN = 6  # pixels; the smallest mark looked for has as many
COLOUR_SPREAD = 40  # levels between a pixel's channels; the chroma noise of JPEG stays below 25
LEAST_COLOUR = 12  # pixels
MOST_COLOUR = 0.25  # share of the image; more is a colour image, not a mark in a grey one
GLYPH_HEIGHT = (6, 40)  # pixels
LEAST_GLYPHS = 2  # stems in a row: two letters have two to four
WIDEST_GAP = 1.6  # of a stem's height: between two letters there may be one without a stem
LEAST_DOTS = 6
DOT_SIDE = 4  # pixels
DOT_SPACING = (2.5, 14.0)  # pixels
DOT_DEVIATION = 1.3  # pixels between a dot and its extrapolation from the two dots before
LEAST_LINE = 41  # pixels
UNBROKEN = 0.8  # share of a line's rows that are drawn; a dotted one bridges to half
CORNER_SIDE = 20  # pixels
LEAST_IN_CORNER = 6  # pixels
CORNERS = np.ones((3, 3), dtype=bool)  # pieces that touch at corners are one
ARM = (2, 20)  # pixels beyond the crossing
UNEVEN = 2  # pixels by which opposite arms may differ
LENGTHS = 0.6  # the shorter stroke is at least this share of the longer
SMALLEST = 7  # pixels of the longer stroke
TICK_SIDE = 8  # pixels
TICK_SPACING = (8, 160)  # pixels
TICK_DEVIATION = 1.5  # pixels
LEAST_TICKS = 5
RULER_STRIP = 0.2  # share of the side of the image in which rulers are searched
BLACK = 6  # grey level up to which a pixel shows nothing; receiver noise in BUSI's shadows is brighter
LIT_SHARE = 0.04  # share of a border's row that text and ticks may light


def find_marks(grey: NDArray[np.uint8], rgb: NDArray[np.uint8] | None = None) -> dict[FindingKind, list[Box]]:
    """The boxes of all marks by kind, in `grey` (H, W) and, if the file has colour, `rgb` (H, W, 3), both 0..255."""
    boxes: dict[FindingKind, list[Box]] = {}
    stems = find_strokes(grey, axis=1)
    if stems.sum() >= LEAST_DRAWN:  # most images have no mark: they are done here
        boxes["corner mark"] = find_corner_marks(stems)
        inside = _without(stems, boxes["corner mark"])
        boxes["caliper"] = find_crosses(inside, find_strokes(grey, axis=0))
        boxes["dotted line"] = find_dotted_lines(stems)
        boxes["text"] = find_text(_without(inside, boxes["caliper"]))
        boxes["drawn line"] = find_lines(stems)
        boxes["ruler"] = list(find_rulers(_without(stems, [*boxes["dotted line"], *boxes["text"]])))
    if rgb is not None:
        boxes["colour"] = find_colour(rgb)
    return {kind: kind_boxes for kind, kind_boxes in boxes.items() if kind_boxes}


def find_colour(rgb: NDArray[np.uint8]) -> list[Box]:
    """Coloured patches of `rgb` (H, W, 3): 12 pixels or more whose channels differ by more than 40 levels.

    None if more than a quarter of the image is coloured, since it is a colour image or tinted. Missed: pale
    tints, and marks that were coloured before the image was made grey.
    """
    spread = rgb.max(axis=2).astype(np.int16) - rgb.min(axis=2)
    coloured = spread > COLOUR_SPREAD
    count = int(coloured.sum())
    if count < LEAST_COLOUR or count > MOST_COLOUR * coloured.size:
        return []
    near = ndimage.binary_dilation(coloured, CORNERS, iterations=4)  # the dots of one line are one patch
    return [box for box in pieces_of(near) if box.cut(coloured).sum() >= LEAST_COLOUR]


def find_dotted_lines(stems: BoolMap) -> list[Box]:
    """Rows of six dots or more, each of at most 4 x 4 pixels, straight and evenly spaced by 2.5 to 14 pixels.

    Missed: dashes, dots that touch, and dots on tissue as bright as they are.
    """
    dots = [box for box in pieces_of(stems, CORNERS) if box.height <= DOT_SIDE and box.width <= DOT_SIDE]
    return [around([dots[number] for number in chain]) for chain in _even_chains(np.array([d.middle for d in dots]))]


def find_text(stems: BoolMap) -> list[Box]:
    """Two stems or more of 6 to 40 pixels side by side: of like height, on one line, with room for one letter between.

    Pictograms of the probe's place come as text, too. Missed: letters without stems (S, 2), so the digits at calipers;
    a single letter; text written upward; letters that are thicker than 5 pixels or thin and pale (DER in DDTI).
    """
    low, high = GLYPH_HEIGHT
    glyphs = [box for box in pieces_of(stems, CORNERS) if low <= box.height <= high and box.width <= 1.5 * box.height]
    lines: list[list[Box]] = []
    for glyph in sorted(glyphs, key=lambda box: box.left):
        line = next((line for line in lines if _goes_on(line[-1], glyph)), None)
        if line is None:
            lines.append([glyph])
        else:
            line.append(glyph)
    return [around(line) for line in lines if len(line) >= LEAST_GLYPHS]


def find_corner_marks(stems: BoolMap) -> list[Box]:
    """Drawings in the outermost 20 x 20 pixels of a corner: the logo of the manufacturer, or what cropping left of it.

    Missed: logos that end further inside; they are reported as text if they have stems.
    """
    height, width = stems.shape
    corners = []
    for top in (0, height - CORNER_SIDE):
        for left in (0, width - CORNER_SIDE):
            corner = Box(max(top, 0), max(left, 0), min(CORNER_SIDE, height), min(CORNER_SIDE, width))
            if corner.cut(stems).sum() >= LEAST_IN_CORNER:
                corners.append(corner)
    return corners


def find_lines(stems: BoolMap) -> list[Box]:
    """Upright straight lines of more than 41 pixels: the sides of a Doppler or zoom box, a biopsy guide.

    Horizontal lines are not detected, since they cannot be distinguished from fascia.
    """
    tall = [box for box in pieces_of(bridged(stems, 0)) if box.height > LEAST_LINE and box.width <= THICKEST]
    return [box for box in tall if box.cut(stems).any(axis=1).mean() >= UNBROKEN]


def _goes_on(last: Box, glyph: Box) -> bool:
    """Whether `glyph` continues the line of text that ends with `last`."""
    low, high = sorted((last.height, glyph.height))
    overlap = min(last.top + last.height, glyph.top + glyph.height) - max(last.top, glyph.top)
    gap = glyph.left - (last.left + last.width)
    return overlap >= 0.8 * low and high <= 2 * low and gap <= WIDEST_GAP * high


def _without(strokes: BoolMap, boxes: list[Box]) -> BoolMap:
    remaining = strokes.copy()
    for box in boxes:
        box.cut(remaining)[:] = False
    return remaining


def _even_chains(points: NDArray[np.float64]) -> Iterator[list[int]]:
    """Numbers of `points` (N, 2) that form straight, evenly spaced rows; of overlapping rows the longest first."""
    if len(points) < LEAST_DOTS:
        return
    nearest, furthest = DOT_SPACING
    tree = cKDTree(points)
    steps = tree.query_pairs(furthest, output_type="ndarray")
    steps = np.concatenate([steps, steps[:, ::-1]]).reshape(-1, 2)
    length = np.linalg.norm(points[steps[:, 1]] - points[steps[:, 0]], axis=1)
    steps = steps[length >= nearest]
    leads_to = 2 * points[steps[:, 1]] - points[steps[:, 0]]
    _, after = (np.atleast_1d(result) for result in tree.query(leads_to, distance_upper_bound=DOT_DEVIATION))
    following = {(int(a), int(b)): int(c) for (a, b), c in zip(steps, after, strict=True) if c < len(points)}
    chains = []
    for a, b in following:
        chain = [a, b]
        while (chain[-2], chain[-1]) in following and following[chain[-2], chain[-1]] not in chain:
            chain.append(following[chain[-2], chain[-1]])
        if len(chain) >= LEAST_DOTS:
            chains.append(chain)
    used: set[int] = set()
    for chain in sorted(chains, key=len, reverse=True):
        if len(used.intersection(chain)) <= 1:  # two lines may cross in a dot
            used.update(chain)
            yield chain


def find_crosses(stems: BoolMap, bars: BoolMap) -> list[Box]:
    """Upright crosses of 7 to 44 pixels whose four arms end freely, among `stems` and `bars` (H, W).

    Missed: crosses turned by 45 degrees, arrows, and crosses with an arm on tissue of the same brightness; of
    the two to four crosses of a measurement, another one is usually detected. By eye, of 143 BUSI images with a cross
    about 16 show no cross but a letter (X, S, 4), an arrow or a maker's sign; of 118 with a dotted measuring line,
    113 have a find.
    """
    meeting = bridged(stems, 0) & bridged(bars, 1)
    whole = box_around(meeting)  # crossings are few: only their surroundings are labelled
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
    reach = ray[: ARM[1] + 2].tobytes()  # called 100,000 times per data set: searching bytes is fastest
    first = reach.find(1)
    if not 0 <= first < CROSSING:
        return 0
    gap = reach.find(0, first)
    return gap - 1 if gap >= 0 else len(reach)


def find_rulers(stems: BoolMap) -> Iterator[Box]:
    """Five ticks or more in one column or row near a side, evenly spaced by 8 to 160 pixels, each at most 8 x 8.

    Missed: ticks longer than that, ticks on bright tissue, and rulers whose ticks alternate in length.
    """
    height, width = stems.shape
    ticks = [box for box in pieces_of(stems, CORNERS) if max(box.height, box.width) <= TICK_SIDE]
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
        yield around([boxes[number] for number in best])


@dataclass(frozen=True)
class Frame:
    """Black borders in pixels, the share of the image they cover, and that of black corners."""

    top: int
    bottom: int
    left: int
    right: int
    border_share: float
    corner_share: float


def find_frame(grey: NDArray[np.uint8]) -> Frame:
    """The frame of `grey` (H, W).

    Border: rows and columns from each side in which at most 4% of the pixels are lighter than BLACK; text in the border
    is tolerated, a grey frame is missed. Corners: black areas beyond the borders that are connected to a corner of the
    image. Dark tissue or a deep shadow that is cut to true black counts as well: look before you crop.
    """
    lit = grey > BLACK
    height, width = grey.shape
    top, bottom = _depths(np.count_nonzero(lit, axis=1) / width)
    left, right = _depths(np.count_nonzero(lit, axis=0) / height)
    inner = lit[top : height - bottom, left : width - right]
    return Frame(
        top=top,
        bottom=bottom,
        left=left,
        right=right,
        border_share=1 - inner.size / lit.size,
        corner_share=_corner_area(~inner) / lit.size if inner.size else 0.0,
    )


def _depths(lit_share: NDArray[np.float64]) -> tuple[int, int]:
    """How many rows at the beginning and at the end are black; all and none where every row is."""
    lit = np.flatnonzero(lit_share > LIT_SHARE)
    return (int(lit[0]), int(len(lit_share) - 1 - lit[-1])) if lit.size else (len(lit_share), 0)


def _corner_area(black: BoolMap) -> int:
    """Number of pixels of the black components (H, W) at a corner."""
    if not black[[0, 0, -1, -1], [0, -1, 0, -1]].any():
        return 0
    labelled, _ = ndimage.label(black)
    corners = {int(labelled[row, column]) for row in (0, -1) for column in (0, -1)} - {0}
    return int(np.bincount(labelled.ravel())[list(corners)].sum())
