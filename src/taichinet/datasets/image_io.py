"""Reads and resizes pixels: image files as grey values or colours, mask files as True and False.

The rule for formats, bit depths, orientation and limits is in docs/reference/image-files.md. It is implemented in
`taichinet.runner`, which is used without the package as well, so that both read a file alike. Only the rule for masks
is implemented here.
`decoded.py` keeps what is read, so that a run decodes no file twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

from taichinet import runner
from taichinet.datasets.sample import BRIGHT, MaskRule
from taichinet.errors import DataError

RECIPE = (
    2  # increase it if the same files give other resized pixels, so that old cache entries and bundles are not read
)

TURNED_BY_A_QUARTER = (5, 6, 7, 8)  # the EXIF orientations that swap height and width
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
    return np.array(read_by(runner.eight_bit, source).convert("L"))


def read_rgb(source: Traversable) -> NDArray[np.uint8]:
    """Read an image file as colours: uint8 (H, W, 3), otherwise as `read_grey`."""
    return np.array(read_by(runner.eight_bit, source).convert("RGB"))


def read_grey_and_colour(source: Traversable) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """The results of `read_grey` and of `read_rgb` with one decoding; no colours if all channels are equal."""
    image = read_by(runner.eight_bit, source)
    if image.mode == "L":
        return np.array(image), None
    rgb = np.array(image)
    red = rgb[..., 0]
    if (red == rgb[..., 1]).all() and (red == rgb[..., 2]).all():
        return red.copy(), None
    return np.array(image.convert("L")), rgb


def mask_values(source: Traversable, image: Image.Image, reduced: bool) -> NDArray[Any]:
    """The brightest channel of each pixel of a decoded mask file, (H, W), with the bit depth of the file.

    Not the luma, so that masks in pure red or blue are read correctly. Floats are scaled to 0..255. If the colour is
    the same everywhere and the transparency is not, the transparency is returned.

    Args:
        source: The mask file, for messages.
        image: The decoded file, as returned by `runner.decode`.
        reduced: Whether 16 bits per channel were reduced to 8 while decoding, as returned by `runner.decode`.

    Raises:
        DataError: The mode is not supported for masks, or the mask is ambiguous.
    """
    if image.mode == "F":
        return read_by(lambda file: _at_least_one(runner.rescaled(file, np.asarray(image)), np.asarray(image)), source)
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


def foreground(source: Traversable, values: NDArray[Any], rule: MaskRule) -> NDArray[np.bool_]:
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
            "datalist.json or dataset.json (--data monai=FILE or nnunet=FOLDER, see docs/compare/formats.md), or save "
            "the lesion as 255 and everything else as 0."
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
    image = read_by(runner.open_image, source)
    width, height = image.size
    if isinstance(image, TiffImageFile):  # whose `size` is turned already in some versions of Pillow
        width, height = image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength]
    # Pillow decodes a whole PNG to look for an orientation after the pixels; only one before them is looked for.
    if image.format == "PNG" and image.info.keys().isdisjoint(_ORIENTATION_BLOCKS):
        return Header((height, width))
    orientation = read_by(lambda file: runner.orientation(file, image), source)
    turned = orientation in TURNED_BY_A_QUARTER
    return Header((width, height) if turned else (height, width), orientation)


def resize_image(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize an image, uint8 (H, W) or (H, W, 3), to `size` x `size` with antialiased bilinear interpolation."""
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))


def resize_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.uint8]:
    """Resize a mask, bool (H, W), to uint8 0 or 1 (size, size) by nearest neighbour."""
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST))


def read_by(by: Callable[[Traversable], _Result], source: Traversable) -> _Result:
    """What `by` reads from `source`; its ImageError becomes a DataError."""
    try:
        return by(source)
    except runner.ImageError as fault:
        raise DataError(str(fault)) from fault
