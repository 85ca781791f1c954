"""Every fault of a mask is told, and a sound mask is passed."""

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


def painted(*boxes: Box) -> Pixels:
    mask = np.zeros((100, 120), dtype=bool)
    for box in boxes:
        box.cut(mask)[:] = True
    return mask


def with_hole() -> Pixels:
    mask = lesion()
    mask[40:43, 50:55] = False
    return mask


def with_bay() -> Pixels:
    mask = lesion()
    mask[40:60, 50:55] = False
    return mask


def found(
    files: list[Pixels], label: str = "benign", regions: tuple[str, ...] = ("lesion",), of: tuple[int, ...] = ()
) -> list[Finding]:
    masks = tuple(Mask(Path(f"m{n}.png"), region) for n, region in enumerate(of or (0,) * len(files)))
    return check_masks(Sample("a", label, Path("a.png"), masks), files, regions)


FAULTS: dict[FindingKind, tuple[Callable[[], list[Pixels]], str]] = {
    "tiny mask": (lambda: [painted(Box(50, 50, 3, 4))], "12 pixels"),
    "inverted mask": (lambda: [painted(Box(1, 1, 98, 118))], "covers 96% of the image"),
    "several parts": (lambda: [painted(Box(10, 10, 30, 30), Box(60, 60, 20, 20))], "2 parts"),
    "specks": (lambda: [painted(Box(10, 10, 30, 30), Box(60, 60, 1, 2))], "1 stray part"),
    "holes": (lambda: [with_hole()], "1 hole, 15 pixels in all"),
    "touches border": (lambda: [painted(Box(0, 10, 30, 25))], "top (25 pixels)"),
    "empty mask": (lambda: [painted()], "the mask of lesion is empty"),
    "several masks": (lambda: [painted(Box(10, 10, 30, 30)), painted(Box(35, 35, 30, 30))], "overlap in 25 pixels"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_told_and_no_other(kind: FindingKind) -> None:
    make, told = FAULTS[kind]
    (finding,) = found(make())
    assert finding.kind == kind
    assert told in finding.message
    assert finding.keys == ("a",)


@pytest.mark.parametrize("make", [lesion, with_bay])
def test_a_sound_mask_has_no_finding(make: Callable[[], Pixels]) -> None:
    assert found([make()]) == []


def test_holes_and_specks_are_shown_where_they_are() -> None:
    (hole,) = found([with_hole()])
    (speck,) = found([painted(Box(10, 10, 30, 30), Box(60, 70, 1, 2))])
    assert hole.boxes == (Box(40, 50, 3, 5),)
    assert speck.boxes == (Box(60, 70, 1, 2),)


def test_a_normal_picture_must_have_nothing_painted() -> None:
    assert found([painted()], "normal") == []
    assert found([], "normal") == []
    assert "painted normal" in [finding.kind for finding in found([lesion()], "normal")]


def test_each_region_needs_a_mask_and_lies_in_the_one_around_it() -> None:
    disc, cup, away = lesion(), painted(Box(40, 50, 10, 10)), painted(Box(40, 70, 10, 20))
    regions = ("disc", "cup")
    assert found([disc, cup], "glaucoma", regions, (0, 1)) == []
    (missing,) = found([disc], "glaucoma", regions, (0,))
    (outside,) = found([disc, away], "glaucoma", regions, (0, 1))
    assert (missing.kind, outside.kind) == ("empty mask", "region outside")
    assert "no mask of cup" in missing.message
    assert "100 pixels of cup are outside disc" in outside.message
