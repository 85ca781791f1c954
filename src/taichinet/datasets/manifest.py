"""Sample and Manifest: what a reader hands on, the same for every data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.resources.abc import Traversable
from typing import Any, Literal

from taichinet.errors import DataError
from taichinet.runner import MOST_BYTES

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class MaskRule:
    """Which pixels of a mask file are painted: those whose brightest channel lies in `low`..`high`, ends included."""

    low: int = 128
    high: int = 255


NORMAL_CLASS = "normal"
"""The label of images without a lesion, in every data set that has such a class."""

BRIGHT = MaskRule()
"""The usual mask: 0 and 255, or the agreement of graders, of which at least half must have painted."""


@dataclass(frozen=True)
class Mask:
    """A mask file, the region that it paints (0 is the outermost), and how."""

    file: Traversable
    region: int = 0
    rule: MaskRule = BRIGHT


@dataclass(frozen=True)
class Sample:
    """One image and its masks, not yet decoded; files lie in a folder or inside a zip alike.

    `key` names the sample uniquely and stably ("benign (12)"); `label` is its class. Masks of one region are united;
    a region without a mask is empty. `patient` is whom the image shows, where names give it; `part` and `fold` are
    the split that the data set's authors distribute, where they do.
    """

    key: str
    label: str
    image: Traversable
    masks: tuple[Mask, ...]
    patient: str | None = None
    part: Part | None = None
    fold: int | None = None


@dataclass(frozen=True)
class ImageCounts:
    """How many images of a data set a command used, how many of these have an empty mask, and which were skipped.

    `faulty` has a line with the reason for each image that was skipped for a fault. `normal` images were not asked for,
    and `trained_on` images took part in the training of the weights that were scored.
    """

    used: int
    empty: int
    faulty: tuple[str, ...] = ()
    normal: int = 0
    trained_on: int = 0

    @property
    def skipped(self) -> int:
        """How many images were not used."""
        return len(self.faulty) + self.normal + self.trained_on

    @property
    def _groups(self) -> list[str]:
        """The reasons that many images share."""
        groups = ((self.normal, "normal, not asked for"), (self.trained_on, "used to train or select the weights"))
        return [f"{count} {reason}" for count, reason in groups if count]

    def sentence(self, dataset: str = "") -> str:
        """One line for the terminal, with the first three faults; `dataset` names it if several are reported."""
        more = [f"and {len(self.faulty) - 3} more faults"] if len(self.faulty) > 3 else []
        reasons = "; ".join([*self._groups, *self.faulty[:3], *more])
        why = f" ({reasons})" if reasons else ""
        of = f" of {dataset}" if dataset else ""
        return f"Images{of}: {self.used} used, {self.empty} of them with an empty mask; {self.skipped} skipped{why}."

    def to_json_dict(self) -> dict[str, Any]:
        """The same for --json, with every reason."""
        return {
            "used": self.used,
            "empty_mask": self.empty,
            "skipped": self.skipped,
            "why": [*self._groups, *self.faulty],
        }


@dataclass(frozen=True)
class Manifest:
    """All samples of one data set in a fixed order: that of its reader, never that of the file system.

    `regions` are nested, outer before inner. `left_out` has a line for each sample that the reader passed over for a
    fault which the distribution itself has, such as a mask of another size. `normal_left_out` is the number of normal
    images that were not asked for.
    """

    name: str
    samples: tuple[Sample, ...]
    regions: tuple[str, ...] = ("lesion",)
    left_out: tuple[str, ...] = ()
    normal_left_out: int = 0

    @property
    def keys(self) -> tuple[str, ...]:
        """The samples' keys, in order."""
        return tuple(sample.key for sample in self.samples)

    @property
    def labels(self) -> dict[str, str]:
        """Class of each key."""
        return {sample.key: sample.label for sample in self.samples}

    def count_images(self, empty: int) -> ImageCounts:
        """What a command reports of this data set at its end; `empty` is the number of its images without a lesion."""
        return ImageCounts(len(self.samples), empty, self.left_out, self.normal_left_out)

    def without_normal(self) -> Manifest:
        """The samples of every class but the normal one."""
        kept = self.subset({key for key, label in self.labels.items() if label != NORMAL_CLASS})
        return replace(kept, normal_left_out=self.normal_left_out + len(self.samples) - len(kept.samples))

    @property
    def patients(self) -> tuple[tuple[str, ...], ...]:
        """The keys of every patient with more than one image, where names give patients."""
        members: dict[str, list[str]] = {}
        for sample in self.samples:
            if sample.patient is not None:
                members.setdefault(sample.patient, []).append(sample.key)
        return tuple(tuple(keys) for keys in members.values() if len(keys) > 1)

    def digest(self) -> str:
        """SHA-256 over keys and image bytes: two folders with the same pictures have the same digest."""
        total = hashlib.sha256()
        for sample in self.samples:
            total.update(sample.key.encode())
            total.update(_sha256(sample.image).digest())
        return total.hexdigest()

    def content_digest(self) -> str:
        """SHA-256 over all that decides the decoded pixels: keys, images, masks, and how the masks are read."""
        total = hashlib.sha256(repr(self.regions).encode())
        for sample in self.samples:
            total.update(repr((sample.key, sample.label)).encode())
            total.update(_sha256(sample.image).digest())
            for mask in sample.masks:
                total.update(repr((mask.region, mask.rule)).encode())
                total.update(_sha256(mask.file).digest())
        return total.hexdigest()

    def image_digests(self) -> list[str]:
        """Of each image file the first 16 hexadecimal digits of its SHA-256, in order: to know it again elsewhere."""
        return [_sha256(sample.image).hexdigest()[:16] for sample in self.samples]

    def subset(self, keys: set[str]) -> Manifest:
        """The samples whose key is in `keys`, order kept."""
        return replace(self, samples=tuple(s for s in self.samples if s.key in keys))

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)


def _sha256(file: Traversable) -> hashlib._Hash:
    """The SHA-256 of an image's file, of which no more is read than may be decoded."""
    with file.open("rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise DataError(f"{file}: has more than the limit of {MOST_BYTES} bytes; save a smaller copy, or remove it.")
    return hashlib.sha256(content)
