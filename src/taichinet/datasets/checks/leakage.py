"""Leakage of a fold file: near-duplicates and patients whose pictures lie in different folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from taichinet.datasets.checks.finding import Finding, FindingKind, counted
from taichinet.datasets.folds import NEVER_TESTED, FoldPlan
from taichinet.datasets.manifest import Manifest

NAMED = 5  # keys that a message names


@dataclass(frozen=True)
class FoldCount:
    """How many pictures one fold tests, in all and by class, and how many of them have a copy in another fold."""

    fold: int
    images: int
    by_label: tuple[tuple[str, int], ...]
    leaking: int


def count_folds(plan: FoldPlan, labels: dict[str, str], groups: Iterable[tuple[str, ...]]) -> tuple[FoldCount, ...]:
    """The folds of `plan` in order; pictures that are not in `labels` are not counted."""
    leaking = {key for group in groups if len(_folds_of(group, plan)) > 1 for key in group}
    counts = []
    for fold in range(plan.count):
        keys = [key for key, where in plan.fold_of.items() if where == fold and key in labels]
        by_label = Counter(labels[key] for key in keys)
        counts.append(FoldCount(fold, len(keys), tuple(sorted(by_label.items())), len(leaking.intersection(keys))))
    return tuple(counts)


def find_leaks(plan: FoldPlan, manifest: Manifest, groups: Iterable[tuple[str, ...]]) -> Iterator[Finding]:
    """Groups and patients that `plan` splits, and whether it was made for these pictures at all.

    A plan of some of the pictures, as of the lesions alone, is a plan of these pictures.
    """
    yield from _find_strangers(plan, manifest)
    yield from _find_split("split scene", "This scene", groups, plan)
    yield from _find_split("split patient", "This patient", manifest.patients, plan)


def _find_split(kind: FindingKind, what: str, groups: Iterable[tuple[str, ...]], plan: FoldPlan) -> Iterator[Finding]:
    for group in groups:
        folds = _folds_of(group, plan)
        if len(folds) > 1:
            where = "; ".join(f"{_fold_name(fold)} tests {', '.join(keys)}" for fold, keys in sorted(folds.items()))
            yield Finding(kind, group, f"{what} is split: {where}.", len(group))


def _fold_name(fold: int) -> str:
    return "no fold" if fold == NEVER_TESTED else f"fold {fold}"


def _find_strangers(plan: FoldPlan, manifest: Manifest) -> Iterator[Finding]:
    missing = [key for key in manifest.keys if key not in plan.fold_of]
    known = set(manifest.keys)
    foreign = [key for key in plan.fold_of if key not in known]
    if missing:
        by_label = Counter(manifest.labels[key] for key in missing)
        labels = ", ".join(f"{count} {label}" for label, count in sorted(by_label.items()))
        kind: FindingKind = "other fold file" if foreign else "outside folds"
        message = f"The folds leave out {counted(len(missing), 'picture')} ({labels}): {_some(missing)}."
        yield Finding(kind, tuple(missing), message, len(missing))
    if foreign:
        message = f"The fold file holds {counted(len(foreign), 'key')} without a picture here: {_some(foreign)}."
        yield Finding("other fold file", tuple(foreign), message, len(foreign))
    elif plan.digest != manifest.subset(set(plan.fold_of)).digest():
        yield Finding("other fold file", (), "The keys are those of these pictures, but the pixels are others.")


def _folds_of(group: Iterable[str], plan: FoldPlan) -> dict[int, list[str]]:
    folds: dict[int, list[str]] = {}
    for key in group:
        if key in plan.fold_of:
            folds.setdefault(plan.fold_of[key], []).append(key)
    return folds


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more
