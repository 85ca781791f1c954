"""The one module of the package that reads pixels: an image file to grey or colour, a mask file to True and False.

The rule for formats, depths, orientation and limits is in docs/data.md. The functions that decode by it are those of
`taichinet.runner`, which is one file without the package, so that both read a file alike; masks are read here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

from taichinet import runner
from taichinet.datasets.manifest import BRIGHT, Mask, MaskRule, Sample
from taichinet.errors import DataError

_TURNED_BY_A_QUARTER = (5, 6, 7, 8)  # the EXIF orientations that swap height and width
_ORIENTATION_BLOCKS = ("exif", "xmp", "XML:com.adobe.xmp")
_UPPER_HALF_OF_16_BITS = 3 * 2**14  # a mask of 16 bits must reach this value, as one of 8 bits 192
_Result = TypeVar("_Result")
_MOST_LABELS = 32  # a mask whose values all lie below this is a label map, not a dim mask


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
    """The mask as (H, W), True where the brightest channel lies in the `rule`'s range.

    The brightest channel, not luma, so that a mask painted in pure red or blue counts as painted. Transparency is the
    mask where the colour is the same everywhere, and is ignored elsewhere.

    Args:
        source: The mask file.
        rule: Which values are painted. By BRIGHT, values of 0 and 1 are read as 0 and 255 too.

    Returns:
        Boolean (H, W), upright by the file's EXIF orientation.

    Raises:
        DataError: The file cannot be read, or holds values other than 0 that `rule` would read as background.
    """
    return _painted(source, _brightness(source), rule)


def mask_reader() -> Callable[[Mask], NDArray[np.bool_]]:
    """`read_mask` for the masks of one sample: a file that paints several regions is decoded once."""
    brightness: dict[Traversable, NDArray[Any]] = {}

    def read(mask: Mask) -> NDArray[np.bool_]:
        if mask.file not in brightness:
            brightness[mask.file] = _brightness(mask.file)
        return _painted(mask.file, brightness[mask.file], mask.rule)

    return read


def _brightness(source: Traversable) -> NDArray[Any]:
    """The brightest channel of each pixel as the file holds it, (H, W): more than 8 bits are not reduced.

    Floats are 0..255; where the colour is the same everywhere and the transparency is not, it is the transparency.
    """
    image, reduced = _read(runner.decode, source)
    if image.mode == "F":
        return _read(lambda file: _at_least_one(runner.rescaled(file, np.asarray(image)), np.asarray(image)), source)
    if image.mode.startswith("I"):
        return np.asarray(image)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    try:
        colour = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    except Exception as fault:  # of a damaged palette or transparency Pillow raises AssertionError too
        raise DataError(f"{source}: is of mode {image.mode}, which is no mask; save it as 8-bit grey.") from fault
    brightest: NDArray[np.uint8] = colour[..., :3].max(axis=2)
    if reduced and brightest.max() < 192:
        raise DataError(
            f"{source}: this mask holds 16 bits a channel, of which the lower 8 are not read; save it as 8-bit grey, "
            "0 for background and 255 for lesion."
        )
    alpha = colour[..., 3] if image.has_transparency_data else brightest[:0]
    if not alpha.size or (alpha == alpha.flat[0]).all():
        return brightest
    if (colour[..., :3] == colour[0, 0, :3]).all():
        return alpha
    if brightest[alpha == 0].any():
        raise DataError(
            f"{source}: this mask has colour where it is transparent, so that it can be read in two ways; save it "
            "without transparency, 0 for background and 255 for lesion."
        )
    return brightest


def _at_least_one(values: NDArray[np.uint8], original: NDArray[Any]) -> NDArray[np.uint8]:
    """`values`, with 1 where a value above 0 was rounded to 0, so that no painted pixel is lost."""
    return np.maximum(values, original > 0, dtype=np.uint8, casting="unsafe")


def _painted(source: Traversable, values: NDArray[Any], rule: MaskRule) -> NDArray[np.bool_]:
    """Where `values`, as `_brightness` gives them, are painted by `rule`."""
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
        # A soft edge or graders who disagree are dim somewhere; where most is dim, the interior of the lesion is.
        if dim and (not bright or (len(held) > 2 and top < 192 and dim > bright)):
            raise _unknown_coding(source, values)
    painted: NDArray[np.bool_] = (values >= rule.low) & (values <= rule.high)
    return painted


def _unknown_coding(source: Traversable, values: NDArray[Any]) -> DataError:
    held = np.unique(values)
    some = ", ".join(str(value) for value in held[:6]) + (f", ..., {held[-1]}" if len(held) > 6 else "")
    if 1 < held[-1] < _MOST_LABELS and held[0] >= 0:
        return DataError(
            f"{source}: this mask holds the values {some}: it is a label map. Declare what they mean with `labels` in "
            "a datalist.json or dataset.json (--data monai=FILE or nnunet=FOLDER, see docs/data.md), or save the "
            "lesion as 255 and all else as 0."
        )
    return DataError(
        f"{source}: this mask's brightest value is {held[-1]} (it holds {some}), which is none of the known codings "
        "(0 and 1, 0 and 255, 0 and 65535, 0.0 and 1.0); save it with 0 for background and 255 for lesion."
    )


def label_values(source: Traversable) -> frozenset[int]:
    """The values that a label map holds; it must be a file of 8-bit grey, or of one bit (then 0 and 255).

    Colours, palettes and 16 bits are refused: `read_mask` would see other numbers than whoever wrote them meant.
    """
    mode = _read(runner.open_image, source).mode
    if mode not in ("1", "L"):
        raise DataError(
            f"{source}: is of mode {mode}, but a label map holds small whole numbers; save it as 8-bit grey, "
            "0 for background."
        )
    return frozenset(np.unique(np.asarray(_eight_bit(source))).tolist())


def image_size(source: Traversable) -> tuple[int, int]:
    """(height, width) in pixels as the readers above return them; the header is read, no pixel decoded."""
    return _header(source)[0]


def _header(source: Traversable) -> tuple[tuple[int, int], int]:
    """(height, width) of the upright image, and the EXIF orientation by which it is turned (1: not at all)."""
    image = _read(runner.open_image, source)
    width, height = image.size
    if isinstance(image, TiffImageFile):  # whose `size` is turned already in some versions of Pillow
        width, height = image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength]
    # Pillow decodes a whole PNG to look for an orientation behind the pixels: ask only where one is in front.
    if image.format == "PNG" and image.info.keys().isdisjoint(_ORIENTATION_BLOCKS):
        return (height, width), 1
    orientation = _read(lambda file: runner.orientation(file, image), source)
    return ((width, height) if orientation in _TURNED_BY_A_QUARTER else (height, width)), orientation


def misfit(image: Traversable, mask: Traversable, mask_size: tuple[int, ...]) -> str | None:
    """What is said of a mask that does not fit its image; None where it does.

    Args:
        image: The image file.
        mask: The mask file.
        mask_size: (height, width) of the mask as read.

    Returns:
        One line with the remedy where the size is another, or where the image is turned by its EXIF orientation, the
        mask is not turned alike, and their size fits either way.

    Raises:
        DataError: A header cannot be read.
    """
    size, turn = _header(image)
    if mask_size != size:
        turned = f" The image is turned by its EXIF orientation {turn}, the mask is not." if turn != 1 else ""
        return other_size(mask, mask_size, size) + turned
    ambiguous = turn != 1 and (turn not in _TURNED_BY_A_QUARTER or size[0] == size[1])
    if ambiguous and _header(mask)[1] != turn:
        return (
            f"{mask}: the image {image} is turned by its EXIF orientation {turn}, the mask is not, and its size does "
            "not show whether it was drawn on the turned image; save both upright, without an EXIF orientation."
        )
    return None


def united_mask(sample: Sample, region: int = 0) -> NDArray[np.bool_]:
    """The mask of one region of `sample`, (H, W): True where any of its masks is; each must have the image's size."""
    return _united(sample, region, mask_reader())


def _united(sample: Sample, region: int, read: Callable[[Mask], NDArray[np.bool_]]) -> NDArray[np.bool_]:
    united = np.zeros(image_size(sample.image), dtype=np.bool_)
    for mask in sample.masks:
        if mask.region != region:
            continue
        painted = read(mask)
        if (fault := misfit(sample.image, mask.file, painted.shape)) is not None:
            raise DataError(fault)
        united |= painted
    return united


def region_masks(sample: Sample, regions: int) -> NDArray[np.bool_]:
    """All regions of `sample`, (R, H, W), outer before inner; an inner one counts as part of every outer one."""
    read = mask_reader()
    masks = np.stack([_united(sample, region, read) for region in range(regions)])
    nested: NDArray[np.bool_] = np.logical_or.accumulate(masks[::-1], axis=0)[::-1]
    return nested


def problems_in(image: Traversable | None, masks: Iterable[Mask]) -> list[str]:
    """Every fault found by decoding the files of one sample whole, one line each; empty where all is well."""
    problems: list[str] = []
    if image is not None:
        try:
            read_grey(image)
        except DataError as fault:
            problems.append(str(fault))
            image = None
    read = mask_reader()
    for mask in masks:
        try:
            painted = read(mask)
            if image is not None and (unfit := misfit(image, mask.file, painted.shape)) is not None:
                problems.append(unfit)
        except DataError as fault:
            problems.append(str(fault))
    return problems


def _eight_bit(source: Traversable) -> Image.Image:
    """The decoded image, upright and opaque, in mode "L" or "RGB"."""
    return _read(runner.eight_bit, source)


def _read(by: Callable[[Traversable], _Result], source: Traversable) -> _Result:
    """What `by` reads from `source`; its ImageError becomes a DataError."""
    try:
        return by(source)
    except runner.ImageError as fault:
        raise DataError(str(fault)) from fault


def other_size(source: Traversable, size: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """What is said of a mask of another size (height, width) than its image's."""
    return (
        f"{source}: the mask is {size[0]} x {size[1]} pixels, its image {wanted[0]} x {wanted[1]} "
        "(height x width); a mask must have its image's size."
    )
