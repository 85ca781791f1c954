"""Synthetic images for the fakes of all data sets: ellipses for lesions, speckle for tissue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def ellipse(shape: tuple[int, int], rng: np.random.Generator, left_half: bool) -> NDArray[np.bool_]:
    """One ellipse within the left or the right half of an image of `shape`."""
    height, width = shape
    row = height * rng.uniform(0.4, 0.6)
    column = width * (rng.uniform(0.22, 0.28) + (0 if left_half else 0.5))
    rows, columns = np.mgrid[:height, :width]
    squared = ((rows - row) / (height * rng.uniform(0.15, 0.3))) ** 2
    squared += ((columns - column) / (width * rng.uniform(0.1, 0.2))) ** 2
    inside: NDArray[np.bool_] = squared <= 1
    return inside


def lesion_and_mask(shape: tuple[int, int], rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    """A grey image of `shape` with one lesion, and its mask of 0 and 255."""
    lesion = ellipse(shape, rng, left_half=True)
    return speckle(shape, [lesion], rng), Image.fromarray(255 * lesion.astype(np.uint8))


def speckle(shape: tuple[int, int], lesions: Sequence[NDArray[np.bool_]], rng: np.random.Generator) -> Image.Image:
    """Grey tissue with multiplicative noise, darker where a lesion is."""
    tissue = np.full(shape, 130.0)
    for lesion in lesions:
        tissue[lesion] = 50.0
    return Image.fromarray(np.clip(tissue * rng.gamma(9, 1 / 9, shape), 0, 255).astype(np.uint8))


def fundus(shape: tuple[int, int], rng: np.random.Generator) -> tuple[Image.Image, NDArray[np.uint8]]:
    """A colour photograph of an eye's fundus, and a map (H, W) of it: 2 in the cup, 1 in the disc's rim, else 0."""
    height, width = shape
    row, column = height * rng.uniform(0.4, 0.6), width * rng.uniform(0.4, 0.6)
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot((rows - row) / height, (columns - column) / width)
    parts = (distance < rng.uniform(0.2, 0.3)).astype(np.uint8) + (distance < rng.uniform(0.08, 0.15))
    colours = np.array([(150, 60, 30), (220, 140, 70), (250, 210, 150)])[parts]
    noisy = np.clip(colours * rng.gamma(60, 1 / 60, (*shape, 1)), 0, 255).astype(np.uint8)
    return Image.fromarray(noisy), parts.astype(np.uint8)
