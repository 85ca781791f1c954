"""Which images were used in a training: compared by file content, decoded pixels and thumbnails, as far as recorded.

The weights record digests of the files and of the pixels. The thumbnails, by which near-duplicates are found, are in
`SEEN_FILE` of the run folder and not beside the weights, since they show the images, 48 pixels wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from taichinet.datasets.duplicates.fingerprint import FloatArray
from taichinet.datasets.duplicates.search import duplicate_thresholds
from taichinet.datasets.duplicates.sketches import similar_thumbnails
from taichinet.datasets.manifest import Manifest
from taichinet.storage.digest import digest_tensors
from taichinet.storage.tensors import write_tensors

SEEN_FILES, SEEN_PIXELS, SEEN_THUMBNAILS = "seen_images", "seen_pixels", "seen_thumbnails"
SEEN_FILE = "seen.safetensors"


@dataclass(frozen=True)
class ImageDigests:
    """The digests and thumbnails of the images of a manifest, in order; each file is read once, when first needed."""

    manifest: Manifest

    @property
    def files(self) -> list[str]:
        """The first 16 hexadecimal digits of the SHA-256 of each file."""
        return self.manifest.image_digests()

    @property
    def pixels(self) -> list[str]:
        """The first 16 hexadecimal digits of the SHA-256 of the shape and grey values of each image."""
        return [self.manifest.files.fingerprint(sample.image).digest[:16] for sample in self.manifest]

    @property
    def thumbnails(self) -> FloatArray:
        """Thumbnails as in `Fingerprint`, (N, 48²)."""
        return np.stack([self.manifest.files.fingerprint(sample.image).thumbnail for sample in self.manifest])


Seen = tuple[Mapping[str, Sequence[str]], FloatArray | None]
"""Digests by the names SEEN_FILES and SEEN_PIXELS, and thumbnails of unit norm, as far as known."""


def record_seen(manifest: Manifest, run: Path, earlier: Seen | None = None) -> dict[str, Any]:
    """Record the images of a training.

    Args:
        manifest: The images of training and validation.
        run: Run folder, to which their thumbnails are written as `SEEN_FILE`, 2304 bytes per image.
        earlier: Images that the weights have seen before, for a training that starts from trained weights.

    Returns:
        Digests for the provenance of the weights. The digest of the thumbnails is absent if those of earlier images
        are not known, since a comparison with the others alone would not be complete.

    Raises:
        StorageError: The file cannot be written.
    """
    images = ImageDigests(manifest)
    digests, thumbnails = earlier or ({}, None)
    rows = images.thumbnails if thumbnails is None else np.concatenate([images.thumbnails, thumbnails])
    # In 127ths of the largest value, the correlation of two is accurate to about 1e-4.
    scaled = 127 * rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    tensors = {"thumbnails": torch.from_numpy(scaled.round().astype(np.int8))}
    write_tensors(run / SEEN_FILE, tensors)
    seen: dict[str, Any] = {
        name: list(dict.fromkeys([*own, *digests.get(name, ())]))
        for name, own in ((SEEN_FILES, images.files), (SEEN_PIXELS, images.pixels))
    }
    complete = earlier is None or thumbnails is not None
    return seen | ({SEEN_THUMBNAILS: digest_tensors(tensors)} if complete else {})


def read_seen_thumbnails(provenance: Mapping[str, Any], run: Path) -> FloatArray | None:
    """Read the thumbnails of the images of a training.

    Args:
        provenance: Provenance of the weights.
        run: Run folder.

    Returns:
        Rows of unit norm (N, 48²); None if the run folder does not have the file that the weights record.
    """
    try:
        tensors = load_file(run / SEEN_FILE)
        if digest_tensors(tensors) != provenance.get(SEEN_THUMBNAILS):
            return None
        rows = tensors["thumbnails"].numpy().astype(np.float32)
    except (OSError, KeyError, SafetensorError):
        return None
    unit: FloatArray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1)
    return unit


@dataclass(frozen=True)
class LeakCheck:
    """Result of comparing images with those of a training.

    Attributes:
        known: Keys of images that were used in the training.
        near: Keys of other images that are near-duplicates of these.
        by_files: Whether digests of files were recorded.
        by_pixels: Whether digests of pixels were recorded.
        by_thumbnails: Whether thumbnails were available.
    """

    known: frozenset[str]
    near: frozenset[str]
    by_files: bool
    by_pixels: bool
    by_thumbnails: bool

    @property
    def done(self) -> str:
        """Description, e.g. "compared by file bytes and decoded pixels; near-duplicates: not checked"."""
        if not self.by_files and not self.by_pixels:
            return "not checked: these weights do not record their training images"
        compared = "file bytes and decoded pixels" if self.by_pixels else "file bytes only"
        beyond = "" if self.by_pixels else "; not checked beyond file bytes: decoded pixels"
        near = f"{len(self.near)} found by thumbnails" if self.by_thumbnails else "not checked"
        return f"compared by {compared}{beyond}; near-duplicates: {near}"


def check_leaks(
    provenance: Mapping[str, Any], images: ImageDigests, seen_thumbnails: FloatArray | None = None
) -> LeakCheck:
    """Find the images that were used to train or select weights, and near-duplicates of these.

    Args:
        provenance: Provenance of the weights. Earlier versions recorded only digests of files, or none.
        images: The images to be evaluated.
        seen_thumbnails: Thumbnails of the training images, from `read_seen_thumbnails`. They identify versions of
            another size, compression or brightness, not other crops.

    Returns:
        The known images and the comparisons that were made.
    """
    keys = images.manifest.keys
    files, pixels = (provenance.get(name) for name in (SEEN_FILES, SEEN_PIXELS))
    by_files, by_pixels = (isinstance(seen, list | tuple) for seen in (files, pixels))
    known: set[str] = set()
    if by_files:
        known |= _matching(keys, images.files, files)
    if by_pixels:
        known |= _matching(keys, images.pixels, pixels)
    least = duplicate_thresholds(images.manifest).thumbnail
    by_thumbnails = seen_thumbnails is not None and least < 1  # from 1 on, unrelated images have equal thumbnails
    near: set[str] = set()
    if seen_thumbnails is not None and by_thumbnails and keys:
        pairs, _ = similar_thumbnails(np.concatenate([seen_thumbnails, images.thumbnails]), least)
        count = len(seen_thumbnails)
        near = {keys[second - count] for first, second in pairs if first < count <= second} - known
    return LeakCheck(frozenset(known), frozenset(near), by_files, by_pixels, by_thumbnails)


def _matching(keys: tuple[str, ...], digests: list[str], seen: Any) -> set[str]:
    wanted = set(seen)
    return {key for key, digest in zip(keys, digests, strict=True) if digest in wanted}
