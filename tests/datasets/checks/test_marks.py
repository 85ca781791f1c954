"""Whatever a scanner draws is found where it was drawn, and speckle and fibres are not taken for drawings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fakes.graphics import GreyImage, cross, dots, in_colour, ticks, tissue, upright_line, word

from taichinet.datasets.checks.finding import FindingKind
from taichinet.datasets.checks.marks import find_frame, find_marks
from taichinet.datasets.checks.strokes import Box

DRAWN: dict[FindingKind, tuple[Callable[[GreyImage], None], Box]] = {
    "caliper": (lambda picture: cross(picture, 70, 90), Box(64, 84, 13, 13)),
    "dotted line": (lambda picture: dots(picture, 60, 60), Box(60, 60, 13, 57)),
    "text": (lambda picture: word(picture, "LTH", 120, 50), Box(120, 50, 15, 22)),
    "drawn line": (lambda picture: upright_line(picture, 130, 30, 110), Box(30, 130, 80, 2)),
    "corner mark": (lambda picture: word(picture, "I", 2, 4, size=2), Box(0, 0, 20, 20)),
    "ruler": (lambda picture: ticks(picture, 5, 24, count=6), Box(24, 5, 102, 3)),
}


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    rows = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    columns = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    shared = max(rows, 0) * max(columns, 0)
    return shared / (one.height * one.width + other.height * other.width - shared)


@pytest.mark.parametrize("seed", range(6))
def test_tissue_alone_has_no_mark(seed: int) -> None:
    assert find_marks(tissue(seed=seed)) == {}


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_drawn_is_found_in_its_place_as_its_kind_and_nothing_else(kind: FindingKind, seed: int) -> None:
    draw, place = DRAWN[kind]
    picture = tissue(seed=seed)
    draw(picture)
    marks = find_marks(picture)
    assert marks.keys() == {kind}
    assert max(overlap(box, place) for box in marks[kind]) > 0.5


def test_a_measurement_is_two_crosses_and_the_dots_between_them() -> None:
    picture = tissue()
    cross(picture, 80, 40)
    cross(picture, 80, 150)
    dots(picture, 80, 54, count=18, step=(0, 5))
    counts = {kind: len(boxes) for kind, boxes in find_marks(picture).items()}
    assert counts == {"caliper": 2, "dotted line": 1}


def test_a_doppler_patch_in_a_grey_picture_is_found() -> None:
    rgb = in_colour(tissue(), (40, 100, 12, 20))
    marks = find_marks(tissue(), rgb)
    assert marks.keys() == {"colour"}
    (box,) = marks["colour"]
    assert overlap(box, Box(40, 100, 12, 20)) > 0.4


def test_a_tinted_picture_and_the_noise_of_colour_are_no_marks() -> None:
    grey = tissue()
    sepia = np.stack([grey, grey * 0.7, grey * 0.4], axis=2).astype(np.uint8)
    noisy = (grey[..., None] + np.random.default_rng(0).integers(-9, 10, (*grey.shape, 3))).clip(0, 255)
    assert find_marks(grey, sepia) == {}
    assert find_marks(grey, noisy.astype(np.uint8)) == {}


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (300, 5), (16, 16)])
def test_tiny_and_thin_pictures_are_looked_at_without_an_error(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    find_marks(picture, np.repeat(picture[..., None], 3, axis=2))
    find_frame(picture)


def test_borders_are_measured_though_text_stands_in_them() -> None:
    picture = np.zeros((200, 300), np.uint8)
    picture[20:170, 40:290] = tissue(150, 250)
    picture[185, 60:64] = 255
    frame = find_frame(picture)
    assert (frame.top, frame.bottom, frame.left, frame.right) == (20, 30, 40, 10)
    assert frame.border_share == pytest.approx(1 - 150 * 250 / (200 * 300))


def test_the_corners_of_a_fan_are_measured_and_a_cyst_is_none() -> None:
    picture = tissue(200, 200)
    rows, columns = np.mgrid[:200, :200]
    picture[np.abs(columns - 100) > 60 + 0.4 * rows] = 0
    fan = find_frame(picture)
    cyst = tissue(200, 200)
    cyst[(rows - 100) ** 2 + (columns - 100) ** 2 < 900] = 0
    assert fan.corner_share + fan.border_share == pytest.approx(
        float((np.abs(columns - 100) > 60 + 0.4 * rows).mean()), abs=0.02
    )
    assert find_frame(cyst).corner_share == 0


def test_a_black_picture_is_all_border() -> None:
    assert find_frame(np.zeros((50, 60), np.uint8)).border_share == 1
