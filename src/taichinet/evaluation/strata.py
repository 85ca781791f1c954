"""Scores of groups of lesion images: all, quarters by lesion size, and classes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from taichinet.evaluation.rates import Rate
from taichinet.settings import Record

QUARTERS = ("smallest quarter", "second quarter", "third quarter", "largest quarter")
LOW_DICE = 0.1


class Stratum(Record):
    """Scores of one group of lesion images at original resolution. Means and medians are over images, not over folds.

    Attributes:
        kind: What the images have in common.
        name: 'lesion images', a quarter, or a class.
        images: Number of distinct images.
        smallest_area: Smallest lesion area as a share of the image; all lesions of an image count together.
        largest_area: Largest lesion area as a share of the image.
        dice: Mean Dice.
        median_dice: Median Dice.
        low_dice: Share of images with a Dice below `LOW_DICE`.
        surface_dice: Mean normalised surface Dice, see `metrics.surface_dice`.
        lesions: Lesions that are found, see `evaluation/detection.py`.
    """

    kind: Literal["all", "size", "class"]
    name: str
    images: int
    smallest_area: float
    largest_area: float
    dice: float
    median_dice: float
    low_dice: float
    surface_dice: float
    lesions: Rate


def stratify(rows: pd.DataFrame, repeats: float = 1) -> tuple[Stratum, ...]:
    """Compute the scores of all strata that have images.

    The limits of the sizes are the quartiles of the lesion area among the images of `rows`, so that strata of different
    data sets have different limits. An image on a limit belongs to the smaller quarter.

    Args:
        rows: Rows of `score_images` for one region, with the columns of the detection.
        repeats: How often each image occurs, see `Rate.of`.

    Returns:
        All lesion images, the quarters from small to large, and the classes in alphabetical order.
    """
    lesions = rows[rows["lesions"] > 0]
    if lesions.empty:
        return ()
    area = lesions["true_pixels_native"] / lesions["pixels_native"]
    quarter = np.searchsorted(np.quantile(area, (0.25, 0.5, 0.75)), area)
    groups: list[tuple[Literal["all", "size", "class"], str, pd.DataFrame]] = [("all", "lesion images", lesions)]
    groups += [("size", name, lesions[quarter == number]) for number, name in enumerate(QUARTERS)]
    groups += [("class", str(name), part) for name, part in lesions.groupby("label")]
    return tuple(_stratum(kind, name, part, repeats) for kind, name, part in groups if len(part))


def _stratum(kind: Literal["all", "size", "class"], name: str, rows: pd.DataFrame, repeats: float) -> Stratum:
    area, dice = rows["true_pixels_native"] / rows["pixels_native"], rows["dice_native"]
    return Stratum(
        kind=kind,
        name=name,
        images=rows["key"].nunique(),
        smallest_area=float(area.min()),
        largest_area=float(area.max()),
        dice=float(dice.mean()),
        median_dice=float(dice.median()),
        low_dice=float((dice < LOW_DICE).mean()),
        surface_dice=float(rows["nsd_native"].mean()),
        lesions=Rate.of(int(rows["lesions_found"].sum()), int(rows["lesions"].sum()), repeats),
    )
