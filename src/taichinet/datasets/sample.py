"""Sample: one image with its masks, before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Literal

Part = Literal["train", "validation", "test"]

NORMAL_CLASS = "normal"
"""The label of images without a lesion, in every data set that has such a class."""


@dataclass(frozen=True)
class MaskRule:
    """Which pixels of a mask file are foreground: those whose brightest channel is in `low`..`high`, inclusive."""

    low: int = 128
    high: int = 255


BRIGHT = MaskRule()
"""The usual mask: 0 and 255, or the agreement of annotators, of whom at least half must have marked a pixel."""


@dataclass(frozen=True)
class Mask:
    """A mask file, the region that it shows (0 is the outermost), and which of its values are foreground."""

    file: Traversable
    region: int = 0
    rule: MaskRule = BRIGHT


@dataclass(frozen=True)
class Sample:
    """One image and its masks, as files in a folder or in a zip file.

    Attributes:
        key: Unique and stable name, e.g. "benign (12)".
        label: Class of the image.
        image: Image file.
        masks: Mask files. Masks of one region are united; a region without a mask is empty.
        patient: Patient that the image shows, if the data set says so.
        part: Part of the split that the authors of the data set distribute, if any.
        fold: Fold of the cross-validation that the authors distribute, counted from 0, if any.
        dataset: Name of the data set if several are joined, whose keys begin with it; None for a single data set.
    """

    key: str
    label: str
    image: Traversable
    masks: tuple[Mask, ...]
    patient: str | None = None
    part: Part | None = None
    fold: int | None = None
    dataset: str | None = None
