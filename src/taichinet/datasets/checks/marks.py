"""Burnt-in marks: colour, caliper crosses, dotted lines, text and drawn lines in an ultrasound picture.

A network that sees calipers learns where the annotator measured, not where the lesion is. Every detector says in its
docstring what it takes for a mark and what it misses. Boxes are in pixels of the picture as it is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from taichinet.datasets.checks.crosses import find_crosses
from taichinet.datasets.checks.rulers import find_rulers
from taichinet.datasets.checks.strokes import THICKEST, BoolMap, Box, bridged, find_bars, find_stems, pieces_of

MarkKind = Literal["colour", "caliper", "dotted line", "text", "drawn line", "corner mark", "ruler"]

LEAST_DRAWN = 6  # pixels; the smallest mark looked for has as many
COLOUR_SPREAD = 40  # levels between a pixel's channels; the chroma noise of JPEG stays below 25
LEAST_COLOUR = 12  # pixels
MOST_COLOUR = 0.25  # share of the picture; more is a colour picture, not a mark in a grey one
GLYPH_HEIGHT = (6, 40)  # pixels
LEAST_GLYPHS = 2  # stems in a row: two letters have two to four
WIDEST_GAP = 1.6  # of a stem's height: between two letters there may be one without a stem
LEAST_DOTS = 6
DOT_SIDE = 4  # pixels
DOT_SPACING = (2.5, 14.0)  # pixels
DOT_DEVIATION = 1.3  # pixels from where the two dots before lead
LEAST_LINE = 41  # pixels
UNBROKEN = 0.8  # share of a line's rows that are drawn; a dotted one bridges to half
CORNER_SIDE = 20  # pixels
LEAST_IN_CORNER = 6  # pixels
CORNERS = np.ones((3, 3), dtype=bool)  # pieces that touch at corners are one


@dataclass(frozen=True)
class Mark:
    """One mark and the box around it."""

    kind: MarkKind
    box: Box


def find_marks(grey: NDArray[np.uint8], rgb: NDArray[np.uint8] | None = None) -> tuple[Mark, ...]:
    """All marks in a picture: `grey` (H, W) and, where the file has colour, `rgb` (H, W, 3), both 0..255."""
    found: dict[MarkKind, list[Box]] = {}
    stems = find_stems(grey)
    if stems.sum() >= LEAST_DRAWN:  # most pictures have no mark: they are done here
        found["corner mark"] = find_corner_marks(stems)
        inside = _without(stems, found["corner mark"])
        found["caliper"] = find_crosses(inside, find_bars(grey))
        found["dotted line"] = find_dotted_lines(stems)
        found["text"] = find_text(_without(inside, found["caliper"]))
        found["drawn line"] = find_lines(stems)
        found["ruler"] = list(find_rulers(_without(stems, [*found["dotted line"], *found["text"]])))
    if rgb is not None:
        found["colour"] = find_colour(rgb)
    return tuple(Mark(kind, box) for kind, boxes in found.items() for box in boxes)


def find_colour(rgb: NDArray[np.uint8]) -> list[Box]:
    """Coloured patches of `rgb` (H, W, 3): 12 pixels or more whose channels differ by more than 40 levels.

    Nothing where more than a quarter of the picture is coloured: that is a colour picture or a tinted one. Missed: pale
    tints, and marks that were coloured before the picture was made grey.
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
    return [_around([dots[number] for number in chain]) for chain in _even_chains(np.array([d.middle for d in dots]))]


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
    return [_around(line) for line in lines if len(line) >= LEAST_GLYPHS]


def find_corner_marks(stems: BoolMap) -> list[Box]:
    """What is drawn into the outermost 20 x 20 pixels of a corner: the maker's sign, or what cropping left of one.

    Missed: signs that end further inside; those come as text where they have stems.
    """
    height, width = stems.shape
    found = []
    for top in (0, height - CORNER_SIDE):
        for left in (0, width - CORNER_SIDE):
            corner = Box(max(top, 0), max(left, 0), min(CORNER_SIDE, height), min(CORNER_SIDE, width))
            if corner.cut(stems).sum() >= LEAST_IN_CORNER:
                found.append(corner)
    return found


def find_lines(stems: BoolMap) -> list[Box]:
    """Upright straight lines of more than 41 pixels: the sides of a Doppler or zoom box, a biopsy guide.

    Lying lines are not looked for: they cannot be told from fascia.
    """
    tall = [box for box in pieces_of(bridged(stems, 0)) if box.height > LEAST_LINE and box.width <= THICKEST]
    return [box for box in tall if box.cut(stems).any(axis=1).mean() >= UNBROKEN]


def _goes_on(last: Box, glyph: Box) -> bool:
    """Whether `glyph` stands on the line of text that ends with `last`."""
    low, high = sorted((last.height, glyph.height))
    overlap = min(last.top + last.height, glyph.top + glyph.height) - max(last.top, glyph.top)
    gap = glyph.left - (last.left + last.width)
    return overlap >= 0.8 * low and high <= 2 * low and gap <= WIDEST_GAP * high


def _around(boxes: list[Box]) -> Box:
    whole = boxes[0]
    for box in boxes[1:]:
        whole = whole.joined(box)
    return whole


def _without(strokes: BoolMap, boxes: list[Box]) -> BoolMap:
    left = strokes.copy()
    for box in boxes:
        box.cut(left)[:] = False
    return left


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
    _, after = (np.atleast_1d(found) for found in tree.query(leads_to, distance_upper_bound=DOT_DEVIATION))
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
