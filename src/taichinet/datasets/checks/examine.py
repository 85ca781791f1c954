"""examine: all that one picture and its masks say by themselves, from decoding each file once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taichinet.datasets.checks.finding import Finding, counted
from taichinet.datasets.checks.frames import find_frame
from taichinet.datasets.checks.marks import find_marks
from taichinet.datasets.checks.masks import check_masks
from taichinet.datasets.checks.statistics import ImageFacts, measure
from taichinet.datasets.checks.strokes import Box
from taichinet.datasets.duplicates.fingerprint import Fingerprint, take_fingerprint
from taichinet.datasets.image_io import misfit, read_grey_and_colour
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.sample import Sample
from taichinet.errors import DataError

MOST_BLACK = 0.05  # share of the picture that borders and corners may take


@dataclass(frozen=True)
class Examined:
    """What was found on one sample; `facts` and `fingerprint` are None where the picture cannot be read."""

    key: str
    findings: tuple[Finding, ...]
    facts: ImageFacts | None
    fingerprint: Fingerprint | None


def examine(sample: Sample, manifest: Manifest, in_colour: bool = False) -> Examined:
    """Decode the picture and every mask of `sample` once and look at them; damaged files become findings.

    Colour is a mark in a grey picture only: it is not looked for where all pictures are `in_colour`.
    """
    found: list[Finding] = []
    try:
        grey, rgb = read_grey_and_colour(sample.image)
    except DataError as fault:
        return Examined(sample.key, (Finding("unreadable", (sample.key,), str(fault)),), None, None)
    painted = []
    for mask in sample.masks:
        try:
            pixels = manifest.files.mask(mask)
            if (unfit := misfit(sample.image, mask.file, pixels.shape, manifest.files.header)) is not None:
                raise DataError(unfit)
        except DataError as fault:
            finding = Finding("unreadable", (sample.key,), str(fault))
            found += [] if finding in found else [finding]  # a file that paints several regions is reported once
        else:
            painted.append(pixels)
    lesion = None
    if len(painted) == len(sample.masks):
        found += check_masks(sample, painted, manifest.regions)
        outer = [pixels for mask, pixels in zip(sample.masks, painted, strict=True) if mask.region == 0]
        lesion = np.logical_or.reduce(outer) if outer else None
    found += _look_at(sample.key, grey, None if in_colour else rgb)
    facts = measure(sample.key, sample.label, grey, lesion)
    return Examined(sample.key, tuple(found), facts, take_fingerprint(grey, sample.key))


def _look_at(key: str, grey: NDArray[np.uint8], rgb: NDArray[np.uint8] | None) -> list[Finding]:
    """Marks and frame of one picture, a finding a kind."""
    boxes: dict[str, list[Box]] = {}
    found = []
    marks = find_marks(grey, rgb)
    for mark in marks:
        boxes.setdefault(mark.kind, []).append(mark.box)
    for kind in dict.fromkeys(mark.kind for mark in marks):
        where = boxes[kind]
        found.append(Finding(kind, (key,), f"{counted(len(where), 'place')}.", float(len(where)), tuple(where)))
    frame = find_frame(grey)
    black = frame.border_share + frame.corner_share
    if black > MOST_BLACK:
        message = (
            f"{100 * black:.0f}% of the picture is black: borders of {frame.top}, {frame.bottom}, {frame.left} and "
            f"{frame.right} pixels (top, bottom, left, right), and {100 * frame.corner_share:.0f}% in its corners."
        )
        found.append(Finding("black frame", (key,), message, black))
    return found
