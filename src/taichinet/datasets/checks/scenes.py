"""Findings on near-duplicates: the groups, one scene under two labels, and copies whose masks disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from taichinet.datasets.checks.finding import Finding, counted
from taichinet.datasets.checks.strokes import BoolMap
from taichinet.datasets.duplicates.search import DuplicateReport
from taichinet.datasets.image_io import united_mask
from taichinet.datasets.manifest import Manifest

AGREEING = 0.7  # Dice; two readers of one BUSI picture reach more in four cases of five


@dataclass(frozen=True)
class MaskAgreement:
    """Dice of the lesion masks of two copies in one frame, the second brought to the first's size."""

    first: str
    second: str
    dice: float


def find_groups(duplicates: DuplicateReport, labels: Mapping[str, str]) -> Iterator[Finding]:
    """A finding for each group of near-duplicates, the largest first, and one for each pair under two labels."""
    group_of = {key: number for number, group in enumerate(duplicates.groups) for key in group}
    kinds: dict[int, Counter[str]] = {}
    for pair in duplicates.pairs:
        kinds.setdefault(group_of[pair.first], Counter())[pair.kind] += 1
    for number, group in enumerate(duplicates.groups):
        pairs = ", ".join(counted(count, f"{kind} pair") for kind, count in kinds[number].most_common())
        message = f"{len(group)} pictures of one scene ({pairs})."
        yield Finding("near-duplicates", group, message, len(group))
    for pair in duplicates.pairs:
        first, second = labels[pair.first], labels[pair.second]
        if first != second:
            how = "the same pixels" if pair.kind == "identical" else f"one scene, {pair.kind}, score {pair.score:.2f}"
            message = f"{pair.first} is labelled {first}, {pair.second} {second}: {how}."
            yield Finding("contradictory labels", (pair.first, pair.second), message, pair.score)


def compare_masks(duplicates: DuplicateReport, manifest: Manifest) -> tuple[MaskAgreement, ...]:
    """How well the masks agree of each pair that shows one frame; pairs of two empty masks are left out.

    Outermost region only. A pair of which one mask is empty agrees at 0. Only masks of such pairs are read again.
    """
    samples = {sample.key: sample for sample in manifest}
    agreements = []
    for pair in duplicates.pairs:
        if pair.kind == "cropped":
            continue
        dice = _dice(*(united_mask(samples[key], 0, manifest.files.mask) for key in (pair.first, pair.second)))
        if dice is not None:
            agreements.append(MaskAgreement(pair.first, pair.second, dice))
    return tuple(agreements)


def find_disagreements(agreements: tuple[MaskAgreement, ...]) -> Iterator[Finding]:
    """A finding for each pair whose masks agree at less than Dice 0.7."""
    for agreement in agreements:
        if agreement.dice < AGREEING:
            message = f"The masks of {agreement.first} and {agreement.second} agree at Dice {agreement.dice:.3f}."
            yield Finding("disagreeing masks", (agreement.first, agreement.second), message, 1 - agreement.dice)


def _dice(first: BoolMap, second: BoolMap) -> float | None:
    """Dice of two masks, the second resized to the first's (H, W); None where both are empty."""
    height, width = first.shape
    resized = np.asarray(Image.fromarray(second).resize((width, height), Image.Resampling.NEAREST))
    painted = int(first.sum()) + int(resized.sum())
    return 2 * int((first & resized).sum()) / painted if painted else None
