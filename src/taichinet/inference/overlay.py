"""Overlay of one prediction: the image with the contour of the mask and its bounding box. No torch, no matplotlib."""

from __future__ import annotations

import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from taichinet.errors import DataError

SMALLEST_SIDE, LARGEST_SIDE = 512, 1600  # of the longer side, in pixels
CONTOUR, BOX, HALO = (40, 215, 255), (255, 222, 60), (10, 12, 16)  # cyan and yellow differ for all colour-blind readers

_SIDE_PER_LINE = 200  # the contour is 3 px wide at 512 px, 8 px at 1600 px
_FINER = 2  # lines are drawn at twice the resolution and averaged, since Pillow's lines have no smooth edges
_FEWEST_POINTS = 12  # of a contour of which points are left out


def overlay(
    pixels: NDArray[np.uint8], mask: NDArray[np.bool_], box: tuple[int, int, int, int] | None = None
) -> Image.Image:
    """Draw the contour of a mask (cyan) and a bounding box (thinner, yellow) on an image, each with a dark border.

    Images whose longer side is below SMALLEST_SIDE are enlarged by a whole factor, those above LARGEST_SIDE are
    reduced, so that the lines, whose width grows with the result, are readable and do not cover the lesion.

    Args:
        pixels: uint8, (H, W) grey or (H, W, 3) RGB.
        mask: bool (H, W). If it is empty, no contour is drawn.
        box: (top, left, bottom, right) in pixels of the image: rows top to bottom - 1, columns left to right - 1.

    Returns:
        RGB image, with the proportions of `pixels`.

    Raises:
        DataError: The image is not uint8 grey or RGB, the mask is not boolean or has another height or width, or the
            box is not within the image.
    """
    is_image = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if pixels.dtype != np.uint8 or not is_image or not pixels.size:
        raise DataError(
            f"The image has shape {pixels.shape} and type {pixels.dtype}; expected uint8 (H, W) or (H, W, 3)."
        )
    if mask.dtype != np.bool_ or mask.shape != pixels.shape[:2]:
        raise DataError(
            f"The mask has shape {mask.shape} and type {mask.dtype}; expected bool of shape {pixels.shape[:2]}."
        )
    return draw(viewable(pixels), mask, box)


def viewable(pixels: NDArray[np.uint8]) -> Image.Image:
    """The image of uint8 `pixels`, (H, W) or (H, W, 3), enlarged or reduced as in `overlay`; for `draw`."""
    image = Image.fromarray(pixels)
    longest = max(image.size)
    factor = LARGEST_SIDE / longest if longest > LARGEST_SIDE else max(1, -(-SMALLEST_SIDE // longest))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def draw(image: Image.Image, mask: NDArray[np.bool_], box: tuple[int, int, int, int] | None = None) -> Image.Image:
    """Draw on an image that was enlarged or reduced.

    Args:
        image: A result of `viewable`; it is not changed.
        mask: bool (H, W), at the original resolution.
        box: (top, left, bottom, right) at the original resolution.

    Returns:
        RGB image of the size of `image`.

    Raises:
        DataError: The box is not within the mask.
    """
    drawn = image.convert("RGB") if image.mode != "RGB" else image.copy()
    width = max(2, round(max(drawn.size) / _SIDE_PER_LINE))
    if box is not None:
        _draw(drawn, _rectangle(box, mask.shape, drawn.size, 1.5 * width), BOX, (width + 1) // 2)
    for points in _contours(mask, drawn.size):
        step = max(1, min(int(width / np.abs(np.diff(points, axis=0)).max()), len(points) // _FEWEST_POINTS))
        _draw(drawn, np.concatenate([points[:-1:step], points[-1:]]), CONTOUR, width)
    return drawn


def _contours(mask: NDArray[np.bool_], size: tuple[int, int]) -> list[NDArray[np.float64]]:
    """The closed borders of a mask, each as (N, 2) points (x, y) in pixels of an image of `size` (width, height)."""
    values = mask.astype(np.float32)
    if size[0] < mask.shape[1] or size[1] < mask.shape[0]:  # fewer points, none of which are visible
        values = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BOX))
    scale = (size[0] / values.shape[1], size[1] / values.shape[0])
    padded = np.pad(values, 1)  # also closes the border of a lesion at the edge of the image
    # Index 1 of the padded mask is the centre of the first pixel, 0.5 from the corner of the image.
    return [(np.asarray(line) - 0.5) * scale for line in contour_generator(z=padded).lines(0.5)]


def _rectangle(
    box: tuple[int, int, int, int], shape: tuple[int, ...], size: tuple[int, int], margin: float
) -> NDArray[np.float64]:
    """The closed line around `box` in an image of `size`, `margin` outside so that it does not cover the contour."""
    top, left, bottom, right = box
    if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
        raise DataError(f"The box {tuple(box)} (top, left, bottom, right) is not within an image of shape {shape}.")
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])
    outwards = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)])
    return corners * (size[0] / shape[1], size[1] / shape[0]) + margin * outwards


def _draw(image: Image.Image, points: NDArray[np.float64], colour: tuple[int, int, int], width: int) -> None:
    """Draw a closed line on a dark border. Only the part of the image around the line is computed."""
    points = points.clip(width / 2, np.array(image.size) - width / 2)
    border = max(1, width // 2)
    reach = width + border + 1
    x0, y0 = np.maximum(points.min(axis=0) - reach, 0).astype(int).tolist()
    x1, y1 = np.minimum(points.max(axis=0) + reach + 1, image.size).astype(int).tolist()
    line = [tuple(point) for point in ((points - (x0, y0)) * _FINER).tolist()]
    for line_colour, line_width, opacity in ((HALO, width + 2 * border, 0.55), (colour, width, 1.0)):
        layer = Image.new("L", ((x1 - x0) * _FINER, (y1 - y0) * _FINER))
        ImageDraw.Draw(layer).line(line, fill=round(255 * opacity), width=line_width * _FINER, joint="curve")
        image.paste(line_colour, (x0, y0), layer.reduce(_FINER))
