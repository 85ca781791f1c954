"""DecodedFiles: what is kept of each file of a data set after decoding it, so that a run decodes no file twice."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.resources.abc import Traversable

import numpy as np
from numpy.typing import NDArray

from taichinet.datasets.duplicates.fingerprint import Fingerprint, take_fingerprint
from taichinet.datasets.image_io import (
    Header,
    foreground,
    label_values,
    misfit,
    read_colours_and_values,
    read_grey_and_colour,
    read_header,
    read_values,
    resize_image,
)
from taichinet.datasets.sample import Mask
from taichinet.errors import DataError
from taichinet.runner import MOST_BYTES
from taichinet.storage.digest import digest_bytes


@dataclass(frozen=True)
class _Compressed:
    """An array without loss, at about 1% of its size for a mask."""

    content: bytes
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, values: NDArray[np.generic]) -> _Compressed:
        return cls(zlib.compress(values.tobytes(), 1), values.dtype, values.shape)

    def values(self) -> NDArray[np.generic]:
        return np.frombuffer(zlib.decompress(self.content), self.dtype).reshape(self.shape)


class DecodedFiles:
    """Decodes the image and mask files of a data set and keeps what later steps of a run need of them.

    Images at their original resolution are not kept, since those of a large data set do not fit into memory. Kept are
    the digest of the pixels, a thumbnail, and on request the image at two reduced sizes; masks are kept compressed
    without loss. A file of which something else is requested is decoded again. Several threads may use one object.

    Args:
        size: Input resolution in pixels to which images are resized while they are decoded; None for no resizing.
        channels: 1 to resize grey images, 3 to resize RGB images.
    """

    def __init__(self, size: int | None = None, channels: int = 1) -> None:
        self._size = size
        self._channels = channels
        self._keeps_reduced = False
        self._fingerprints: dict[Traversable, Fingerprint] = {}
        self._resized: dict[Traversable, NDArray[np.uint8]] = {}
        self._masks: dict[Traversable, _Compressed] = {}
        self._headers: dict[Traversable, Header] = {}
        self._digests: dict[Traversable, bytes] = {}

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
        """The foreground of a mask, (H, W); raises DataError if it cannot be read."""
        return foreground(mask.file, self._values(mask.file), mask.rule)

    def label_values(self, file: Traversable) -> frozenset[int]:
        """The values that occur in a label map; raises DataError unless it is 8-bit grey or one bit."""
        return label_values(file, lambda: self._values(file))

    def mask_colours(self, file: Traversable) -> NDArray[np.uint8]:
        """The colours of a mask file, (H, W, 3), which are not kept; raises DataError if it cannot be read."""
        colours, values = read_colours_and_values(file)
        self._masks[file] = _Compressed.of(values)
        return colours

    def header(self, file: Traversable) -> Header:
        """The size and orientation of an image or mask file; raises DataError if it cannot be read."""
        if file not in self._headers:
            self._headers[file] = read_header(file)
        return self._headers[file]

    def digest(self, file: Traversable) -> bytes:
        """The SHA-256 of the content of a file; raises DataError for a file that is too large to be decoded."""
        if file not in self._digests:
            with file.open("rb") as stream:
                content = stream.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise DataError(f"{file} has more than {MOST_BYTES} bytes. Save a smaller copy, or remove it.")
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
                if image is not None and (unfit := misfit(image, mask.file, size, self.header)) is not None:
                    problems.append(unfit)
            except DataError as fault:
                problems.append(str(fault))
        return problems

    def _decode(self, file: Traversable, with_reduced: bool) -> Fingerprint:
        grey, colour = read_grey_and_colour(file)
        if self._size is not None:
            self._resized[file] = _resized(grey, colour, self._size, self._channels)
        return take_fingerprint(grey, with_reduced=with_reduced)

    def _values(self, file: Traversable) -> NDArray[np.generic]:
        if file not in self._masks:
            self._masks[file] = _Compressed.of(read_values(file))
        return self._masks[file].values()


def _resized(grey: NDArray[np.uint8], colour: NDArray[np.uint8] | None, size: int, channels: int) -> NDArray[np.uint8]:
    if channels == 1:
        return resize_image(grey, size)
    return resize_image(np.repeat(grey[..., None], 3, axis=2) if colour is None else colour, size)
