"""Checks the masks of one image: empty, tiny, in several parts, with holes, at the border, contradicting the label."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage

from taichinet.datasets.checks.finding import Finding, counted
from taichinet.datasets.checks.strokes import BoolMap, box_around, pieces_of
from taichinet.datasets.manifest import NORMAL_CLASS, Mask, Sample

TINY = 0.003  # share of the image; one BUSI mask in 300 is smaller
INVERTED = 0.75  # share of the image; no lesion of BUSI covers as much
SPECK = 0.005  # share of the mask's largest part
TOUCHING = np.ones((3, 3), dtype=bool)  # pixels that touch at corners are one part


def check_masks(sample: Sample, masks: Sequence[BoolMap], regions: Sequence[str]) -> list[Finding]:
    """The findings on the masks of one sample; `masks` are its decoded mask files (H, W), in their order."""
    findings: list[Finding] = []
    for mask, pixels in zip(sample.masks, masks, strict=True):
        if pixels.any():
            findings += _check_one(sample, mask, pixels)
    findings += _check_label(sample, masks, regions)
    findings += _check_nesting(sample, masks, regions)
    files = [mask.region for mask in sample.masks]
    several = [region for region in set(files) if files.count(region) > 1]
    if several:
        count = max(files.count(region) for region in several)
        shared = sum(int(_overlap(sample, masks, region)) for region in several)
        overlapping = f"; they overlap in {shared} pixels" if shared else ""
        findings.append(Finding("several masks", (sample.key,), f"{count} mask files{overlapping}.", count))
    return findings


def _check_one(sample: Sample, mask: Mask, pixels: BoolMap) -> list[Finding]:
    """Findings on one mask file that is not empty."""
    key, name = (sample.key,), mask.file.name
    findings = []
    area = int(pixels.sum())
    if area < TINY * pixels.size:
        message = f"{name}: has {area} pixels, {100 * area / pixels.size:.2f}% of the image."
        findings.append(Finding("tiny mask", key, message, -area / pixels.size))
    if area > INVERTED * pixels.size:
        message = f"{name}: covers {100 * area / pixels.size:.0f}% of the image."
        findings.append(Finding("inverted mask", key, message, area / pixels.size))
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
        findings.append(Finding("specks", key, message, float(specks.sum()), where))
    if (parts := int((~specks).sum())) > 1:
        message = f"{name}: {parts} parts in one file, of {', '.join(str(size) for size in sizes[~specks][:6])} pixels."
        where = tuple(box for box, speck in zip(boxes, specks, strict=True) if not speck)
        findings.append(Finding("several parts", key, message, parts, where))
    holes = _holes(crop)
    if holes.any():
        where = tuple(box.moved(whole.top, whole.left) for box in pieces_of(holes))
        message = f"{name}: {counted(len(where), 'hole')}, {counted(int(holes.sum()), 'pixel')} in all."
        findings.append(Finding("holes", key, message, float(holes.sum()), where))
    sides = {"top": pixels[0], "bottom": pixels[-1], "left": pixels[:, 0], "right": pixels[:, -1]}
    cut = {side: int(row.sum()) for side, row in sides.items() if row.any()}
    if cut:
        where_cut = ", ".join(f"{side} ({count} pixels)" for side, count in cut.items())
        findings.append(Finding("touches border", key, f"{name}: touches {where_cut}.", sum(cut.values())))
    return findings


def _check_label(sample: Sample, masks: Sequence[BoolMap], regions: Sequence[str]) -> list[Finding]:
    """Compare the masks with the label: lesions have foreground in all regions, normal images have none."""
    if sample.label == NORMAL_CLASS:
        area = sum(int(pixels.sum()) for pixels in masks)
        return (
            [Finding("painted normal", (sample.key,), f"The masks have {area} foreground pixels.", area)]
            if area
            else []
        )
    findings = []
    for number, region in enumerate(regions):
        files = [pixels for mask, pixels in zip(sample.masks, masks, strict=True) if mask.region == number]
        if not any(pixels.any() for pixels in files):
            what = f"there is no mask of {region}" if not files else f"the mask of {region} is empty"
            findings.append(Finding("empty mask", (sample.key,), f"Label '{sample.label}', but {what}."))
    return findings


def _check_nesting(sample: Sample, masks: Sequence[BoolMap], regions: Sequence[str]) -> list[Finding]:
    """Findings on inner regions that are not inside the outer one."""
    if len(regions) < 2 or not masks:
        return []
    findings = []
    for outer, inner in pairwise(range(len(regions))):
        outside = _united(sample, masks, inner) & ~_united(sample, masks, outer)
        if outside.any():
            area = int(outside.sum())
            message = f"{area} pixels of {regions[inner]} are outside {regions[outer]}."
            findings.append(
                Finding("region outside", (sample.key,), message, area, tuple(pieces_of(outside, TOUCHING)))
            )
    return findings


def _united(sample: Sample, masks: Sequence[BoolMap], region: int) -> BoolMap:
    whole = np.zeros_like(masks[0])
    for mask, pixels in zip(sample.masks, masks, strict=True):
        if mask.region == region:
            whole |= pixels
    return whole


def _overlap(sample: Sample, masks: Sequence[BoolMap], region: int) -> int:
    """Number of pixels that more than one file of `region` marks."""
    stacked = [pixels for mask, pixels in zip(sample.masks, masks, strict=True) if mask.region == region]
    return int((np.sum(stacked, axis=0) > 1).sum())


def _holes(pixels: BoolMap) -> BoolMap:
    """Background that `pixels` (H, W) enclose: not connected to the border over shared sides."""
    background, _ = ndimage.label(np.pad(~pixels, 1, constant_values=True))
    holes: BoolMap = (background[1:-1, 1:-1] > 0) & (background[1:-1, 1:-1] != background[0, 0])
    return holes
