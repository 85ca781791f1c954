"""Pictures of a segmentation: contours on the image, heat maps, and strips of both with captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot
from pathlib import Path

import matplotlib
import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from taichinet.errors import DataError, SettingError

Colour = tuple[int, int, int]
Point = tuple[float, float]
GreyImage = NDArray[np.uint8]
Mask = NDArray[np.bool_]

MAP = "cividis"  # even steps look even, also to colour-blind eyes and in grey
OVERSAMPLING = 4  # strokes are drawn at this multiple and reduced: smooth edges
HALO: Colour = (10, 12, 16)
HALO_OPACITY = 0.55


@dataclass(frozen=True)
class Stroke:
    """How a contour is drawn: lengths in pixels of the finished picture, `dash` as (drawn, left out)."""

    colour: Colour
    width: float
    dash: tuple[float, float] | None = None


# Told apart by hue, by lightness (dark red, light cyan) and by line, so also in print without colour.
TRUTH = Stroke((255, 40, 40), width=3.4)
PREDICTION = Stroke((40, 215, 255), width=2.8, dash=(11.0, 6.5))
SECOND = Stroke((255, 222, 60), width=2.8, dash=(2.0, 6.0))


def overlay(
    image: GreyImage,
    truth: Mask | None = None,
    prediction: Mask | None = None,
    second: Mask | None = None,
    scale: int = 3,
) -> Image.Image:
    """`image` (H, W) enlarged `scale` times, with the borders of up to three masks (H, W).

    Truth is a solid red line as in the paper, `prediction` dashed cyan, `second` (another network's) dotted
    yellow. A mask that is empty or None draws nothing; one that touches the image's edge is closed along it.
    """
    _refuse_image(image)
    picture = _enlarged(Image.fromarray(image), scale, Image.Resampling.BICUBIC).convert("RGB")
    for name, mask, stroke in (
        ("truth", truth, TRUTH),
        ("prediction", prediction, PREDICTION),
        ("second", second, SECOND),
    ):
        if mask is None:
            continue
        _refuse_mask(name, mask, image.shape)
        _draw(picture, mask, stroke, scale)
    return picture


def outline(picture: Image.Image, mask: Mask, stroke: Stroke = TRUTH) -> None:
    """The border of `mask` (H, W) onto `picture`, RGB of the same size; nothing where the mask is empty."""
    _refuse_mask("outline", mask, (picture.height, picture.width))
    _draw(picture, mask, stroke, scale=1)


def heat(values: NDArray[np.floating], image: GreyImage | None = None, scale: int = 3) -> Image.Image:
    """`values` (H, W) in [0, 1] in the colours of cividis, dark blue to yellow, enlarged `scale` times.

    On an `image` (H, W) the colour covers the more the higher the value: what is 0 shows the bare image.
    """
    if values.ndim != 2 or values.size == 0:
        raise DataError(f"The heat map has shape {values.shape}; it is (H, W) with at least one pixel.")
    if not bool(np.isfinite(values).all()) or values.min() < 0 or values.max() > 1:
        raise DataError("The heat map has values outside [0, 1] or not finite; divide by its range first.")
    colours = _enlarged(Image.fromarray(colour_map(values)), scale, Image.Resampling.BILINEAR)
    if image is None:
        return colours
    _refuse_image(image)
    if image.shape != values.shape:
        raise DataError(f"The heat map has shape {values.shape} but the image {image.shape}; resize one of them.")
    cover = Image.fromarray(np.rint(255 * 0.85 * np.sqrt(values)).astype(np.uint8))
    below = _enlarged(Image.fromarray(image), scale, Image.Resampling.BICUBIC).convert("RGB")
    return Image.composite(colours, below, _enlarged(cover, scale, Image.Resampling.BILINEAR))


def colour_map(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Values in [0, 1] of any shape -> RGB (..., 3)."""
    table = np.rint(255 * matplotlib.colormaps[MAP](np.arange(256))[:, :3]).astype(np.uint8)
    rgb: NDArray[np.uint8] = table[np.rint(255 * values).astype(np.uint8)]
    return rgb


def strip(
    images: Sequence[tuple[str, Image.Image]],
    height: int = 320,
    gap: int = 12,
    text_size: int = 17,
    paper: Colour = (255, 255, 255),
    ink: Colour = (32, 36, 42),
) -> Image.Image:
    """Pictures side by side, each `height` pixels high, its caption above; long captions break into lines."""
    if not images:
        raise SettingError("A strip needs at least one picture. Give a list of (caption, picture).")
    # DejaVu comes with matplotlib: the same letters on every machine, and all of Latin, Greek and the signs.
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), text_size)
    resized = [
        picture.convert("RGB").resize(
            (max(1, round(picture.width * height / picture.height)), height), Image.Resampling.LANCZOS
        )
        for _, picture in images
    ]
    captions = [_broken(caption, font, picture.width) for (caption, _), picture in zip(images, resized, strict=True)]
    line = round(1.35 * text_size)
    head = line * max(len(lines) for lines in captions) + gap // 2
    width = sum(picture.width for picture in resized) + gap * (len(images) + 1)
    sheet = Image.new("RGB", (width, head + height + 2 * gap), paper)
    pen = ImageDraw.Draw(sheet)
    left = gap
    for lines, picture in zip(captions, resized, strict=True):
        top = gap + head - gap // 2 - line * len(lines)  # the last lines stand on one level
        for number, text in enumerate(lines):
            pen.text((left, top + number * line), text, fill=ink, font=font)
        sheet.paste(picture, (left, gap + head))
        left += picture.width + gap
    return sheet


def _enlarged(picture: Image.Image, scale: int, how: Image.Resampling) -> Image.Image:
    if scale < 1:
        raise SettingError(f"scale is {scale}; give a whole number of at least 1.")
    return picture if scale == 1 else picture.resize((picture.width * scale, picture.height * scale), how)


def _draw(picture: Image.Image, mask: Mask, stroke: Stroke, scale: int) -> None:
    """The border of `mask` onto `picture`, over a dark halo that sets it off from bright tissue."""
    lines = [
        piece for line in contours(mask, scale) for piece in ([line] if stroke.dash is None else _dashes(line, stroke))
    ]
    for colour, width, opacity in (
        (HALO, stroke.width + 1.6, HALO_OPACITY),
        (stroke.colour, stroke.width, 1.0),
    ):
        large = Image.new("L", (picture.width * OVERSAMPLING, picture.height * OVERSAMPLING))
        pen = ImageDraw.Draw(large)
        for line in lines:
            _stroke(pen, [(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in line], width * OVERSAMPLING)
        cover = large.resize(picture.size, Image.Resampling.BOX).point(lambda value, o=opacity: value * o)
        picture.paste(colour, (0, 0), cover)


def _stroke(pen: ImageDraw.ImageDraw, line: list[Point], width: float) -> None:
    pen.line(line, fill=255, width=round(width))
    for x, y in line:  # round joints and ends
        pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)


def contours(mask: Mask, scale: int) -> list[list[Point]]:
    """Closed curves (x, y) around `mask` in pixels of the enlarged picture, half way between in and out."""
    padded = np.pad(mask, 1).astype(np.float64)  # a lesion at the image's edge gets a closed border too
    height, width = mask.shape
    curves = []
    for line in contour_generator(z=padded).lines(0.5):
        # Index 1 of the padded mask is the centre of the first pixel, 0.5 from the picture's corner.
        points = (np.asarray(line) - 0.5) * scale
        # Along the image's edge the line is kept inside by its own half width.
        points = points.clip(1.0, np.array([width, height]) * scale - 1.0)
        curves.append([(float(x), float(y)) for x, y in points])
    return curves


def _dashes(line: list[Point], stroke: Stroke) -> Iterator[list[Point]]:
    """The drawn pieces of `line`; lengths are fitted so that a closed curve shows no seam."""
    drawn, left_out = stroke.dash or (1.0, 0.0)
    length = sum(hypot(x1 - x0, y1 - y0) for (x0, y0), (x1, y1) in pairwise(line))
    if length == 0:
        yield line
        return
    period = length / max(1, round(length / (drawn + left_out)))
    drawn *= period / (drawn + left_out)
    steps = np.append(0, np.cumsum([hypot(x1 - x0, y1 - y0) for (x0, y0), (x1, y1) in pairwise(line)]))
    xs, ys = np.array([p[0] for p in line]), np.array([p[1] for p in line])
    for start in np.arange(0, length - period / 2, period):
        at = np.linspace(start, start + drawn, max(2, round(drawn)))
        yield [(float(x), float(y)) for x, y in zip(np.interp(at, steps, xs), np.interp(at, steps, ys), strict=True)]


def _broken(caption: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """`caption` in lines no wider than `width` pixels; a single word may be wider."""
    lines: list[str] = []
    for word in caption.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


def _refuse_image(image: GreyImage) -> None:
    if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
        raise DataError(
            f"The image has shape {image.shape} and type {image.dtype}; an overlay takes grey values, (H, W) of uint8."
        )


def _refuse_mask(name: str, mask: Mask, shape: tuple[int, ...]) -> None:
    if mask.dtype != np.bool_ or mask.shape != shape:
        raise DataError(
            f"The mask '{name}' has shape {mask.shape} and type {mask.dtype} on an image of {shape}; "
            "give bool of the image's shape."
        )
