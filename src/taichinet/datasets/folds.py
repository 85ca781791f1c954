"""Cross-validation folds: drawn once from a seed, written to a file, and verified by each later run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import ConfigDict, Field, StrictInt, StrictStr, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from taichinet.datasets.manifest import Manifest
from taichinet.errors import FoldError
from taichinet.storage.atomic import write_json
from taichinet.storage.documents import read_json, shortened

Protocol = Literal["grouped", "paper", "official", "leave-one-dataset-out"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
LEAVE_ONE_OUT: Protocol = "leave-one-dataset-out"
OWN_COUNT: tuple[Protocol, ...] = ("official", LEAVE_ONE_OUT)
"""Protocols whose number of folds is that of the data, not a setting."""

MOST_FOLDS = 100_000
_REMEDY = "Give a file of RUNS/folds. If it is one, delete it: it is drawn again."

NEVER_TESTED = -1
"""The fold of images that an official split uses only for training or validation."""


@dataclass(frozen=True)
class Split:
    """Keys of one fold: `validation` is used to select the epoch, `test` only for the reported scores."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FoldPlan:
    """The fold in which each image is tested, and the schema of a fold file, which has no other keys.

    Attributes:
        dataset: Name of the data set.
        digest: Digest of the images (`Manifest.digest`).
        protocol: `paper`: random, stratified by class; near-duplicates may be in different folds, as in the paper.
            `grouped`: the same, but groups of near-duplicates and patients are kept together; the default.
            `official`: the split that the authors of the data set distribute, folds or fixed parts.
            `leave-one-dataset-out`: fold i tests all images of the i-th of several joined data sets.
        seed: Seed of the draw.
        count: Number of folds.
        groups: Groups of more than one image, for every protocol.
        fold_of: Key -> fold in which the image is tested.
        validation: Validation set of an official split; empty if an inner split is drawn.
    """

    dataset: StrictStr
    digest: StrictStr
    protocol: Protocol
    seed: Annotated[StrictInt, Field(ge=0, lt=2**31)]
    count: Annotated[StrictInt, Field(ge=1, le=MOST_FOLDS)]
    groups: tuple[tuple[StrictStr, ...], ...]
    fold_of: dict[StrictStr, StrictInt]
    validation: tuple[StrictStr, ...] = ()  # absent in plans written before official splits

    def split(self, fold: int, labels: dict[str, str], validation_share: float) -> Split:
        """The training, validation and test keys of one fold.

        Args:
            fold: Number of the fold.
            labels: Class of each key, or another stratum (`Manifest.strata`).
            validation_share: Share of the other folds for validation. The inner split follows the same protocol and
                seed; within an official split, groups are kept together.

        Returns:
            The split.

        Raises:
            FoldError: The fold does not exist, or a class has too few images.
        """
        if not 0 <= fold < self.count:
            raise FoldError(f"Fold {fold} does not exist. This plan has folds 0 to {self.count - 1}.")
        rest = [key for key, where in self.fold_of.items() if where != fold]
        test = tuple(key for key, where in self.fold_of.items() if where == fold)
        if self.validation:
            return Split(tuple(key for key in rest if key not in self.validation), self.validation, test)
        if validation_share <= 0:
            return Split(tuple(rest), (), test)
        parts = max(2, round(1 / validation_share))
        try:
            inner = _assign(rest, labels, self.groups, self.protocol, parts, self.seed + 1000 * (fold + 1))
        except FoldError as error:
            raise FoldError(f"Training and validation images of fold {fold}: {error}") from error
        return Split(
            train=tuple(key for key in rest if inner[key] != 0),
            validation=tuple(key for key in rest if inner[key] == 0),
            test=test,
        )


def make_folds(
    manifest: Manifest,
    groups: tuple[tuple[str, ...], ...],
    protocol: Protocol = "grouped",
    seed: int = 0,
    count: int = 5,
) -> FoldPlan:
    """Assign every sample to a fold, stratified by class.

    Args:
        manifest: The data set. Images of one patient are kept together like `groups`.
        groups: Groups of near-duplicates.
        protocol: See `FoldPlan`.
        seed: Seed of the draw.
        count: Number of folds; an official split and leave-one-dataset-out have their own.

    Returns:
        The plan.

    Raises:
        FoldError: A class has fewer samples than folds, there is no official split, or there is only one data set.
    """
    # scipy takes a second to import
    from taichinet.groups import join_groups

    labels = manifest.labels
    known = set(labels)
    joined = join_groups((*groups, *manifest.patients)) if manifest.patients else groups  # their order decides the draw
    present = tuple(g for g in (tuple(k for k in group if k in known) for group in joined) if len(g) > 1)
    if protocol == "official":
        return _official_plan(manifest, present, seed)
    if protocol == LEAVE_ONE_OUT:
        return _leave_one_out_plan(manifest, present, seed)
    fold_of = _assign(list(manifest.keys), labels, present, protocol, count, seed)
    return FoldPlan(manifest.name, manifest.digest(), protocol, seed, count, present, fold_of)


def _official_plan(manifest: Manifest, groups: tuple[tuple[str, ...], ...], seed: int) -> FoldPlan:
    """The split that the samples themselves carry: numbered folds, or the parts train, validation and test."""
    folds = {sample.fold for sample in manifest if sample.fold is not None}
    tests = any(sample.part == "test" for sample in manifest)
    if tests:  # fixed parts; numbered folds only divide the training set
        fold_of = {sample.key: 0 if sample.part == "test" else NEVER_TESTED for sample in manifest}
        validation = tuple(sample.key for sample in manifest if sample.part == "validation")
        return FoldPlan(manifest.name, manifest.digest(), "official", seed, 1, groups, fold_of, validation)
    if not folds:
        raise FoldError(
            f"{manifest.name} has no official split in these files. Use protocol grouped or paper, or get the "
            "split that its authors distribute beside the images."
        )
    numbered = {number: index for index, number in enumerate(sorted(folds))}
    fold_of = {sample.key: NEVER_TESTED if sample.fold is None else numbered[sample.fold] for sample in manifest}
    return FoldPlan(manifest.name, manifest.digest(), "official", seed, len(folds), groups, fold_of)


def _leave_one_out_plan(manifest: Manifest, groups: tuple[tuple[str, ...], ...], seed: int) -> FoldPlan:
    """One fold for each of the joined data sets; `seed` and `groups` are those of the inner splits."""
    names = manifest.datasets
    if len(names) < 2:
        raise FoldError(
            f"Protocol {LEAVE_ONE_OUT} needs several data sets, but was given {manifest.name}. Repeat --data in "
            "`train`, or use protocol grouped."
        )
    fold_of = {sample.key: names.index(sample.dataset) for sample in manifest if sample.dataset is not None}
    return FoldPlan(manifest.name, manifest.digest(), LEAVE_ONE_OUT, seed, len(names), groups, fold_of)


def write_folds(plan: FoldPlan, path: Path) -> None:
    """Write `plan` as JSON, one line per key."""
    write_json(path, asdict(plan))


def read_folds(path: Path) -> FoldPlan:
    """Read a fold plan and validate it completely.

    Args:
        path: A file that `write_folds` wrote.

    Returns:
        The plan. Whether it fits a data set is checked by `verify_folds`.

    Raises:
        FoldError: The file is damaged, a key is missing, unknown or given twice, or a value is of another type or out
            of range.
    """
    raw = read_json(path, FoldError, _REMEDY)
    try:
        plan = TypeAdapter(FoldPlan).validate_python(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = shortened(".".join(map(str, first["loc"])))
        raise FoldError(f"Fold file {path} cannot be read ({place}: {first['msg']}). {_REMEDY}") from error
    if fault := _plan_fault(plan):
        raise FoldError(f"Fold file {path} is not valid: {fault}. {_REMEDY}")
    return plan


def _plan_fault(plan: FoldPlan) -> str | None:
    """The contradiction in a plan whose fields have the right types, or None."""
    official = plan.protocol == "official"
    if plan.count < 2 and not official:
        return f"{plan.count} fold of protocol {plan.protocol}, which needs two or more"
    if plan.count > len(plan.fold_of):
        return f"'count' is {plan.count}, but there are {len(plan.fold_of)} images"
    numbers = set(plan.fold_of.values())
    least = NEVER_TESTED if official else 0
    if unknown := sorted(number for number in numbers if not least <= number < plan.count):
        return f"folds are 0 to {plan.count - 1}, but 'fold_of' has {unknown[0]}"
    if empty := sorted(set(range(plan.count)) - numbers):
        return f"fold {empty[0]} has no image"
    grouped = [key for group in plan.groups for key in group]
    if len(set(grouped)) < len(grouped):
        return "an image is in two groups, or twice in one"
    if plan.validation and not official:
        return f"'validation' belongs to protocol official, not {plan.protocol}"
    if len(set(plan.validation)) < len(plan.validation):
        return "'validation' has an image twice"
    if wrong := [key for key in plan.validation if plan.fold_of.get(key) != NEVER_TESTED]:
        return f"'validation' has '{shortened(wrong[0])}', which is tested or is not in 'fold_of'"
    return None


def verify_folds(plan: FoldPlan, manifest: Manifest) -> None:
    """Raise FoldError unless `plan` was made for these images and keeps groups together if its protocol requires it."""
    missing = sorted(set(manifest.keys) - set(plan.fold_of))
    foreign = sorted(set(plan.fold_of) - set(manifest.keys))
    if missing or foreign:
        raise FoldError(
            f"The fold file was made for other images: {len(missing)} of the data set are not in it "
            f"({', '.join(missing[:3]) or 'none'}), {len(foreign)} of it are not in the data set "
            f"({', '.join(foreign[:3]) or 'none'}). Use the data it was made for, or delete it."
        )
    if plan.digest != manifest.digest():
        raise FoldError(
            "The fold file was made for images of the same names but other pixels. Use the data it was made "
            "for, or delete the fold file."
        )
    if plan.protocol == "grouped":
        for group in plan.groups:
            if not plan.fold_of.keys() >= set(group):
                raise FoldError(f"The fold file groups images that are not in it: {', '.join(group)}. Delete it.")
            if len({plan.fold_of[key] for key in group}) > 1:
                raise FoldError(f"The fold file splits the near-duplicates {', '.join(group)}. Delete it.")
        for patient in manifest.patients:
            if len({plan.fold_of[key] for key in patient}) > 1:
                raise FoldError(
                    f"The fold file splits the images {', '.join(patient[:3])} of one patient. It was made with other "
                    "patients or without them. Delete it: it is drawn again."
                )


def load_or_make_folds(
    path: Path,
    manifest: Manifest,
    groups: tuple[tuple[str, ...], ...],
    protocol: Protocol,
    seed: int,
    count: int,
    validation_share: float = 0.0,
) -> FoldPlan:
    """Read and verify the plan at `path`, or draw it and write it there.

    Args:
        path: The fold file.
        manifest: The data set.
        groups: Groups of near-duplicates; only used to draw the plan.
        protocol: See `FoldPlan`.
        seed: Seed of the draw.
        count: Number of folds.
        validation_share: Share of the other folds for validation. A plan with a fold that cannot be divided so is not
            written, because it would remain when images are added.

    Returns:
        The plan.

    Raises:
        FoldError: The file is damaged, was made for other images or settings, or no plan can be drawn.
    """
    if path.exists():
        plan = read_folds(path)
        try:
            verify_folds(plan, manifest)
        except FoldError as error:
            raise FoldError(f"{path}: {error}") from error
        wanted = (protocol, seed, plan.count if protocol == "official" else count)
        if (plan.protocol, plan.seed, plan.count) != wanted:
            raise FoldError(
                f"{path} has {plan.count} {plan.protocol} folds of seed {plan.seed}, but {count} {protocol} folds of "
                f"seed {seed} are requested. Move the file away, or request the same."
            )
        return plan
    plan = make_folds(manifest, groups, protocol, seed, count)
    for fold in range(plan.count):
        plan.split(fold, manifest.strata, validation_share)
    write_folds(plan, path)
    return plan


def _assign(
    keys: list[str],
    labels: dict[str, str],
    groups: tuple[tuple[str, ...], ...],
    protocol: Protocol,
    count: int,
    seed: int,
) -> dict[str, int]:
    # scikit-learn takes a second to import
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    classes = np.array([labels[key] for key in keys])
    for name, size in zip(*np.unique(classes, return_counts=True), strict=True):
        if size < count:
            raise FoldError(
                f"Class '{name}' has {size} images, too few for {count} parts. "
                "In `train` and `compare`, set data.folds to fewer folds, data.validation_share to a larger share, or "
                "data.include_normal to false, e.g. --set data.folds=3 --set data.validation_share=0.25. In "
                "`data export`, use --fold-count or --no-normal."
            )
    group_of = {key: number for number, group in enumerate(groups) for key in group}
    names = np.array([group_of.get(key, len(groups) + i) for i, key in enumerate(keys)])
    if protocol != "paper":
        if len(set(names.tolist())) < count:
            raise FoldError(
                f"Only {len(set(names.tolist()))} groups for {count} folds. Set fewer: --set data.folds=3, or "
                "--fold-count 3 in `data export`."
            )
        parts = StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(keys, classes, names)
    else:
        parts = StratifiedKFold(count, shuffle=True, random_state=seed).split(keys, classes)
    fold_of = dict.fromkeys(keys, 0)
    for fold, (_, held_out) in enumerate(parts):
        for row in held_out:
            fold_of[keys[row]] = fold
    return fold_of
