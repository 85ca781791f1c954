"""Marks drawn by a scanner are found at their position, and speckle and fibres are not reported as marks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fakes.graphics import GreyImage, cross, dots, in_colour, ticks, tissue, upright_line, word

from taichinet.datasets.checks.finding import FindingKind
from taichinet.datasets.checks.marks import find_frame, find_marks
from taichinet.datasets.checks.strokes import Box

DRAWN: dict[FindingKind, tuple[Callable[[GreyImage], None], Box]] = {
    "caliper": (lambda image: cross(image, 70, 90), Box(64, 84, 13, 13)),
    "dotted line": (lambda image: dots(image, 60, 60), Box(60, 60, 13, 57)),
    "text": (lambda image: word(image, "LTH", 120, 50), Box(120, 50, 15, 22)),
    "drawn line": (lambda image: upright_line(image, 130, 30, 110), Box(30, 130, 80, 2)),
    "corner mark": (lambda image: word(image, "I", 2, 4, size=2), Box(0, 0, 20, 20)),
    "ruler": (lambda image: ticks(image, 5, 24, count=6), Box(24, 5, 102, 3)),
}


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes."""
    rows = min(first.top + first.height, second.top + second.height) - max(first.top, second.top)
    columns = min(first.left + first.width, second.left + second.width) - max(first.left, second.left)
    shared = max(rows, 0) * max(columns, 0)
    return shared / (first.height * first.width + second.height * second.width - shared)


@pytest.mark.parametrize("seed", range(6))
def test_tissue_without_marks_has_no_finding(seed: int) -> None:
    assert find_marks(tissue(seed=seed)) == {}


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("seed", range(3))
def test_drawn_mark_is_found_at_its_position_with_its_kind(kind: FindingKind, seed: int) -> None:
    draw, expected_box = DRAWN[kind]
    image = tissue(seed=seed)
    draw(image)
    marks = find_marks(image)
    assert marks.keys() == {kind}
    assert max(overlap(box, expected_box) for box in marks[kind]) > 0.5


def test_measurement_is_two_calipers_and_one_dotted_line() -> None:
    image = tissue()
    cross(image, 80, 40)
    cross(image, 80, 150)
    dots(image, 80, 54, count=18, step=(0, 5))
    counts = {kind: len(boxes) for kind, boxes in find_marks(image).items()}
    assert counts == {"caliper": 2, "dotted line": 1}


def test_doppler_box_in_grey_image_is_found() -> None:
    rgb = in_colour(tissue(), (40, 100, 12, 20))
    marks = find_marks(tissue(), rgb)
    assert marks.keys() == {"colour"}
    (box,) = marks["colour"]
    assert overlap(box, Box(40, 100, 12, 20)) > 0.4


def test_tinted_image_and_colour_noise_are_not_marks() -> None:
    grey = tissue()
    sepia = np.stack([grey, grey * 0.7, grey * 0.4], axis=2).astype(np.uint8)
    noisy = (grey[..., None] + np.random.default_rng(0).integers(-9, 10, (*grey.shape, 3))).clip(0, 255)
    assert find_marks(grey, sepia) == {}
    assert find_marks(grey, noisy.astype(np.uint8)) == {}


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (300, 5), (16, 16)])
def test_tiny_and_thin_images_raise_no_error(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    find_marks(image, np.repeat(image[..., None], 3, axis=2))
    find_frame(image)


def test_borders_are_measured_even_if_they_contain_text() -> None:
    image = np.zeros((200, 300), np.uint8)
    image[20:170, 40:290] = tissue(150, 250)
    image[185, 60:64] = 255
    frame = find_frame(image)
    assert (frame.top, frame.bottom, frame.left, frame.right) == (20, 30, 40, 10)
    assert frame.border_share == pytest.approx(1 - 150 * 250 / (200 * 300))


def test_corners_of_a_fan_are_measured_and_a_cyst_has_none() -> None:
    image = tissue(200, 200)
    rows, columns = np.mgrid[:200, :200]
    image[np.abs(columns - 100) > 60 + 0.4 * rows] = 0
    fan = find_frame(image)
    cyst = tissue(200, 200)
    cyst[(rows - 100) ** 2 + (columns - 100) ** 2 < 900] = 0
    assert fan.corner_share + fan.border_share == pytest.approx(
        float((np.abs(columns - 100) > 60 + 0.4 * rows).mean()), abs=0.02
    )
    assert find_frame(cyst).corner_share == 0


def test_black_image_is_all_border() -> None:
    assert find_frame(np.zeros((50, 60), np.uint8)).border_share == 1
