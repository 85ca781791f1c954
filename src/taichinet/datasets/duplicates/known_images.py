"""Which images took part in a training: compared by file bytes, decoded pixels and thumbnails, as far as recorded.

The weights record digests of the files and of the pixels. The thumbnails, by which near-duplicates are found, lie in
`SEEN_FILE` of the run folder and not beside the weights, for they show the images, 48 pixels wide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from taichinet.datasets.duplicates.copies import copy_thresholds
from taichinet.datasets.duplicates.fingerprint import take_thumbnail
from taichinet.datasets.duplicates.thumbnails import similar_thumbnails
from taichinet.datasets.duplicates.views import FloatArray
from taichinet.datasets.image_io import read_grey
from taichinet.datasets.manifest import Manifest
from taichinet.storage.digest import digest_bytes, digest_tensors
from taichinet.storage.tensors import write_tensors

SEEN_FILES, SEEN_PIXELS, SEEN_THUMBNAILS = "seen_images", "seen_pixels", "seen_thumbnails"
SEEN_FILE = "seen.safetensors"


@dataclass(frozen=True)
class ImageDigests:
    """The images of `manifest`, in order; each is read once and only if asked for."""

    manifest: Manifest

    @cached_property
    def files(self) -> list[str]:
        """Of the files' bytes, the first 16 hexadecimal digits of the SHA-256."""
        return self.manifest.image_digests()

    @property
    def pixels(self) -> list[str]:
        """Of shape and decoded grey values, the first 16 hexadecimal digits of the SHA-256."""
        return [digest for digest, _ in self._decoded]

    @property
    def thumbnails(self) -> FloatArray:
        """As in a fingerprint, (N, 48²)."""
        return np.stack([thumbnail for _, thumbnail in self._decoded])

    @cached_property
    def _decoded(self) -> list[tuple[str, FloatArray]]:
        decoded = []
        for sample in self.manifest:
            grey = read_grey(sample.image)
            digest = digest_bytes(repr(grey.shape).encode() + grey.tobytes())[:16]
            decoded.append((digest, take_thumbnail(grey)))
        return decoded


def record_seen(manifest: Manifest, run: Path) -> dict[str, Any]:
    """Provenance of weights: the digests of the images of `manifest`, those of training and validation.

    Their thumbnails are written to `SEEN_FILE` in the run folder `run`, 2304 bytes an image.
    """
    images = ImageDigests(manifest)
    rows = images.thumbnails
    # In 127ths of the largest value, the correlation of two is right to about 1e-4.
    scaled = 127 * rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    tensors = {"thumbnails": torch.from_numpy(scaled.round().astype(np.int8))}
    write_tensors(run / SEEN_FILE, tensors)
    return {SEEN_FILES: images.files, SEEN_PIXELS: images.pixels, SEEN_THUMBNAILS: digest_tensors(tensors)}


def read_seen_thumbnails(provenance: Mapping[str, Any], run: Path) -> FloatArray | None:
    """The thumbnails of the images that trained weights of this provenance, unit rows (N, 48²).

    None where `run` has no file of them, or not the one that the weights record.
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
    """Which images were compared with those of a training, and how.

    `known` are keys of images that took part in it, `near` those of other images that are near-duplicates of such.
    `by_files`, `by_pixels` and `by_thumbnails` say which comparisons were possible.
    """

    known: frozenset[str]
    near: frozenset[str]
    by_files: bool
    by_pixels: bool
    by_thumbnails: bool

    @property
    def done(self) -> str:
        """In words, e.g. "compared by file bytes and decoded pixels; near-duplicates: not checked"."""
        if not self.by_files and not self.by_pixels:
            return "not checked: these weights do not record their training images"
        compared = "file bytes and decoded pixels" if self.by_pixels else "file bytes only"
        beyond = "" if self.by_pixels else "; not checked beyond file bytes: decoded pixels"
        near = f"{len(self.near)} found by thumbnails" if self.by_thumbnails else "not checked"
        return f"compared by {compared}{beyond}; near-duplicates: {near}"


def check_leaks(
    provenance: Mapping[str, Any], images: ImageDigests, seen_thumbnails: FloatArray | None = None
) -> LeakCheck:
    """Find the images that took part in the training or selection of weights, and near-duplicates of these.

    Args:
        provenance: Of the weights. Weights of earlier versions have digests of files alone, or none.
        images: Those that are to be scored.
        seen_thumbnails: Of the training's images, from `read_seen_thumbnails`. Near-duplicates are found as
            `data check` finds them by thumbnails: copies of another size, compression or brightness, not other crops.

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
    least = copy_thresholds(images.manifest).thumbnail
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
