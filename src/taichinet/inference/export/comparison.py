"""Masks of several runtimes and files against plain PyTorch's, image by image, in one pass and with their times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from taichinet.errors import DataError
from taichinet.evaluation.metrics import score_mask
from taichinet.inference.export.images import Case
from taichinet.inference.predictor import Predictor
from taichinet.inference.runtimes.parity import Parity

Answer = tuple[NDArray[np.bool_], NDArray[np.float32]]
"""Mask and probability of one image at its own size."""

Segment = Callable[[NDArray[np.uint8]], Answer]


@dataclass
class _Tally:
    """What adds up over the images for one candidate."""

    agreements: list[float] = field(default_factory=list)
    dices: list[float] = field(default_factory=list)
    flipped: int = 0
    largest: float = 0.0
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """`parity` of each candidate, and `seconds`, the median of one image, of each and of "plain"."""

    parity: Mapping[str, Parity]
    seconds: Mapping[str, float]


def compare(plain: Predictor, candidates: Mapping[str, Segment], cases: Iterable[Case]) -> Comparison:
    """Every image of `cases` through `plain` and all of `candidates` in turn."""
    tallies = {name: _Tally() for name in candidates}
    plain_seconds: list[float] = []
    plain_dices: list[float] = []
    pixels_in_all = images = 0
    for case in cases:
        pixels, truth = case.pixels(plain.channels), case.truth()
        began = time.perf_counter()
        expected = plain.predict(pixels)
        plain_seconds.append(time.perf_counter() - began)
        images += 1
        pixels_in_all += expected.mask.size
        if truth is not None:
            plain_dices.append(score_mask(expected.mask, truth).dice)
        for name, segment in candidates.items():
            tally = tallies[name]
            began = time.perf_counter()
            mask, probability = segment(pixels)
            tally.seconds.append(time.perf_counter() - began)
            tally.agreements.append(score_mask(mask, expected.mask).dice if mask.any() or expected.mask.any() else 1.0)
            tally.flipped += int(np.count_nonzero(mask != expected.mask))
            tally.largest = max(tally.largest, float(np.abs(probability - expected.probability).max()))
            if truth is not None:
                tally.dices.append(score_mask(mask, truth).dice)
    if not images:
        raise DataError("There is no image to compare masks on. Name some with --images.")
    parity = {
        name: Parity(
            images=images,
            agreement=float(np.mean(tally.agreements)),
            least_agreement=float(min(tally.agreements)),
            flipped_pixels=tally.flipped,
            pixels=pixels_in_all,
            largest_difference=tally.largest,
            plain_dice=float(np.mean(plain_dices)) if plain_dices else None,
            dice=float(np.mean(tally.dices)) if tally.dices else None,
        )
        for name, tally in tallies.items()
    }
    seconds = {name: median(tally.seconds) for name, tally in tallies.items()}
    return Comparison(parity, {**seconds, "plain": median(plain_seconds)})


def through(predictor: Predictor) -> Segment:
    """The answer of a predictor in the form that is compared."""

    def segment(pixels: NDArray[np.uint8]) -> Answer:
        result = predictor.predict(pixels)
        return result.mask, result.probability

    return segment
