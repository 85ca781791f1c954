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


def check_masks(sample: Sample, masks: Sequence[BoolMap], regions: Sequence[str], nested: bool = True) -> list[Finding]:
    """The findings on the masks of one sample.

    Args:
        sample: The sample.
        masks: Its decoded mask files (H, W), in their order.
        regions: Names of the regions, outer before inner if they are nested.
        nested: Whether each region contains the next, so that each lesion has all of them.

    Returns:
        The findings.
    """
    findings: list[Finding] = []
    for mask, pixels in zip(sample.masks, masks, strict=True):
        if pixels.any():
            findings += _check_one(sample, mask, pixels)
    by_region = [
        [pixels for mask, pixels in zip(sample.masks, masks, strict=True) if mask.region == region]
        for region in range(len(regions))
    ]
    united = ([[pixels for files in by_region for pixels in files]], ["any region"])
    findings += _check_label(sample, *((by_region, regions) if nested else united))
    if masks and nested and len(regions) > 1:
        findings += _check_nesting(sample, by_region, regions)
    several = [files for files in by_region if len(files) > 1]
    if several:
        count = max(len(files) for files in several)
        shared = sum(int((np.sum(files, axis=0) > 1).sum()) for files in several)
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
        stray = counted(int(specks.sum()), "stray component")
        message = f"{name}: {stray}, of {areas}{more} pixels beside {int(sizes.max())}."
        where = tuple(box for box, speck in zip(boxes, specks, strict=True) if speck)
        findings.append(Finding("specks", key, message, float(specks.sum()), where))
    if (parts := int((~specks).sum())) > 1:
        message = (
            f"{name}: {parts} components in one file, of {', '.join(str(size) for size in sizes[~specks][:6])} pixels."
        )
        where = tuple(box for box, speck in zip(boxes, specks, strict=True) if not speck)
        findings.append(Finding("several parts", key, message, parts, where))
    holes = ndimage.binary_fill_holes(crop) & ~crop
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


def _check_label(sample: Sample, by_region: Sequence[list[BoolMap]], regions: Sequence[str]) -> list[Finding]:
    """Compare the masks with the label: lesions have foreground in all regions, normal images have none."""
    key = (sample.key,)
    if sample.label == NORMAL_CLASS:
        area = sum(int(pixels.sum()) for files in by_region for pixels in files)
        return [Finding("painted normal", key, f"The masks have {area} foreground pixels.", area)] if area else []
    findings = []
    for region, files in zip(regions, by_region, strict=True):
        if not any(pixels.any() for pixels in files):
            what = f"there is no mask of {region}" if not files else f"the mask of {region} is empty"
            findings.append(Finding("empty mask", key, f"Label '{sample.label}', but {what}."))
    return findings


def _check_nesting(sample: Sample, by_region: Sequence[list[BoolMap]], regions: Sequence[str]) -> list[Finding]:
    """Findings on inner regions that are not inside the outer one."""
    findings = []
    blank = np.zeros_like(next(pixels for files in by_region for pixels in files))
    united = [np.logical_or.reduce([blank, *files]) for files in by_region]
    for number, (outer, inner) in enumerate(pairwise(united)):
        outside = inner & ~outer
        if outside.any():
            area = int(outside.sum())
            message = f"{area} pixels of {regions[number + 1]} are outside {regions[number]}."
            boxes = tuple(pieces_of(outside, TOUCHING))
            findings.append(Finding("region outside", (sample.key,), message, area, boxes))
    return findings
