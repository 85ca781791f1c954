"""Images of a segmentation: contours on the image, heat maps, and strips of both with captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from contourpy import contour_generator
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, withStroke
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from taichinet.errors import DataError

Colour = tuple[int, int, int]
GreyImage = NDArray[np.uint8]
Mask = NDArray[np.bool_]

COLOUR_MAP = "cividis"  # perceptually uniform, also for colour-blind readers and in greyscale


@dataclass(frozen=True)
class Stroke:
    """Line of a contour; lengths in pixels of the final image."""

    name: str
    colour: Colour
    width: float
    dash: tuple[float, float] | None = None  # length of the dashes and of the gaps; None for a solid line


# They differ in hue, in lightness (dark red, light cyan) and in their dashes, so also in print without colour.
TRUTH = Stroke("ground truth", (255, 40, 40), width=3.4)
PREDICTION = Stroke("prediction", (40, 215, 255), width=2.8, dash=(11.0, 6.5))
SECOND = Stroke("second prediction", (255, 222, 60), width=2.8, dash=(2.0, 6.0))


def overlay(
    image: GreyImage,
    truth: Mask | None = None,
    prediction: Mask | None = None,
    second: Mask | None = None,
    scale: int = 3,
) -> Image.Image:
    """Draw the borders of up to three masks on an image. A mask that is None or empty is not drawn.

    Args:
        image: (H, W), uint8.
        truth: Ground truth (H, W), drawn as a solid red line.
        prediction: (H, W), drawn as a dashed cyan line.
        second: Prediction of another network (H, W), drawn as a dotted yellow line.
        scale: Factor by which the image is enlarged.

    Returns:
        RGB image of (scale * H, scale * W).

    Raises:
        DataError: The image is not grey, or a mask is not boolean or has another shape.
    """
    if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
        raise DataError(
            f"The image has shape {image.shape} and type {image.dtype}; expected grey values, (H, W) of uint8."
        )
    drawn = _enlarged(Image.fromarray(image), scale, Image.Resampling.BICUBIC).convert("RGB")
    for mask, stroke in ((truth, TRUTH), (prediction, PREDICTION), (second, SECOND)):
        if mask is not None:
            outline(drawn, mask, stroke, scale)
    return drawn


def outline(image: Image.Image, mask: Mask, stroke: Stroke, scale: int = 1) -> None:
    """Draw the border of a mask, over a dark halo that separates it from bright tissue.

    Args:
        image: RGB image of (scale * H, scale * W); changed in place.
        mask: bool (H, W); otherwise a DataError is raised. If it is empty, nothing is drawn.
        stroke: The line.
        scale: Factor by which the mask is enlarged.
    """
    expected = (image.height // scale, image.width // scale)
    if mask.dtype != np.bool_ or mask.shape != expected:
        raise DataError(
            f"The mask '{stroke.name}' has shape {mask.shape} and type {mask.dtype}; expected bool of shape {expected}."
        )
    # At 72 dpi, a point is one pixel.
    renderer = RendererAgg(image.width, image.height, dpi=72)  # type: ignore[no-untyped-call]
    colour: Any = tuple(channel / 255 for channel in stroke.colour)
    style: Any = "solid" if stroke.dash is None else (0, tuple(length / stroke.width for length in stroke.dash))
    halo = withStroke(linewidth=stroke.width + 1.6, foreground=(10 / 255, 12 / 255, 16 / 255), alpha=0.55)
    for points in contours(mask, scale):
        line = Line2D(
            *points.T,
            color=colour,
            linewidth=stroke.width,
            linestyle=style,
            path_effects=[halo, Normal()],
            solid_capstyle="round",
            dash_capstyle="round",
            dash_joinstyle="round",
            snap=False,
            transform=Affine2D().scale(1, -1).translate(0, image.height),
        )
        line.draw(renderer)
    layer = Image.fromarray(np.asarray(renderer.buffer_rgba()))  # type: ignore[no-untyped-call]
    image.paste(layer, mask=layer)


def contours(mask: Mask, scale: int = 1) -> list[NDArray[np.float64]]:
    """Return the closed borders of `mask` (H, W), each as (N, 2) points (x, y) in pixels of the enlarged image."""
    padded = np.pad(mask, 1).astype(np.float64)  # also closes the border of a lesion at the edge of the image
    height, width = mask.shape
    # Index 1 of the padded mask is the centre of the first pixel, 0.5 from the corner of the image. At the edge of the
    # image, the line is moved inwards by half its width.
    limits = np.array([width, height]) * scale - 1.0
    return [((np.asarray(line) - 0.5) * scale).clip(1.0, limits) for line in contour_generator(z=padded).lines(0.5)]


def heat(values: NDArray[np.floating], scale: int = 3) -> Image.Image:
    """Draw a heat map (H, W) in the colours of cividis, from dark blue for 0 to yellow for 1, enlarged by `scale`.

    Raises:
        DataError: The map has a wrong shape or values outside [0, 1].
    """
    if values.ndim != 2 or values.size == 0:
        raise DataError(f"The heat map has shape {values.shape}; expected (H, W) with at least one pixel.")
    if not bool(np.isfinite(values).all()) or values.min() < 0 or values.max() > 1:
        raise DataError("The heat map has values that are not finite or outside [0, 1]; normalise it first.")
    return _enlarged(Image.fromarray(colour_map(values)), scale, Image.Resampling.BILINEAR)


def colour_map(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Convert values in [0, 1] of any shape to RGB (..., 3)."""
    table = np.rint(255 * matplotlib.colormaps[COLOUR_MAP](np.arange(256))[:, :3]).astype(np.uint8)
    rgb: NDArray[np.uint8] = table[np.rint(255 * values).astype(np.uint8)]
    return rgb


def strip(images: Sequence[tuple[str, Image.Image]], height: int = 320) -> Image.Image:
    """Place at least one (caption, image) side by side at a common height in pixels, each with its caption above."""
    gap, text_size = 12, 17
    line_height = round(1.35 * text_size)
    # DejaVu is included in matplotlib: the same font on every machine, with Latin and Greek letters and symbols.
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), text_size)
    resized = [
        image.convert("RGB").resize(
            (max(1, round(image.width * height / image.height)), height), Image.Resampling.LANCZOS
        )
        for _, image in images
    ]
    captions = [wrap(caption, image.width, font.getlength) for (caption, _), image in zip(images, resized, strict=True)]
    top = gap + gap // 2 + line_height * max(len(lines) for lines in captions)
    width = sum(image.width for image in resized) + gap * (len(images) + 1)
    sheet = Image.new("RGB", (width, top + height + gap), "white")
    pen = ImageDraw.Draw(sheet)
    left = gap
    for lines, image in zip(captions, resized, strict=True):
        for number, text in enumerate(reversed(lines), start=1):  # captions are aligned at the bottom
            pen.text((left, top - gap // 2 - number * line_height), text, fill=(32, 36, 42), font=font)
        sheet.paste(image, (left, top))
        left += image.width + gap
    return sheet


def wrap(text: str, width: float, measure: Callable[[str], float]) -> list[str]:
    """Break `text` at spaces and line feeds into lines with `measure(line) <= width`, unless a word is wider."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        lines.append("")
        for word in paragraph.split():
            extended = f"{lines[-1]} {word}".strip()
            if lines[-1] and measure(extended) > width:
                lines.append(word)
            else:
                lines[-1] = extended
    return lines


def _enlarged(image: Image.Image, scale: int, resampling: Image.Resampling) -> Image.Image:
    return image.resize((image.width * scale, image.height * scale), resampling)
