"""Every fault of a mask is reported, and a correct mask has no finding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from taichinet.datasets.checks.finding import Finding, FindingKind
from taichinet.datasets.checks.masks import check_masks
from taichinet.datasets.checks.strokes import Box
from taichinet.datasets.manifest import Mask, Sample

Pixels = np.ndarray


def lesion() -> Pixels:
    mask = np.zeros((100, 120), dtype=bool)
    mask[30:60, 40:80] = True
    return mask


def mask_of_boxes(*boxes: Box) -> Pixels:
    mask = np.zeros((100, 120), dtype=bool)
    for box in boxes:
        box.cut(mask)[:] = True
    return mask


def lesion_with_hole() -> Pixels:
    mask = lesion()
    mask[40:43, 50:55] = False
    return mask


def lesion_with_bay() -> Pixels:
    mask = lesion()
    mask[40:60, 50:55] = False
    return mask


def findings_of(
    files: list[Pixels], label: str = "benign", regions: tuple[str, ...] = ("lesion",), of: tuple[int, ...] = ()
) -> list[Finding]:
    masks = tuple(Mask(Path(f"m{n}.png"), region) for n, region in enumerate(of or (0,) * len(files)))
    return check_masks(Sample("a", label, Path("a.png"), masks), files, regions)


FAULTS: dict[FindingKind, tuple[Callable[[], list[Pixels]], str]] = {
    "tiny mask": (lambda: [mask_of_boxes(Box(50, 50, 3, 4))], "12 pixels"),
    "inverted mask": (lambda: [mask_of_boxes(Box(1, 1, 98, 118))], "covers 96% of the image"),
    "several parts": (lambda: [mask_of_boxes(Box(10, 10, 30, 30), Box(60, 60, 20, 20))], "2 components"),
    "specks": (lambda: [mask_of_boxes(Box(10, 10, 30, 30), Box(60, 60, 1, 2))], "1 stray component"),
    "holes": (lambda: [lesion_with_hole()], "1 hole, 15 pixels in all"),
    "touches border": (lambda: [mask_of_boxes(Box(0, 10, 30, 25))], "top (25 pixels)"),
    "empty mask": (lambda: [mask_of_boxes()], "the mask of lesion is empty"),
    "several masks": (
        lambda: [mask_of_boxes(Box(10, 10, 30, 30)), mask_of_boxes(Box(35, 35, 30, 30))],
        "overlap in 25 pixels",
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_fault_of_mask_is_the_only_finding(kind: FindingKind) -> None:
    make_masks, expected_text = FAULTS[kind]
    (finding,) = findings_of(make_masks())
    assert finding.kind == kind
    assert expected_text in finding.message
    assert finding.keys == ("a",)


@pytest.mark.parametrize("make_mask", [lesion, lesion_with_bay])
def test_correct_mask_has_no_finding(make_mask: Callable[[], Pixels]) -> None:
    assert findings_of([make_mask()]) == []


def test_boxes_of_holes_and_specks_are_reported() -> None:
    (hole,) = findings_of([lesion_with_hole()])
    (speck,) = findings_of([mask_of_boxes(Box(10, 10, 30, 30), Box(60, 70, 1, 2))])
    assert hole.boxes == (Box(40, 50, 3, 5),)
    assert speck.boxes == (Box(60, 70, 1, 2),)


def test_normal_image_must_have_empty_mask() -> None:
    assert findings_of([mask_of_boxes()], "normal") == []
    assert findings_of([], "normal") == []
    assert "painted normal" in [finding.kind for finding in findings_of([lesion()], "normal")]


def test_each_region_needs_a_mask_and_must_lie_inside_the_outer_region() -> None:
    disc, cup, away = lesion(), mask_of_boxes(Box(40, 50, 10, 10)), mask_of_boxes(Box(40, 70, 10, 20))
    regions = ("disc", "cup")
    assert findings_of([disc, cup], "glaucoma", regions, (0, 1)) == []
    (missing,) = findings_of([disc], "glaucoma", regions, (0,))
    (outside,) = findings_of([disc, away], "glaucoma", regions, (0, 1))
    assert (missing.kind, outside.kind) == ("empty mask", "region outside")
    assert "no mask of cup" in missing.message
    assert "100 pixels of cup are outside disc" in outside.message
