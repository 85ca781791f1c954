"""Masks of one picture: empty, tiny, torn into parts, with holes, cut off by the border, or at odds with the label."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage

from taichinet.datasets.checks.finding import Finding, counted
from taichinet.datasets.checks.strokes import BoolMap, box_around, pieces_of
from taichinet.datasets.manifest import NORMAL_CLASS, Mask, Sample

TINY = 0.003  # share of the picture; one BUSI mask in 300 is smaller
INVERTED = 0.75  # share of the image; no lesion of BUSI covers as much
SPECK = 0.005  # share of the mask's largest part
TOUCHING = np.ones((3, 3), dtype=bool)  # pixels that touch at corners are one part


def check_masks(sample: Sample, painted: Sequence[BoolMap], regions: Sequence[str]) -> list[Finding]:
    """What is odd about the masks of `sample`; `painted` are its decoded mask files (H, W), in their order."""
    found: list[Finding] = []
    for mask, pixels in zip(sample.masks, painted, strict=True):
        if pixels.any():
            found += _check_one(sample, mask, pixels)
    found += _check_label(sample, painted, regions)
    found += _check_nesting(sample, painted, regions)
    files = [mask.region for mask in sample.masks]
    several = [region for region in set(files) if files.count(region) > 1]
    if several:
        count = max(files.count(region) for region in several)
        shared = sum(int(_overlap(sample, painted, region)) for region in several)
        overlapping = f"; they overlap in {shared} pixels" if shared else ""
        found.append(Finding("several masks", (sample.key,), f"{count} mask files{overlapping}.", count))
    return found


def _check_one(sample: Sample, mask: Mask, pixels: BoolMap) -> list[Finding]:
    """Findings on one mask file that paints something."""
    key, name = (sample.key,), mask.file.name
    found = []
    area = int(pixels.sum())
    if area < TINY * pixels.size:
        message = f"{name}: paints {area} pixels, {100 * area / pixels.size:.2f}% of the picture."
        found.append(Finding("tiny mask", key, message, -area / pixels.size))
    if area > INVERTED * pixels.size:
        message = f"{name}: paints {100 * area / pixels.size:.0f}% of the image."
        found.append(Finding("inverted mask", key, message, area / pixels.size))
    whole = box_around(pixels)
    crop = whole.cut(pixels)
    labelled, _ = ndimage.label(crop, TOUCHING)
    sizes = np.bincount(labelled.ravel())[1:]
    boxes = [box.moved(whole.top, whole.left) for box in pieces_of(crop, TOUCHING)]
    specks = sizes < SPECK * sizes.max()
    if specks.any():
        areas = ", ".join(str(size) for size in sizes[specks][:5])
        more = ", ..." if specks.sum() > 5 else ""
        message = (
            f"{name}: {counted(int(specks.sum()), 'stray part')}, of {areas}{more} pixels beside {int(sizes.max())}."
        )
        where = tuple(box for box, speck in zip(boxes, specks, strict=True) if speck)
        found.append(Finding("specks", key, message, float(specks.sum()), where))
    if (parts := int((~specks).sum())) > 1:
        message = f"{name}: {parts} parts in one file, of {', '.join(str(size) for size in sizes[~specks][:6])} pixels."
        where = tuple(box for box, speck in zip(boxes, specks, strict=True) if not speck)
        found.append(Finding("several parts", key, message, parts, where))
    holes = _holes(crop)
    if holes.any():
        where = tuple(box.moved(whole.top, whole.left) for box in pieces_of(holes))
        message = f"{name}: {counted(len(where), 'hole')}, {counted(int(holes.sum()), 'pixel')} in all."
        found.append(Finding("holes", key, message, float(holes.sum()), where))
    sides = {"top": pixels[0], "bottom": pixels[-1], "left": pixels[:, 0], "right": pixels[:, -1]}
    cut = {side: int(row.sum()) for side, row in sides.items() if row.any()}
    if cut:
        where_cut = ", ".join(f"{side} ({count} pixels)" for side, count in cut.items())
        found.append(Finding("touches border", key, f"{name}: touches {where_cut}.", sum(cut.values())))
    return found


def _check_label(sample: Sample, painted: Sequence[BoolMap], regions: Sequence[str]) -> list[Finding]:
    """Whether something is painted exactly where the label says that there is something."""
    if sample.label == NORMAL_CLASS:
        area = sum(int(pixels.sum()) for pixels in painted)
        return [Finding("painted normal", (sample.key,), f"{area} pixels are painted.", area)] if area else []
    found = []
    for number, region in enumerate(regions):
        files = [pixels for mask, pixels in zip(sample.masks, painted, strict=True) if mask.region == number]
        if not any(pixels.any() for pixels in files):
            what = f"has no mask of {region}" if not files else f"paints no pixel of {region}"
            found.append(Finding("empty mask", (sample.key,), f"Label '{sample.label}', but {what}."))
    return found


def _check_nesting(sample: Sample, painted: Sequence[BoolMap], regions: Sequence[str]) -> list[Finding]:
    """Where an inner region leaves the outer one."""
    if len(regions) < 2 or not painted:
        return []
    found = []
    for outer, inner in pairwise(range(len(regions))):
        outside = _united(sample, painted, inner) & ~_united(sample, painted, outer)
        if outside.any():
            area = int(outside.sum())
            message = f"{area} pixels of {regions[inner]} lie outside {regions[outer]}."
            found.append(Finding("region outside", (sample.key,), message, area, tuple(pieces_of(outside, TOUCHING))))
    return found


def _united(sample: Sample, painted: Sequence[BoolMap], region: int) -> BoolMap:
    whole = np.zeros_like(painted[0])
    for mask, pixels in zip(sample.masks, painted, strict=True):
        if mask.region == region:
            whole |= pixels
    return whole


def _overlap(sample: Sample, painted: Sequence[BoolMap], region: int) -> int:
    """Pixels that more than one file of `region` paints."""
    stacked = [pixels for mask, pixels in zip(sample.masks, painted, strict=True) if mask.region == region]
    return int((np.sum(stacked, axis=0) > 1).sum())


def _holes(pixels: BoolMap) -> BoolMap:
    """What `pixels` (H, W) enclose: unpainted pixels from which no way over shared sides leads outside."""
    unpainted, _ = ndimage.label(np.pad(~pixels, 1, constant_values=True))
    holes: BoolMap = (unpainted[1:-1, 1:-1] > 0) & (unpainted[1:-1, 1:-1] != unpainted[0, 0])
    return holes
