"""Which images a figure shows: those that were named, else those that a stated rule picks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from taichinet.errors import FoldError, unknown_name
from taichinet.evaluation.undefined import empty_ground_truth
from taichinet.reports.figures.runs import TrainedRun
from taichinet.reports.figures.source import Source

RULE = (
    "Held-out lesion images in the order of their Dice with {recipe} at network size, equal ones by key; of these the "
    "images at the quantiles {quantiles}."
)
NAMED = "Named by whoever drew the figure."


@dataclass(frozen=True)
class Request:
    """What was asked for: `cases` by key (none: the rule chooses), `count` of rows, `methods` of Fig. 11 by row."""

    cases: tuple[str, ...] = ()
    count: int | None = None
    methods: tuple[str, ...] = ()


def quantiles(count: int) -> tuple[float, ...]:
    """Evenly within 0..1, ends left out: the median for one, the quartiles for three."""
    return tuple(step / (count + 1) for step in range(1, count + 1))


def at_quantiles(ordered: Sequence[str], count: int) -> tuple[str, ...]:
    """The items of `ordered` nearest to the `quantiles`, each once."""
    if not ordered:
        return ()
    places = [round(quantile * (len(ordered) - 1)) for quantile in quantiles(count)]
    return tuple(dict.fromkeys(ordered[place] for place in places))


def representative(scores: pd.DataFrame, count: int) -> tuple[str, ...]:
    """Keys of `count` lesion images of a scores table from poor to good, by `RULE`."""
    lesions = scores[~empty_ground_truth(scores)]
    keys = lesions["key"].astype(str)
    ordered = [key for _, key in sorted(zip(lesions["dice"].fillna(0).tolist(), keys, strict=True))]
    return at_quantiles(ordered, count)


def choose_cases(source: Source, reference: TrainedRun, request: Request, count: int) -> tuple[tuple[str, ...], str]:
    """The keys to show and the rule that chose them; `count` where the request has none.

    Every case was held out of the reference's training. SettingError for a name that the data set lacks, FoldError
    for an image that took part in the training.
    """
    if request.cases:
        refuse_seen(source, reference, request.cases)
        return request.cases, NAMED
    wanted = request.count or count
    keys = representative(reference.scores, wanted)
    told = ", ".join(f"{quantile:.3g}" for quantile in quantiles(wanted))
    return keys, RULE.format(recipe=reference.recipe, quantiles=told)


def refuse_seen(source: Source, run: TrainedRun, keys: Sequence[str]) -> None:
    """Raise for keys that are no images of `source`, or that `run` was trained on or selected with."""
    for key in keys:
        if key not in source.samples:
            raise unknown_name(f"image of {source.name}", key, tuple(source.samples), f"{len(source.samples)} images")
        if key not in run.scores.index:
            raise FoldError(
                f"'{key}' took part in the training of {run.recipe}, fold {run.fold}; a figure of answers shows "
                f"held-out images. Give another --case, e.g. '{run.scores.index[0]}'."
            )
