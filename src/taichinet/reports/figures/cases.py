"""Selection of the images of a figure: those that the user named, otherwise by a rule that is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from taichinet.errors import FoldError, unknown_name
from taichinet.evaluation.undefined import empty_ground_truth
from taichinet.reports.figures.runs import TrainedRun
from taichinet.reports.figures.source import Source

NAMED_BY_USER = "Named by the user."


@dataclass(frozen=True)
class Request:
    """Options of the user."""

    cases: tuple[str, ...] = ()  # keys of the images to show; if empty, they are selected by a rule
    count: int | None = None  # number of images if there are no `cases`; None for the default of each figure
    methods: tuple[str, ...] = ()  # recipes of figure 11 without their scale; if empty, those of the paper


def choose_cases(source: Source, reference: TrainedRun, request: Request, count: int) -> tuple[tuple[str, ...], str]:
    """Return the keys of held-out images of `reference`, and the rule that selected them.

    `count` images are selected by their Dice unless the request names images or another number. Raises SettingError if
    the data set has no such image, and FoldError if a named image was used in the training of `reference`.
    """
    if request.cases:
        refuse_training_images(source, reference, request.cases)
        return request.cases, NAMED_BY_USER
    keys, quantiles = at_quantiles(by_dice(reference.scores), request.count or count)
    return keys, (
        f"Held-out lesion images, sorted by their Dice with {reference.recipe} at input resolution, then by key; of "
        f"these the images at the quantiles {quantiles}."
    )


def by_dice(scores: pd.DataFrame) -> list[str]:
    """Return the keys of the lesion images of a table of scores from the lowest to the highest Dice, then by key."""
    lesions = scores[~empty_ground_truth(scores)]
    return [key for _, key in sorted(zip(lesions["dice"].fillna(0), lesions["key"].astype(str), strict=True))]


def at_quantiles(ordered: Sequence[str], count: int) -> tuple[tuple[str, ...], str]:
    """Return the items at `count` evenly spaced quantiles, without 0 and 1, each once; and the quantiles as text."""
    quantiles = [step / (count + 1) for step in range(1, count + 1)]
    keys = [ordered[round(quantile * (len(ordered) - 1))] for quantile in quantiles if ordered]
    return tuple(dict.fromkeys(keys)), ", ".join(f"{quantile:.3g}" for quantile in quantiles)


def refuse_unknown_images(source: Source, keys: Sequence[str]) -> None:
    """Raise SettingError for a key that is not an image of `source`."""
    for key in keys:
        if key not in source.samples:
            raise unknown_name(f"image of {source.name}", key, tuple(source.samples), f"{len(source.samples)} images")


def refuse_training_images(source: Source, run: TrainedRun, keys: Sequence[str]) -> None:
    """Raise for keys that are not images of `source`, or were used in the training or model selection of `run`."""
    refuse_unknown_images(source, keys)
    for key in keys:
        if key not in run.scores.index:
            raise FoldError(
                f"'{key}' was used in the training of {run.recipe}, fold {run.fold}, but this figure shows held-out "
                f"images. Give another --case, e.g. '{run.scores.index[0]}'."
            )
