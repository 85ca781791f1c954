"""BundleRecord: the schema of `bundle.json`, the description of a data set in its bundle.

A bundle is a zip file with these members:

README.txt                      what the file is, and the terms of use of the data set
bundle.json                     the BundleRecord, with the SHA-256 of each member below
thumbnails.npy                  the thumbnails of all images (`Fingerprint.thumbnail`), float32 (N, 48²)
images/00000.png                an image at input resolution, 8-bit grey or RGB
masks/00000-0.png               the mask of a region at original resolution, 1 bit; none for an empty mask
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

from taichinet.datasets.folds import FoldPlan
from taichinet.datasets.sample import NORMAL_CLASS, Part
from taichinet.runner import MOST_PIXELS

FORMAT_VERSION = 1
MOST_IMAGES = 20_000
LARGEST_SIDE = 2048  # of the input resolution
README_FILE, RECORD_FILE, THUMBNAILS_FILE = "README.txt", "bundle.json", "thumbnails.npy"
MARK = "taichinet bundle"
"""The first words of README.txt, which is the first member and not compressed."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hexadecimal digits."""
Length = Annotated[StrictInt, Field(ge=1, le=MOST_PIXELS)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MaskRecord(_Record):
    """A mask file of the original data set: its region, the values that are foreground, and the digest of the file."""

    region: Annotated[StrictInt, Field(ge=0, lt=32)]
    low: StrictInt
    high: StrictInt
    file: Digest


class SampleRecord(_Record):
    """A sample as in `Sample`, with the size of its image and the digests of the image file and of its grey pixels."""

    key: StrictStr
    label: StrictStr
    patient: StrictStr | None
    part: Part | None
    fold: StrictInt | None
    height: Length
    width: Length
    file: Digest
    pixels: Digest
    masks: tuple[MaskRecord, ...]

    @model_validator(mode="after")
    def _limited(self) -> SampleRecord:
        if self.height * self.width > MOST_PIXELS:
            raise ValueError(f"{self.height} x {self.width} pixels exceed the limit of {MOST_PIXELS}")
        return self


class SelectionRecord(_Record):
    """What depends on whether normal images are included: left-out images, near-duplicates and fold plans."""

    left_out: tuple[StrictStr, ...]
    normal_left_out: Annotated[StrictInt, Field(ge=0)]
    groups: tuple[tuple[StrictStr, ...], ...]
    plans: tuple[FoldPlan, ...]


class BundleRecord(_Record):
    """The description of a data set in its bundle.

    Attributes:
        format: Identifies the file.
        version: Version of the format.
        dataset: Name of the data set in the catalogue.
        title: Name in reports.
        licence: Terms of use.
        source: Where users get the data set.
        citation: The publication to cite.
        size: Input resolution in pixels.
        channels: 1 (grey) or 3 (RGB).
        preparation: `RECIPE` of `datasets/image_io.py`.
        pillow: Version of Pillow with which the images were resized.
        taichinet: Version of the package that wrote the file.
        regions: Names of the regions that masks show.
        nested: Whether each region contains the next.
        samples: All samples, in order.
        complete: The selection with the normal images, or the only one.
        lesions: The selection without the normal images; None for a data set without them.
        members: The SHA-256 of each image, mask and thumbnail member.
    """

    format: Literal["taichinet bundle"]
    version: Literal[1]
    dataset: StrictStr
    title: StrictStr
    licence: StrictStr
    source: StrictStr
    citation: StrictStr
    size: Annotated[StrictInt, Field(ge=1, le=LARGEST_SIDE)]
    channels: Literal[1, 3]
    preparation: StrictInt
    pillow: StrictStr
    taichinet: StrictStr
    regions: Annotated[tuple[StrictStr, ...], Field(min_length=1, max_length=32)]
    nested: StrictBool = True
    samples: Annotated[tuple[SampleRecord, ...], Field(min_length=1, max_length=MOST_IMAGES)]
    complete: SelectionRecord
    lesions: SelectionRecord | None
    members: dict[StrictStr, Digest]

    @model_validator(mode="after")
    def _consistent(self) -> BundleRecord:
        keys = {sample.key for sample in self.samples}
        if len(keys) < len(self.samples):
            raise ValueError("a key occurs twice in 'samples'")
        for selection in (self.complete, self.lesions):
            grouped = [key for group in selection.groups for key in group] if selection else []
            if len(keys.intersection(grouped)) < len(grouped):
                raise ValueError("a key in 'groups' occurs twice or is not in 'samples'")
        if any(mask.region >= len(self.regions) for sample in self.samples for mask in sample.masks):
            raise ValueError(f"a mask has a region that is not among the {len(self.regions)} of 'regions'")
        return self

    def selection(self, include_normal: bool) -> SelectionRecord:
        """The selection with or without the normal images."""
        return self.complete if include_normal or self.lesions is None else self.lesions

    def selected(self, include_normal: bool) -> list[tuple[int, SampleRecord]]:
        """The samples of a selection, each with its number in the bundle."""
        every = include_normal or self.lesions is None
        return [(i, s) for i, s in enumerate(self.samples) if every or s.label != NORMAL_CLASS]


def image_name(number: int) -> str:
    """The member with the image of a sample."""
    return f"images/{number:05}.png"


def mask_name(number: int, region: int) -> str:
    """The member with the mask of a region of a sample."""
    return f"masks/{number:05}-{region}.png"
