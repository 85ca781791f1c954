"""Pictures of single cases for a validation card: the image with truth and prediction, as PNG in memory."""

from __future__ import annotations

import io
from collections.abc import Iterable

from taichinet.datasets.image_io import read_grey, read_rgb, united_mask
from taichinet.datasets.manifest import Manifest
from taichinet.errors import DataError
from taichinet.inference.predictor import Predictor
from taichinet.reports.overlay import overlay

WIDTH = 480  # pixels of a picture at least, where the image is smaller


def case_pictures(keys: Iterable[str], manifest: Manifest, predictor: Predictor) -> dict[str, bytes]:
    """A PNG for each of `keys`: truth as a solid red line, the prediction dashed cyan, at the image's own size.

    They show the data set's images, so they stay where the run is: nothing of them may be committed.
    """
    samples = {sample.key: sample for sample in manifest.samples}
    pictures: dict[str, bytes] = {}
    for key in keys:
        if key not in samples:
            raise DataError(f"'{key}' is no image of {manifest.name}. Give keys as its manifest lists them.")
        sample = samples[key]
        grey = read_grey(sample.image)
        prediction = predictor.predict(grey if predictor.channels == 1 else read_rgb(sample.image))
        scale = max(1, round(WIDTH / grey.shape[1]))
        memory = io.BytesIO()
        overlay(grey, united_mask(sample), prediction.mask, scale=scale).save(memory, format="PNG", optimize=True)
        pictures[key] = memory.getvalue()
    return pictures
