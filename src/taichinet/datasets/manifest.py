"""Sample and Manifest: what a reader hands on, the same for every data set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources.abc import Traversable


@dataclass(frozen=True)
class Sample:
    """One image and its masks, not yet decoded; files lie in a folder or inside a zip alike.

    `key` names the sample uniquely and stably ("benign (12)"); `label` is its class; `masks` are united into one
    lesion mask. An empty `masks` never happens: a normal image has its (empty) mask file.
    """

    key: str
    label: str
    image: Traversable
    masks: tuple[Traversable, ...]


@dataclass(frozen=True)
class Manifest:
    """All samples of one data set in a fixed order (by label, then number)."""

    name: str
    samples: tuple[Sample, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The samples' keys, in order."""
        return tuple(sample.key for sample in self.samples)

    @property
    def labels(self) -> dict[str, str]:
        """Class of each key."""
        return {sample.key: sample.label for sample in self.samples}

    def digest(self) -> str:
        """SHA-256 over keys and image bytes: two folders with the same pictures have the same digest."""
        total = hashlib.sha256()
        for sample in self.samples:
            total.update(sample.key.encode())
            total.update(hashlib.sha256(sample.image.read_bytes()).digest())
        return total.hexdigest()

    def image_digests(self) -> list[str]:
        """Of each image file the first 16 hexadecimal digits of its SHA-256, in order: to know it again elsewhere."""
        return [hashlib.sha256(sample.image.read_bytes()).hexdigest()[:16] for sample in self.samples]

    def subset(self, keys: set[str]) -> Manifest:
        """The samples whose key is in `keys`, order kept."""
        return Manifest(self.name, tuple(s for s in self.samples if s.key in keys))
