"""Which images of a data set took part in a training: compared by file bytes and, where recorded, by decoded pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from taichinet.datasets.image_io import read_grey
from taichinet.datasets.manifest import Manifest
from taichinet.storage.digest import digest_bytes

SEEN_FILES, SEEN_PIXELS = "seen_images", "seen_pixels"


def pixel_digests(manifest: Manifest) -> list[str]:
    """Of each image, in order, the first 16 hexadecimal digits of the SHA-256 of its shape and decoded grey values."""
    digests = []
    for sample in manifest:
        grey = read_grey(sample.image)
        digests.append(digest_bytes(repr(grey.shape).encode() + grey.tobytes())[:16])
    return digests


def seen_by_training(manifest: Manifest) -> dict[str, list[str]]:
    """Provenance of weights: the digests of the images of `manifest`, those of training and validation."""
    return {SEEN_FILES: manifest.image_digests(), SEEN_PIXELS: pixel_digests(manifest)}


@dataclass(frozen=True)
class ImageDigests:
    """The images of `manifest`, each digest computed once and only if asked for."""

    manifest: Manifest

    @cached_property
    def files(self) -> list[str]:
        """Of the files' bytes."""
        return self.manifest.image_digests()

    @cached_property
    def pixels(self) -> list[str]:
        """Of the decoded pixels."""
        return pixel_digests(self.manifest)


@dataclass(frozen=True)
class LeakCheck:
    """Which images were compared with those of a training, and how.

    `known` are keys of images that took part in it. `by_files` and `by_pixels` say which comparisons were possible.
    """

    known: frozenset[str]
    by_files: bool
    by_pixels: bool

    @property
    def done(self) -> str:
        """In words, e.g. "compared by file bytes and decoded pixels; near-duplicates not checked"."""
        if self.by_pixels:
            return "compared by file bytes and decoded pixels; near-duplicates not checked"
        if self.by_files:
            return "compared by file bytes only; not checked beyond file bytes: decoded pixels and near-duplicates"
        return "not checked: these weights do not record their training images"


def check_leaks(provenance: Mapping[str, Any], images: ImageDigests) -> LeakCheck:
    """Find the images that took part in the training or selection of weights.

    Args:
        provenance: Of the weights. Weights from before pixel digests were recorded have digests of files alone.
        images: Those that are to be scored.

    Returns:
        The known images and the comparisons that were made.
    """
    files, pixels = provenance.get(SEEN_FILES), provenance.get(SEEN_PIXELS)
    known: set[str] = set()
    keys = images.manifest.keys
    if isinstance(files, list):
        seen = set(files)
        known |= {key for key, digest in zip(keys, images.files, strict=True) if digest in seen}
    if isinstance(pixels, list):
        seen = set(pixels)
        known |= {key for key, digest in zip(keys, images.pixels, strict=True) if digest in seen}
    return LeakCheck(frozenset(known), isinstance(files, list), isinstance(pixels, list))
