"""Compare masks and run times of runtimes and exported files with those of plain PyTorch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from taichinet.errors import DataError
from taichinet.evaluation.metrics import score_mask
from taichinet.inference.export.images import Case
from taichinet.inference.predictor import Predictor
from taichinet.inference.runtimes.parity import Parity
from taichinet.inference.runtimes.runtime import Segment, Segmentation


@dataclass
class _Tally:
    """Values of one candidate, accumulated over images."""

    agreements: list[float] = field(default_factory=list)
    dices: list[float] = field(default_factory=list)
    flipped: int = 0
    largest: float = 0.0
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """Parity of each candidate, and the median seconds per image of each candidate and of "plain" PyTorch."""

    parity: Mapping[str, Parity]
    seconds: Mapping[str, float]


def compare(plain: Predictor, candidates: Mapping[str, Segment], cases: Iterable[Case]) -> Comparison:
    """Run every image through plain PyTorch and each candidate in turn, and compare the results.

    Args:
        plain: The reference.
        candidates: Functions from pixels to mask and probability, by name.
        cases: Images, with or without ground truth.

    Returns:
        Parity and run time of each candidate.

    Raises:
        DataError: There are no images.
    """
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


def segment_with(predictor: Predictor) -> Segment:
    """Adapt a predictor to a function from pixels to mask and probability."""

    def segment(pixels: NDArray[np.uint8]) -> Segmentation:
        result = predictor.predict(pixels)
        return result.mask, result.probability

    return segment
