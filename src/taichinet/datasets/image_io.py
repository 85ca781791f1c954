"""Reads and resizes pixels: image files as grey values or colours, mask files as True and False.

`DecodedFiles` keeps what later steps need of each file, so that a run decodes no file twice. The rule for formats, bit
depths, orientation and limits is in docs/data.md. It is implemented in `taichinet.runner`, which is used without the
package as well, so that both read a file alike. Only the rule for masks is implemented here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL import __version__ as pillow_version
from PIL.TiffImagePlugin import TiffImageFile

from taichinet import runner
from taichinet.datasets.duplicates.fingerprint import Fingerprint, take_fingerprint
from taichinet.datasets.sample import BRIGHT, Mask, MaskRule, Sample
from taichinet.errors import DataError
from taichinet.storage.digest import digest_bytes

RECIPE = (
    2  # increase it if the same files give other resized pixels, so that old cache entries and bundles are not read
)

_TURNED_BY_A_QUARTER = (5, 6, 7, 8)  # the EXIF orientations that swap height and width
_ORIENTATION_BLOCKS = ("exif", "xmp", "XML:com.adobe.xmp")
_UPPER_HALF_OF_16_BITS = 3 * 2**14  # a mask of 16 bits must reach this value, as one of 8 bits 192
_Result = TypeVar("_Result")
_MOST_LABELS = 32  # a mask whose values all lie below this is a label map, not a dim mask


def read_grey(source: Traversable) -> NDArray[np.uint8]:
    """Read an image file as grey values.

    Args:
        source: A file in a folder or in a zip file.

    Returns:
        uint8 (H, W), upright; colour is converted by ITU-R 601, and transparent pixels are black.

    Raises:
        DataError: The file cannot be read.
    """
    return np.array(_read(runner.eight_bit, source).convert("L"))


def read_rgb(source: Traversable) -> NDArray[np.uint8]:
    """Read an image file as colours: uint8 (H, W, 3), otherwise as `read_grey`."""
    return np.array(_read(runner.eight_bit, source).convert("RGB"))


def read_grey_and_colour(source: Traversable) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """The results of `read_grey` and of `read_rgb` with one decoding; no colours if all channels are equal."""
    image = _read(runner.eight_bit, source)
    if image.mode == "L":
        return np.array(image), None
    rgb = np.array(image)
    red = rgb[..., 0]
    if (red == rgb[..., 1]).all() and (red == rgb[..., 2]).all():
        return red.copy(), None
    return np.array(image.convert("L")), rgb


def _mask_values(source: Traversable, image: Image.Image, reduced: bool) -> NDArray[Any]:
    """The brightest channel of each pixel of a decoded mask file, (H, W), with the bit depth of the file.

    Not the luma, so that masks in pure red or blue are read correctly. Floats are scaled to 0..255. If the colour is
    the same everywhere and the transparency is not, the transparency is returned.
    """
    if image.mode == "F":
        return _read(lambda file: _at_least_one(runner.rescaled(file, np.asarray(image)), np.asarray(image)), source)
    if image.mode.startswith("I"):
        return np.asarray(image)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    try:
        colour = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    except Exception as fault:  # Pillow raises AssertionError as well for a damaged palette or transparency
        raise DataError(f"{source}: mode {image.mode} is not supported for masks; save it as 8-bit grey.") from fault
    brightest: NDArray[np.uint8] = colour[..., :3].max(axis=2)
    if reduced and brightest.max() < 192:
        raise DataError(
            f"{source}: this mask has 16 bits per channel, of which only the upper 8 are read; save it as 8-bit grey, "
            "0 for background and 255 for lesion."
        )
    alpha = colour[..., 3] if image.has_transparency_data else brightest[:0]
    if not alpha.size or (alpha == alpha.flat[0]).all():
        return brightest
    if (colour[..., :3] == colour[0, 0, :3]).all():
        return alpha
    if brightest[alpha == 0].any():
        raise DataError(
            f"{source}: this mask has colour where it is transparent and is therefore ambiguous; save it without "
            "transparency, 0 for background and 255 for lesion."
        )
    return brightest


def _at_least_one(values: NDArray[np.uint8], original: NDArray[Any]) -> NDArray[np.uint8]:
    """`values`, with 1 where a value above 0 was rounded to 0, so that no foreground pixel is lost."""
    return np.maximum(values, original > 0, dtype=np.uint8, casting="unsafe")


def _foreground(source: Traversable, values: NDArray[Any], rule: MaskRule) -> NDArray[np.bool_]:
    """The pixels that `rule` reads as foreground; raises DataError if the values are not a known coding of masks."""
    least, top = int(values.min()), int(values.max())
    if least < 0 or top > 2**16 - 1 or 255 < top < _UPPER_HALF_OF_16_BITS:
        raise _unknown_coding(source, values)
    if top > 255:
        values = _at_least_one((values >> 8).astype(np.uint8), values)
        top = int(values.max())
    if rule == BRIGHT:
        if top == 1:
            return values > 0
        held = np.unique(values)
        bright = np.count_nonzero(values >= rule.low)
        dim = np.count_nonzero(values) - bright
        # Soft edges and disagreement of annotators give some dim pixels; if most are dim, the lesion itself is.
        if dim and (not bright or (len(held) > 2 and top < 192 and dim > bright)):
            raise _unknown_coding(source, values)
    inside: NDArray[np.bool_] = (values >= rule.low) & (values <= rule.high)
    return inside


def _unknown_coding(source: Traversable, values: NDArray[Any]) -> DataError:
    held = np.unique(values)
    some = ", ".join(str(value) for value in held[:6]) + (f", ..., {held[-1]}" if len(held) > 6 else "")
    if 1 < held[-1] < _MOST_LABELS and held[0] >= 0:
        return DataError(
            f"{source}: this mask has the values {some}: it is a label map. Declare their meaning with `labels` in a "
            "datalist.json or dataset.json (--data monai=FILE or nnunet=FOLDER, see docs/data.md), or save the lesion "
            "as 255 and everything else as 0."
        )
    return DataError(
        f"{source}: the greatest value of this mask is {held[-1]} (values: {some}), which is not a known coding (0 "
        "and 1, 0 and 255, 0 and 65535, 0.0 and 1.0); save it with 0 for background and 255 for lesion."
    )


@dataclass(frozen=True)
class Header:
    """`size` (height, width) of the upright image, and the EXIF orientation by which it is turned (1: not at all)."""

    size: tuple[int, int]
    orientation: int = 1


def read_header(source: Traversable) -> Header:
    """Read the size and orientation of an image file without decoding it.

    Args:
        source: A file in a folder or in a zip file.

    Returns:
        The header; its size is that of the arrays which the functions above return.

    Raises:
        DataError: The file cannot be read.
    """
    image = _read(runner.open_image, source)
    width, height = image.size
    if isinstance(image, TiffImageFile):  # whose `size` is turned already in some versions of Pillow
        width, height = image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength]
    # Pillow decodes a whole PNG to look for an orientation after the pixels; only one before them is looked for.
    if image.format == "PNG" and image.info.keys().isdisjoint(_ORIENTATION_BLOCKS):
        return Header((height, width))
    orientation = _read(lambda file: runner.orientation(file, image), source)
    turned = orientation in _TURNED_BY_A_QUARTER
    return Header((width, height) if turned else (height, width), orientation)


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
        return _foreground(mask.file, self._values(mask.file), mask.rule)

    def label_values(self, file: Traversable) -> frozenset[int]:
        """The values that occur in a label map, which must be 8-bit grey or one bit (then 0 and 255).

        Colours, palettes and 16 bits are refused, since their values would be read differently than they were written.

        Raises:
            DataError: The file cannot be read or has another mode.
        """
        mode = _read(runner.open_image, file).mode
        if mode not in ("1", "L"):
            raise DataError(
                f"{file}: mode {mode} is not supported for label maps, which are small integers; save it as 8-bit "
                "grey, 0 for background."
            )
        return frozenset(np.unique(self._values(file)).tolist())

    def mask_colours(self, file: Traversable) -> NDArray[np.uint8]:
        """The colours of a mask file, (H, W, 3), which are not kept; raises DataError if it cannot be read."""
        image, reduced = _read(runner.decode, file)
        opaque = _read(lambda source: runner.opaque(source, image, reduced), file)
        self._keep_values(file, _mask_values(file, image, reduced))
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

    def region_masks(self, sample: Sample, regions: int) -> NDArray[np.bool_]:
        """The masks of all `regions` of a sample, bool (R, H, W), outer before inner; raises DataError.

        Inner regions count as part of the outer ones.
        """
        masks = np.stack([self.united_mask(sample, region) for region in range(regions)])
        nested: NDArray[np.bool_] = np.logical_or.accumulate(masks[::-1], axis=0)[::-1]
        return nested

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
        ambiguous = turn != 1 and (turn not in _TURNED_BY_A_QUARTER or size[0] == size[1])
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
            self._keep_values(file, _mask_values(file, *_read(runner.decode, file)))
        content, dtype, shape = self._masks[file]
        return np.frombuffer(zlib.decompress(content), dtype).reshape(shape)

    def _keep_values(self, file: Traversable, values: NDArray[Any]) -> None:
        self._masks[file] = zlib.compress(values.tobytes(), 1), values.dtype.str, values.shape


def united_mask(sample: Sample, region: int = 0) -> NDArray[np.bool_]:
    """The result of `DecodedFiles.united_mask`, decoded."""
    return DecodedFiles().united_mask(sample, region)


def region_masks(sample: Sample, regions: int) -> NDArray[np.bool_]:
    """The result of `DecodedFiles.region_masks`, decoded."""
    return DecodedFiles().region_masks(sample, regions)


def _resized(grey: NDArray[np.uint8], colour: NDArray[np.uint8] | None, size: int, channels: int) -> NDArray[np.uint8]:
    if channels == 1:
        return resize_image(grey, size)
    return resize_image(np.repeat(grey[..., None], 3, axis=2) if colour is None else colour, size)


def resize_image(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize an image, uint8 (H, W) or (H, W, 3), to `size` x `size` with antialiased bilinear interpolation."""
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))


def resize_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.uint8]:
    """Resize a mask, bool (H, W), to uint8 0 or 1 (size, size) by nearest neighbour."""
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST))


def _read(by: Callable[[Traversable], _Result], source: Traversable) -> _Result:
    """What `by` reads from `source`; its ImageError becomes a DataError."""
    try:
        return by(source)
    except runner.ImageError as fault:
        raise DataError(str(fault)) from fault
