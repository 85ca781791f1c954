"""DecodedFiles: decodes each image and mask file of a data set once per run, and keeps what later steps need of it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from dataclasses import replace
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import __version__ as pillow_version

from taichinet import runner
from taichinet.datasets.duplicates.fingerprint import Fingerprint, take_fingerprint
from taichinet.datasets.image_io import (
    TURNED_BY_A_QUARTER,
    Header,
    foreground,
    mask_values,
    read_by,
    read_grey_and_colour,
    read_header,
    resize_image,
)
from taichinet.datasets.sample import Mask, Sample
from taichinet.errors import DataError
from taichinet.storage.digest import digest_bytes

DECODING_THREADS = min(max(os.cpu_count() or 1, 2), 16)
"""Number of threads that decode the files of a whole data set."""


class DecodedFiles:
    """Decodes the image and mask files of a data set and keeps what later steps of a run need of them.

    Images at their original resolution are not kept, since those of a large data set do not fit into memory. Kept are
    the digest of the pixels, a thumbnail, and on request the image at two reduced sizes; masks are kept compressed
    without loss. A file of which something else is requested is decoded again. Several threads may use one object.

    Args:
        size: Input resolution in pixels to which images are resized while they are decoded; None for no resizing.
        channels: 1 to resize grey images, 3 to resize RGB images.

    Attributes:
        bundle: The bundle that contains the data set instead of its files, see `datasets/bundle`; usually None.
        pillow: Version of Pillow with which images are resized.
    """

    bundle: Path | None = None
    pillow = pillow_version

    def __init__(self, size: int | None = None, channels: int = 1) -> None:
        self._size = size
        self._channels = channels
        self._keeps_reduced = False
        self._fingerprints: dict[Traversable, Fingerprint] = {}
        self._resized: dict[Traversable, NDArray[np.uint8]] = {}
        self._masks: dict[Traversable, tuple[bytes, str, tuple[int, ...]]] = {}
        self._headers: dict[Traversable, Header] = {}
        self._digests: dict[Traversable, bytes] = {}

    def require_originals(self, purpose: str) -> None:
        """Raise DataError if the data set is a bundle; `purpose` needs images at their original resolution."""
        if self.bundle is not None:
            raise DataError(
                f"{self.bundle}: a bundle has its images at input resolution only, and {purpose} needs them at their "
                "original resolution. Pass the original data set."
            )

    def refuse_other_input(self, size: int, channels: int) -> None:
        """Raise DataError if the images are not available at `size` with `channels`; files are resized to any size."""

    def fingerprint(self, file: Traversable) -> Fingerprint:
        """The digest and the thumbnail of an image file; raises DataError if it cannot be read."""
        if file not in self._fingerprints:
            self._fingerprints[file] = self._decode(file, self._keeps_reduced)
        return self._fingerprints[file]

    def keep_reduced(self, keep: bool = True) -> None:
        """Whether to keep the reduced images for the search for near-duplicates (64 KB each) from now on."""
        self._keeps_reduced = keep

    def take_whole_fingerprint(self, file: Traversable) -> Fingerprint:
        """The fingerprint with the reduced image for the search for near-duplicates, which is not kept any longer."""
        if file not in self._fingerprints or self._fingerprints[file].reduced is None:
            whole = self._decode(file, with_reduced=True)
        else:
            whole = self._fingerprints[file]
        self._fingerprints[file] = replace(whole, reduced=None)
        return whole

    def take_resized(self, file: Traversable, size: int, channels: int) -> NDArray[np.uint8]:
        """An image file at `size` x `size`, (S, S) or (S, S, 3), which is not kept any longer; raises DataError."""
        if (size, channels) == (self._size, self._channels) and file in self._resized:
            return self._resized.pop(file)
        return _resized(*read_grey_and_colour(file), size, channels)

    def forget_resized(self) -> None:
        """Release the resized images, which are not needed if they were prepared in an earlier run."""
        self._size = None
        self._resized.clear()

    def mask(self, mask: Mask) -> NDArray[np.bool_]:
        """The foreground of a mask file.

        Transparency is the mask if the colour is the same everywhere, and is ignored otherwise. With the rule BRIGHT,
        values of 0 and 1 are read as 0 and 255 as well.

        Returns:
            bool (H, W), upright.

        Raises:
            DataError: The file cannot be read, or has values other than 0 that the rule would read as background.
        """
        return foreground(mask.file, self._values(mask.file), mask.rule)

    def label_values(self, file: Traversable) -> frozenset[int]:
        """The values that occur in a label map, which must be 8-bit grey or one bit (then 0 and 255).

        Colours, palettes and 16 bits are refused, since their values would be read differently than they were written.

        Raises:
            DataError: The file cannot be read or has another mode.
        """
        mode = read_by(runner.open_image, file).mode
        if mode not in ("1", "L"):
            raise DataError(
                f"{file}: mode {mode} is not supported for label maps, which are small integers; save it as 8-bit "
                "grey, 0 for background."
            )
        return frozenset(np.unique(self._values(file)).tolist())

    def mask_colours(self, file: Traversable) -> NDArray[np.uint8]:
        """The colours of a mask file, (H, W, 3), which are not kept; raises DataError if it cannot be read."""
        image, reduced = read_by(runner.decode, file)
        opaque = read_by(lambda source: runner.opaque(source, image, reduced), file)
        self._keep_values(file, mask_values(file, image, reduced))
        return np.array(opaque.convert("RGB"))

    def united_mask(self, sample: Sample, region: int = 0) -> NDArray[np.bool_]:
        """The mask of one region of a sample.

        Args:
            sample: The sample.
            region: Number of the region; 0 is the outermost.

        Returns:
            bool (H, W), True where any mask file of the region is foreground.

        Raises:
            DataError: A mask cannot be read or does not fit the image.
        """
        united = np.zeros(self.header(sample.image).size, dtype=np.bool_)
        for mask in sample.masks:
            if mask.region == region:
                inside = self.mask(mask)
                if (fault := self.misfit(sample.image, mask.file, inside.shape)) is not None:
                    raise DataError(fault)
                united |= inside
        return united

    def region_masks(self, sample: Sample, regions: int, nested: bool = True) -> NDArray[np.bool_]:
        """The masks of all `regions` of a sample, bool (R, H, W); raises DataError.

        Inner regions count as part of the outer ones, which are before them, unless the regions are not `nested`.
        """
        masks = np.stack([self.united_mask(sample, region) for region in range(regions)])
        return np.asarray(np.logical_or.accumulate(masks[::-1], axis=0)[::-1]) if nested else masks

    def misfit(self, image: Traversable, mask: Traversable, mask_size: tuple[int, ...]) -> str | None:
        """Check that a mask fits its image.

        Args:
            image: The image file.
            mask: The mask file.
            mask_size: (height, width) of the mask as read.

        Returns:
            None if it fits. Otherwise one line with the remedy: the sizes differ, or the EXIF orientation turns the
            image but not the mask and both would fit.

        Raises:
            DataError: A header cannot be read.
        """
        size, turn = self.header(image).size, self.header(image).orientation
        if mask_size != size:
            turned = f" The image is turned by its EXIF orientation {turn}, the mask is not." if turn != 1 else ""
            return (
                f"{mask}: the mask is {mask_size[0]} x {mask_size[1]} pixels, its image {size[0]} x {size[1]} (height "
                f"x width); the sizes must be equal.{turned}"
            )
        ambiguous = turn != 1 and (turn not in TURNED_BY_A_QUARTER or size[0] == size[1])
        if ambiguous and self.header(mask).orientation != turn:
            return (
                f"{mask}: the image {image} is turned by its EXIF orientation {turn}, the mask is not, and from its "
                "size it is unclear whether it was drawn on the turned image; save both upright, without an EXIF "
                "orientation."
            )
        return None

    def header(self, file: Traversable) -> Header:
        """The size and orientation of an image or mask file; raises DataError if it cannot be read."""
        if file not in self._headers:
            self._headers[file] = read_header(file)
        return self._headers[file]

    def digest(self, file: Traversable) -> bytes:
        """The SHA-256 of the content of a file; raises DataError for a file that is too large to be decoded."""
        if file not in self._digests:
            with file.open("rb") as stream:
                content = stream.read(runner.MOST_BYTES + 1)
            if len(content) > runner.MOST_BYTES:
                raise DataError(f"{file} has more than {runner.MOST_BYTES} bytes. Save a smaller copy, or remove it.")
            self._digests[file] = bytes.fromhex(digest_bytes(content))
        return self._digests[file]

    def problems_in(self, image: Traversable | None, masks: Iterable[Mask]) -> list[str]:
        """Decode the files of one sample; one line per fault, e.g. a damaged file or a mask of another size."""
        problems: list[str] = []
        if image is not None:
            try:
                self.fingerprint(image)
            except DataError as fault:
                problems.append(str(fault))
                image = None
        for mask in masks:
            try:
                size = self.mask(mask).shape
                if image is not None and (unfit := self.misfit(image, mask.file, size)) is not None:
                    problems.append(unfit)
            except DataError as fault:
                problems.append(str(fault))
        return problems

    def _decode(self, file: Traversable, with_reduced: bool) -> Fingerprint:
        grey, colour = read_grey_and_colour(file)
        if self._size is not None:
            self._resized[file] = _resized(grey, colour, self._size, self._channels)
        return take_fingerprint(grey, with_reduced=with_reduced)

    def _values(self, file: Traversable) -> NDArray[Any]:
        if file not in self._masks:
            self._keep_values(file, mask_values(file, *read_by(runner.decode, file)))
        content, dtype, shape = self._masks[file]
        return np.frombuffer(zlib.decompress(content), dtype).reshape(shape)

    def _keep_values(self, file: Traversable, values: NDArray[Any]) -> None:
        self._masks[file] = zlib.compress(values.tobytes(), 1), values.dtype.str, values.shape


def united_mask(sample: Sample, region: int = 0) -> NDArray[np.bool_]:
    """The result of `DecodedFiles.united_mask`, decoded."""
    return DecodedFiles().united_mask(sample, region)


def region_masks(sample: Sample, regions: int, nested: bool = True) -> NDArray[np.bool_]:
    """The result of `DecodedFiles.region_masks`, decoded."""
    return DecodedFiles().region_masks(sample, regions, nested)


def _resized(grey: NDArray[np.uint8], colour: NDArray[np.uint8] | None, size: int, channels: int) -> NDArray[np.uint8]:
    if channels == 1:
        return resize_image(grey, size)
    return resize_image(np.repeat(grey[..., None], 3, axis=2) if colour is None else colour, size)
