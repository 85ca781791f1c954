"""Findings on near-duplicates and folds: contradictory labels and masks, and groups or patients that folds split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from taichinet.datasets.checks.finding import Finding, FindingKind, counted
from taichinet.datasets.checks.strokes import BoolMap
from taichinet.datasets.duplicates.search import DuplicateReport
from taichinet.datasets.folds import NEVER_TESTED, FoldPlan
from taichinet.datasets.manifest import Manifest

AGREEING = 0.7  # Dice; two readers of one BUSI image reach more in four cases of five
NAMED = 5  # keys that a message names


@dataclass(frozen=True)
class MaskAgreement:
    """Dice of the lesion masks of two near-duplicates in one frame, the second resized to the first."""

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
        message = f"{len(group)} images of one scene ({pairs})."
        yield Finding("near-duplicates", group, message, len(group))
    for pair in duplicates.pairs:
        first, second = labels[pair.first], labels[pair.second]
        if first != second:
            how = "the same pixels" if pair.kind == "identical" else f"one scene, {pair.kind}, score {pair.score:.2f}"
            message = f"{pair.first} is labelled {first}, {pair.second} {second}: {how}."
            yield Finding("contradictory labels", (pair.first, pair.second), message, pair.score)


def compare_masks(duplicates: DuplicateReport, manifest: Manifest) -> tuple[MaskAgreement, ...]:
    """The agreement of the masks of each pair that shows one frame; pairs of two empty masks are left out.

    Only the outermost region is compared. If one mask is empty, the Dice is 0.
    """
    samples = {sample.key: sample for sample in manifest}
    agreements = []
    for pair in duplicates.pairs:
        if pair.kind == "cropped":
            continue
        dice = _dice(*(manifest.files.united_mask(samples[key]) for key in (pair.first, pair.second)))
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
    """Dice of two masks, the second resized to the first's (H, W); None if both are empty."""
    height, width = first.shape
    resized = np.asarray(Image.fromarray(second).resize((width, height), Image.Resampling.NEAREST))
    foreground = int(first.sum()) + int(resized.sum())
    return 2 * int((first & resized).sum()) / foreground if foreground else None


@dataclass(frozen=True)
class FoldCount:
    """Number of test images of one fold, in all and by class, and of those with a near-duplicate in another fold."""

    fold: int
    images: int
    by_label: tuple[tuple[str, int], ...]
    leaking: int


def count_folds(plan: FoldPlan, labels: dict[str, str], groups: Iterable[tuple[str, ...]]) -> tuple[FoldCount, ...]:
    """The folds of `plan` in order; images that are not in `labels` are not counted."""
    leaking = {key for group in groups if len(_folds_of(group, plan)) > 1 for key in group}
    counts = []
    for fold in range(plan.count):
        keys = [key for key, where in plan.fold_of.items() if where == fold and key in labels]
        by_label = Counter(labels[key] for key in keys)
        counts.append(FoldCount(fold, len(keys), tuple(sorted(by_label.items())), len(leaking.intersection(keys))))
    return tuple(counts)


def find_leaks(plan: FoldPlan, manifest: Manifest, groups: Iterable[tuple[str, ...]]) -> Iterator[Finding]:
    """Groups and patients that `plan` splits, and whether it was made for these images.

    A plan of some of the images, as of the lesions alone, is a plan of these images.
    """
    yield from _find_unrelated(plan, manifest)
    yield from _find_split("split scene", "This scene", groups, plan)
    yield from _find_split("split patient", "This patient", manifest.patients, plan)


def _find_split(kind: FindingKind, what: str, groups: Iterable[tuple[str, ...]], plan: FoldPlan) -> Iterator[Finding]:
    for group in groups:
        folds = _folds_of(group, plan)
        if len(folds) > 1:
            names = {fold: "no fold" if fold == NEVER_TESTED else f"fold {fold}" for fold in folds}
            where = "; ".join(f"{names[fold]} tests {', '.join(keys)}" for fold, keys in sorted(folds.items()))
            yield Finding(kind, group, f"{what} is split: {where}.", len(group))


def _find_unrelated(plan: FoldPlan, manifest: Manifest) -> Iterator[Finding]:
    missing = [key for key in manifest.keys if key not in plan.fold_of]
    known = set(manifest.keys)
    foreign = [key for key in plan.fold_of if key not in known]
    if missing:
        by_label = Counter(manifest.labels[key] for key in missing)
        labels = ", ".join(f"{count} {label}" for label, count in sorted(by_label.items()))
        kind: FindingKind = "other fold file" if foreign else "outside folds"
        message = f"The folds leave out {counted(len(missing), 'image')} ({labels}): {_some(missing)}."
        yield Finding(kind, tuple(missing), message, len(missing))
    if foreign:
        message = f"The fold file has {counted(len(foreign), 'key')} without an image: {_some(foreign)}."
        yield Finding("other fold file", tuple(foreign), message, len(foreign))
    elif plan.digest != manifest.subset(set(plan.fold_of)).digest():
        yield Finding("other fold file", (), "The keys are those of these images, but the pixels are others.")


def _folds_of(group: Iterable[str], plan: FoldPlan) -> dict[int, list[str]]:
    folds: dict[int, list[str]] = {}
    for key in group:
        if key in plan.fold_of:
            folds.setdefault(plan.fold_of[key], []).append(key)
    return folds


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more
