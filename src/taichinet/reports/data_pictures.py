"""Pictures of findings: a sample as small as a page can bear, its masks outlined and the places in question boxed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from taichinet.datasets.checks.strokes import Box
from taichinet.datasets.image_io import read_grey_and_colour, region_masks
from taichinet.datasets.manifest import Sample
from taichinet.errors import DataError
from taichinet.reports.overlay import PREDICTION, SECOND, TRUTH, outline

SIDE = 400  # pixels of the longer side; a page shows it at half of that
PADDING = 4  # pixels between what is in question and its box
STROKES = (replace(TRUTH, width=2.6), replace(SECOND, width=2.4))  # regions from the outermost inwards


def sample_picture(sample: Sample, regions: int, boxes: Sequence[Box] = ()) -> Image.Image | None:
    """`sample` in its own colours at no more than 400 pixels, or None where it cannot be read."""
    try:
        grey, rgb = read_grey_and_colour(sample.image)
        masks = region_masks(sample, regions)
    except DataError:
        return None
    height, width = grey.shape
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray(grey if rgb is None else rgb).convert("RGB").resize(size, Image.Resampling.LANCZOS)
    for mask, stroke in zip(masks, STROKES, strict=False):
        outline(picture, np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)), stroke)
    pen = ImageDraw.Draw(picture)
    for box in boxes:
        left, top = box.left * scale - PADDING, box.top * scale - PADDING
        right, bottom = (box.left + box.width) * scale + PADDING, (box.top + box.height) * scale + PADDING
        pen.rectangle((left, top, right, bottom), outline=PREDICTION.colour, width=2)
    return picture
