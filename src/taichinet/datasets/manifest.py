"""Manifest: all samples of one data set, the same for every data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taichinet.datasets.decoded import DecodedFiles
from taichinet.datasets.sample import BRIGHT, NORMAL_CLASS, Mask, MaskRule, Part, Sample
from taichinet.errors import first_few

__all__ = ["BRIGHT", "NORMAL_CLASS", "ImageCounts", "Manifest", "Mask", "MaskRule", "Part", "Sample"]


@dataclass(frozen=True)
class ImageCounts:
    """How many images of a data set a command used and skipped.

    Attributes:
        used: Number of images used.
        empty: Number of images used whose mask is empty.
        faulty: One line with the reason for each image that was skipped because of a fault.
        normal: Number of normal images, which were not requested.
        trained_on: Number of images on which the evaluated weights were trained.
    """

    used: int
    empty: int
    faulty: tuple[str, ...] = ()
    normal: int = 0
    trained_on: int = 0

    @property
    def skipped(self) -> int:
        """Number of images that were not used."""
        return len(self.faulty) + self.normal + self.trained_on

    @property
    def _groups(self) -> list[str]:
        """The reasons that several images share."""
        groups = ((self.normal, "normal, not requested"), (self.trained_on, "used to train or select the weights"))
        return [f"{count} {reason}" for count, reason in groups if count]

    def sentence(self, dataset: str = "") -> str:
        """One line for the terminal with the first three faults; `dataset` is its name if several are reported."""
        reasons = "; ".join([*self._groups, *first_few(self.faulty, most=3)])
        why = f" ({reasons})" if reasons else ""
        of = f" of {dataset}" if dataset else ""
        return f"Images{of}: {self.used} used, {self.empty} of them with an empty mask; {self.skipped} skipped{why}."

    def to_json_dict(self) -> dict[str, Any]:
        """The counts as values of JSON, with all reasons."""
        return {
            "used": self.used,
            "empty_mask": self.empty,
            "skipped": self.skipped,
            "why": [*self._groups, *self.faulty],
        }


@dataclass(frozen=True)
class Manifest:
    """All samples of one data set in a fixed order, which does not depend on the file system.

    Attributes:
        name: Name of the data set in the catalogue; "busi+bus-uclm" for joined data sets.
        samples: The samples.
        regions: Names of the regions that masks show, outer before inner if they are nested.
        left_out: One line for each sample that was left out because of a fault of the distribution itself, e.g. a mask
            of another size.
        normal_left_out: Number of normal images that were not requested.
        nested: Whether each region contains the next. Otherwise regions may be apart or overlap.
        files: What is kept of the decoded files. Subsets of a manifest share it.
    """

    name: str
    samples: tuple[Sample, ...]
    regions: tuple[str, ...] = ("lesion",)
    left_out: tuple[str, ...] = ()
    normal_left_out: int = 0
    nested: bool = True
    files: DecodedFiles = field(default_factory=DecodedFiles, compare=False, repr=False)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the samples, in order."""
        return tuple(sample.key for sample in self.samples)

    @property
    def labels(self) -> dict[str, str]:
        """The class of each key."""
        return {sample.key: sample.label for sample in self.samples}

    @property
    def strata(self) -> dict[str, str]:
        """What a split is stratified by, i.e. the class of each key, and in joined data sets also the data set."""
        return {sample.key: "/".join(filter(None, (sample.dataset, sample.label))) for sample in self.samples}

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the data sets that are joined, in order; empty for a single data set."""
        return tuple(dict.fromkeys(sample.dataset for sample in self.samples if sample.dataset is not None))

    def count_images(self, empty: int) -> ImageCounts:
        """The counts that a command prints at its end; `empty` is the number of images without a lesion."""
        return ImageCounts(len(self.samples), empty, self.left_out, self.normal_left_out)

    def without_normal(self) -> Manifest:
        """The samples of all classes but the normal one."""
        lesions = self.subset({key for key, label in self.labels.items() if label != NORMAL_CLASS})
        return replace(lesions, normal_left_out=self.normal_left_out + len(self.samples) - len(lesions.samples))

    @property
    def patients(self) -> tuple[tuple[str, ...], ...]:
        """The keys of each patient with more than one image, if patients are known."""
        members: dict[str, list[str]] = {}
        for sample in self.samples:
            if sample.patient is not None:
                members.setdefault(sample.patient, []).append(sample.key)
        return tuple(tuple(keys) for keys in members.values() if len(keys) > 1)

    def region_masks(self, sample: Sample) -> NDArray[np.bool_]:
        """The masks of all regions of `sample` at the original resolution, bool (R, H, W).

        Raises:
            DataError: A mask cannot be read or does not fit the image.
        """
        return self.files.region_masks(sample, len(self.regions), self.nested)

    def digest(self) -> str:
        """SHA-256 over keys and image files: equal for two folders with the same images."""
        total = hashlib.sha256()
        for sample in self.samples:
            total.update(sample.key.encode())
            total.update(self.files.digest(sample.image))
        return total.hexdigest()

    def content_digest(self) -> str:
        """SHA-256 over everything that determines the decoded pixels: keys, labels, images, masks and their rules."""
        total = hashlib.sha256(repr(self.regions if self.nested else ("separate", self.regions)).encode())
        for sample in self.samples:
            total.update(repr((sample.key, sample.label)).encode())
            total.update(self.files.digest(sample.image))
            for mask in sample.masks:
                total.update(repr((mask.region, mask.rule)).encode())
                total.update(self.files.digest(mask.file))
        return total.hexdigest()

    def image_digests(self) -> list[str]:
        """The first 16 hexadecimal digits of the SHA-256 of each image file, in order."""
        return [self.files.digest(sample.image).hex()[:16] for sample in self.samples]

    def subset(self, keys: set[str]) -> Manifest:
        """The samples whose key is in `keys`, in the same order."""
        return replace(self, samples=tuple(s for s in self.samples if s.key in keys))

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)
