"""Decoding: a file of any mode Pillow knows to a grey, colour or mask array; a sample to its lesion mask."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from importlib.resources.abc import Traversable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from taichinet.datasets.manifest import BRIGHT, Mask, MaskRule, Sample
from taichinet.errors import DataError

MOST_PIXELS = 2**26
"""A header that claims more pixels than this (8192 x 8192) is refused before anything is decoded."""

_SIXTEEN_BIT = 2**16 - 1
_TURNED_BY_A_QUARTER = (5, 6, 7, 8)  # the EXIF orientations that swap height and width
_ORIENTATION_BLOCKS = ("exif", "xmp", "XML:com.adobe.xmp")
_UNREADABLE = (OSError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
_UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


def read_grey(source: Traversable) -> NDArray[np.uint8]:
    """The image as grey values, (H, W) in 0..255; colour becomes ITU-R 601 luma, transparency black."""
    return np.array(_eight_bit(source).convert("L"))


def read_rgb(source: Traversable) -> NDArray[np.uint8]:
    """The image in colour, (H, W, 3) in 0..255; grey is repeated, transparency becomes black."""
    return np.array(_eight_bit(source).convert("RGB"))


def read_grey_and_colour(source: Traversable) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """The image as `read_grey` and, where its channels differ anywhere, also as `read_rgb` gives it; decoded once."""
    image = _eight_bit(source)
    if image.mode == "L":
        return np.array(image), None
    rgb = np.array(image)
    red = rgb[..., 0]
    if (red == rgb[..., 1]).all() and (red == rgb[..., 2]).all():
        return red.copy(), None
    return np.array(image.convert("L")), rgb


def read_mask(source: Traversable, rule: MaskRule = BRIGHT) -> NDArray[np.bool_]:
    """The mask as (H, W), True where the brightest channel lies in the `rule`'s range; transparency is ignored.

    The brightest channel, not luma, so that a mask painted in pure red or blue counts as painted. A mask read by
    `BRIGHT` whose two values both lie below the range (0 and 1, say) would read as empty: it is refused.
    """
    return _painted(source, _brightness(source), rule)


def mask_reader() -> Callable[[Mask], NDArray[np.bool_]]:
    """`read_mask` for the masks of one sample: a file that paints several regions is decoded once."""
    brightness: dict[Traversable, NDArray[np.uint8]] = {}

    def read(mask: Mask) -> NDArray[np.bool_]:
        if mask.file not in brightness:
            brightness[mask.file] = _brightness(mask.file)
        return _painted(mask.file, brightness[mask.file], mask.rule)

    return read


def _brightness(source: Traversable) -> NDArray[np.uint8]:
    """The brightest channel of each pixel, (H, W); transparency is ignored."""
    values = np.asarray(_eight_bit(source, ignore_alpha=True))
    return values if values.ndim == 2 else values.max(axis=2)


def _painted(source: Traversable, brightness: NDArray[np.uint8], rule: MaskRule) -> NDArray[np.bool_]:
    top = int(brightness.max())
    if rule == BRIGHT and 0 < top < rule.low and np.unique(brightness).size <= 2:
        raise DataError(
            f"{source}: this mask's brightest value is {top}, so no pixel exceeds {rule.low - 1}; "
            "save it with 0 for background and 255 for lesion."
        )
    painted: NDArray[np.bool_] = (brightness >= rule.low) & (brightness <= rule.high)
    return painted


def label_values(source: Traversable) -> frozenset[int]:
    """The values that a label map holds; it must be a file of 8-bit grey, or of one bit (then 0 and 255).

    Colours, palettes and 16 bits are refused: `read_mask` would see other numbers than whoever wrote them meant.
    """
    mode = _open(source).mode
    if mode not in ("1", "L"):
        raise DataError(
            f"{source}: is of mode {mode}, but a label map holds small whole numbers; save it as 8-bit grey, "
            "0 for background."
        )
    return frozenset(np.unique(np.asarray(_eight_bit(source))).tolist())


def image_size(source: Traversable) -> tuple[int, int]:
    """(height, width) in pixels as the readers above return them; the header is read, no pixel decoded."""
    image = _open(source)
    width, height = image.size
    if isinstance(image, TiffImageFile):  # whose `size` is turned already in some versions of Pillow
        width, height = image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength]
    # Pillow decodes a whole PNG to look for an orientation behind the pixels: ask only where one is in front.
    if image.format != "PNG" or not image.info.keys().isdisjoint(_ORIENTATION_BLOCKS):
        try:
            orientation = image.getexif().get(ExifTags.Base.Orientation)
        except _UNDECODABLE as fault:
            raise _damaged(source, fault) from fault
        if orientation in _TURNED_BY_A_QUARTER:
            return width, height
    return height, width


def united_mask(sample: Sample, region: int = 0) -> NDArray[np.bool_]:
    """The mask of one region of `sample`, (H, W): True where any of its masks is; each must have the image's size."""
    return _united(sample, region, image_size(sample.image), mask_reader())


def _united(
    sample: Sample, region: int, size: tuple[int, int], read: Callable[[Mask], NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    united = np.zeros(size, dtype=np.bool_)
    for mask in sample.masks:
        if mask.region != region:
            continue
        painted = read(mask)
        if painted.shape != size:
            raise DataError(other_size(mask.file, painted.shape, size))
        united |= painted
    return united


def region_masks(sample: Sample, regions: int) -> NDArray[np.bool_]:
    """All regions of `sample`, (R, H, W), outer before inner; an inner one counts as part of every outer one."""
    size, read = image_size(sample.image), mask_reader()
    masks = np.stack([_united(sample, region, size, read) for region in range(regions)])
    nested: NDArray[np.bool_] = np.logical_or.accumulate(masks[::-1], axis=0)[::-1]
    return nested


def problems_in(image: Traversable | None, masks: Iterable[Mask]) -> list[str]:
    """Every fault found by decoding the files of one sample whole, one line each; empty where all is well."""
    problems: list[str] = []
    size: tuple[int, ...] | None = None
    if image is not None:
        try:
            size = read_grey(image).shape
        except DataError as fault:
            problems.append(str(fault))
    read = mask_reader()
    for mask in masks:
        try:
            mask_size = read(mask).shape
        except DataError as fault:
            problems.append(str(fault))
        else:
            if size is not None and mask_size != size:
                problems.append(other_size(mask.file, mask_size, size))
    return problems


def _open(source: Traversable) -> Image.Image:
    """The image with its header read and its size found bearable."""
    try:
        content = source.read_bytes()
    except _UNREADABLE as fault:
        raise DataError(
            f"{source}: cannot be read ({fault}); check that the file is there, whole, and yours."
        ) from fault
    if not content:
        raise DataError(f"{source}: holds zero bytes; copy it again from the original.")
    try:
        image = Image.open(BytesIO(content))
    except UnidentifiedImageError as fault:
        raise DataError(
            f"{source}: is no image, or of an unknown kind; save it as PNG, JPEG or TIFF, or remove it."
        ) from fault
    except Image.DecompressionBombError as fault:
        raise _too_large(source, "more pixels than Pillow opens") from fault
    except _UNDECODABLE as fault:
        raise _damaged(source, fault) from fault
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise _too_large(source, f"{height} x {width} pixels")
    return image


def _eight_bit(source: Traversable, ignore_alpha: bool = False) -> Image.Image:
    """The decoded picture (its first frame), upright and opaque, in mode "L" or "RGB"."""
    image = _open(source)
    try:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I") or image.mode == "F":
            return Image.fromarray(_rescaled(source, np.asarray(image)))
        if image.has_transparency_data:
            colour = image.convert("RGBA")
            if not ignore_alpha:
                colour = Image.alpha_composite(Image.new("RGBA", colour.size, (0, 0, 0, 255)), colour)
            return colour.convert("RGB")
        return image.convert("L" if image.mode in ("1", "L") else "RGB")
    except _UNDECODABLE as fault:
        raise _damaged(source, fault) from fault


def _rescaled(source: Traversable, values: NDArray[np.integer] | NDArray[np.floating]) -> NDArray[np.uint8]:
    """Grey values of more than 8 bits, (H, W), as 0..255.

    Integers within 0..65535 are 16-bit (older Pillow opens a 16-bit PNG in mode "I"): their upper byte
    is kept, so that two images of one device stay comparable. All others have no known range and are
    stretched from their least to their greatest value; a constant one is black at 0 or below and white above.
    """
    if not np.isfinite(values).all():
        raise DataError(f"{source}: holds values that are not finite; save it with grey values in 0..255.")
    least, greatest = values.min(), values.max()
    if np.issubdtype(values.dtype, np.integer) and least >= 0 and greatest <= _SIXTEEN_BIT:
        return (values.astype(np.uint16) >> 8).astype(np.uint8)
    if least == greatest:
        return np.full(values.shape, 255 if greatest > 0 else 0, dtype=np.uint8)
    share = (values.astype(np.float64) - float(least)) / (float(greatest) - float(least))
    return np.round(255 * share).astype(np.uint8)


def _damaged(source: Traversable, fault: Exception) -> DataError:
    return DataError(f"{source}: is cut short or damaged ({fault}); copy it again from the original.")


def _too_large(source: Traversable, claim: str) -> DataError:
    return DataError(
        f"{source}: claims {claim}, more than the limit of {MOST_PIXELS} pixels (a decompression bomb?); "
        "save a smaller copy, or remove it."
    )


def other_size(source: Traversable, size: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """What is said of a mask of another size (height, width) than its image's."""
    return (
        f"{source}: the mask is {size[0]} x {size[1]} pixels, its image {wanted[0]} x {wanted[1]} "
        "(height x width); a mask must have its image's size."
    )
