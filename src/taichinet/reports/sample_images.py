"""Images of single samples for HTML pages: with the prediction of a network, or with boxes around findings.

They show the images of the data set: they must not be committed or published unless its licence permits this.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from taichinet.datasets.checks.strokes import Box
from taichinet.datasets.image_io import read_grey, read_grey_and_colour, read_rgb, region_masks, united_mask
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.errors import DataError
from taichinet.inference.predictor import Predictor
from taichinet.reports.overlay import PREDICTION, SECOND, TRUTH, outline, overlay

CASE_WIDTH = 480  # pixels; smaller images are enlarged to about this width
MAX_SIDE = 400  # pixels of the longer side of a finding's image; the page shows it at half this size
PADDING = 4  # pixels between a finding and its box
STROKES = (replace(TRUTH, width=2.6), replace(SECOND, width=2.4))  # one per region, from the outermost inwards


def case_images(keys: Iterable[str], manifest: Manifest, predictor: Predictor) -> dict[str, bytes]:
    """Draw ground truth (solid red) and prediction (dashed cyan) on images of a data set.

    Args:
        keys: Keys of the images.
        manifest: The data set.
        predictor: Predicts the masks.

    Returns:
        A PNG file per key.

    Raises:
        DataError: The data set has no image of that key, or its files cannot be read.
    """
    samples = {sample.key: sample for sample in manifest.samples}
    images: dict[str, bytes] = {}
    for key in keys:
        if key not in samples:
            raise DataError(f"{manifest.name} has no image '{key}'. Give keys of its manifest.")
        sample = samples[key]
        grey = read_grey(sample.image)
        prediction = predictor.predict(grey if predictor.channels == 1 else read_rgb(sample.image))
        scale = max(1, round(CASE_WIDTH / grey.shape[1]))
        png = io.BytesIO()
        overlay(grey, united_mask(sample), prediction.mask, scale=scale).save(png, format="PNG", optimize=True)
        images[key] = png.getvalue()
    return images


def finding_image(sample: Sample, regions: int, boxes: Sequence[Box] = ()) -> Image.Image | None:
    """Draw the borders of the masks of a sample, and boxes around what was found in it.

    Args:
        sample: The sample; a colour image is drawn in colour.
        regions: Number of regions, each with a mask.
        boxes: In pixels of the original image.

    Returns:
        RGB image of at most 400 pixels, or None if the sample cannot be read.
    """
    try:
        grey, rgb = read_grey_and_colour(sample.image)
        masks = region_masks(sample, regions)
    except DataError:
        return None
    height, width = grey.shape
    scale = min(1.0, MAX_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(grey if rgb is None else rgb).convert("RGB").resize(size, Image.Resampling.LANCZOS)
    for mask, stroke in zip(masks, STROKES, strict=False):
        outline(image, np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)), stroke)
    pen = ImageDraw.Draw(image)
    for box in boxes:
        left, top = box.left * scale - PADDING, box.top * scale - PADDING
        right, bottom = (box.left + box.width) * scale + PADDING, (box.top + box.height) * scale + PADDING
        pen.rectangle((left, top, right, bottom), outline=PREDICTION.colour, width=2)
    return image
