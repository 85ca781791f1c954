"""Several data sets as one manifest, with the folds that each of them has alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.resources.abc import Traversable

import numpy as np
from numpy.typing import NDArray

from taichinet.datasets.decoded import DecodedFiles
from taichinet.datasets.duplicates.fingerprint import Fingerprint
from taichinet.datasets.duplicates.search import manifest_duplicates
from taichinet.datasets.folds import FoldPlan
from taichinet.datasets.image_io import Header
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.errors import DataError, FoldError, SettingError, first_few


class JoinedFiles(DecodedFiles):
    """What `DecodedFiles` keeps of the files of joined data sets: each file is one of its own data set or bundle."""

    def __init__(self, manifests: Sequence[Manifest]) -> None:
        """Record to which of the data sets each file belongs."""
        super().__init__()
        self._parts = tuple(dict.fromkeys(manifest.files for manifest in manifests))
        self._part_of: dict[Traversable, DecodedFiles] = {}
        for manifest in manifests:
            for sample in manifest:
                self._part_of |= dict.fromkeys((sample.image, *(mask.file for mask in sample.masks)), manifest.files)
        self.bundle = next((part.bundle for part in self._parts if part.bundle is not None), None)
        self.pillow = "+".join(dict.fromkeys(part.pillow for part in self._parts))

    def refuse_other_input(self, size: int, channels: int) -> None:
        """Raise DataError if one of the data sets is a bundle with another size or number of channels."""
        for part in self._parts:
            part.refuse_other_input(size, channels)

    def fingerprint(self, file: Traversable) -> Fingerprint:
        """The digest and the thumbnail of an image file; raises DataError if it cannot be read."""
        return self._part_of[file].fingerprint(file)

    def take_whole_fingerprint(self, file: Traversable) -> Fingerprint:
        """The fingerprint with the reduced image, which an image in a bundle does not have; raises DataError."""
        part = self._part_of[file]
        return part.take_whole_fingerprint(file) if part.bundle is None else part.fingerprint(file)

    def take_resized(self, file: Traversable, size: int, channels: int) -> NDArray[np.uint8]:
        """An image file at `size` x `size`, (S, S) or (S, S, 3), which is not kept any longer; raises DataError."""
        return self._part_of[file].take_resized(file, size, channels)

    def forget_resized(self) -> None:
        """Release the resized images of all data sets."""
        for part in self._parts:
            part.forget_resized()

    def united_mask(self, sample: Sample, region: int = 0) -> NDArray[np.bool_]:
        """The mask of one region of a sample, bool (H, W); raises DataError if it cannot be read or does not fit."""
        return self._part_of[sample.image].united_mask(sample, region)

    def header(self, file: Traversable) -> Header:
        """The size and orientation of an image or mask file; raises DataError if it cannot be read."""
        return self._part_of[file].header(file)

    def digest(self, file: Traversable) -> bytes:
        """The SHA-256 of the content of a file; raises DataError for a file that is too large to be decoded."""
        return self._part_of[file].digest(file)


def join_manifests(manifests: Sequence[Manifest]) -> Manifest:
    """Join data sets, e.g. to "busi+bus-uclm".

    Args:
        manifests: The data sets; each may be a bundle.

    Returns:
        All samples in order. Keys and patients begin with the name of the data set ("busi/benign (1)"), which is also
        `Sample.dataset`; classes are unchanged. The lines of `left_out` begin with the name too.

    Raises:
        SettingError: Two data sets have the same name.
        DataError: They have different regions.
    """
    first, names = manifests[0], [manifest.name for manifest in manifests]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise SettingError(
            f"Two data sets are called '{repeated[0]}'. Give your own folders different names: --data NAME=PATH."
        )
    for manifest in manifests:
        if (manifest.regions, manifest.nested) != (first.regions, first.nested):
            raise DataError(
                f"{first.name} has the regions {_described(first)}, {manifest.name} has {_described(manifest)}. Join "
                "data sets with the same regions."
            )
    return Manifest(
        name="+".join(names),
        samples=tuple(_joined(sample, manifest.name) for manifest in manifests for sample in manifest),
        regions=first.regions,
        left_out=tuple(f"{manifest.name}: {line}" for manifest in manifests for line in manifest.left_out),
        normal_left_out=sum(manifest.normal_left_out for manifest in manifests),
        nested=first.nested,
        files=JoinedFiles(manifests),
    )


def _described(manifest: Manifest) -> str:
    return ", ".join(manifest.regions) + ("" if manifest.nested else " (separate)")


def _joined(sample: Sample, dataset: str) -> Sample:
    patient = None if sample.patient is None else joined_key(dataset, sample.patient)
    return replace(sample, key=joined_key(dataset, sample.key), patient=patient, dataset=dataset)


def joined_key(dataset: str, key: str) -> str:
    """The key in joined data sets of an image that `dataset` calls `key`."""
    return f"{dataset}/{key}"


def joined_groups(plans: Sequence[FoldPlan]) -> tuple[tuple[str, ...], ...]:
    """The groups of all plans with the keys of the joined data sets."""
    return tuple(tuple(joined_key(plan.dataset, key) for key in group) for plan in plans for group in plan.groups)


def join_folds(manifest: Manifest, plans: Sequence[FoldPlan]) -> FoldPlan:
    """Join the folds of data sets, so that each image is tested in the same fold as in a training on its data set.

    Args:
        manifest: The joined data sets.
        plans: Their plans, with the same protocol, seed and number of folds.

    Returns:
        The plan for `manifest`.

    Raises:
        FoldError: A plan is an official split.
    """
    first = plans[0]
    if first.protocol == "official":
        raise FoldError(
            f"Official splits are not available for several data sets ({manifest.name}). Use protocol grouped, paper "
            "or leave-one-dataset-out."
        )
    fold_of = {joined_key(plan.dataset, key): fold for plan in plans for key, fold in plan.fold_of.items()}
    groups = joined_groups(plans)
    return FoldPlan(manifest.name, manifest.digest(), first.protocol, first.seed, first.count, groups, fold_of)


def refuse_shared_images(manifest: Manifest) -> None:
    """Raise DataError if images of different data sets are near-duplicates, as their folds are drawn independently.

    Args:
        manifest: The joined data sets. Their images are compared with the highest thresholds of the data sets; those
            of bundles by pixels and thumbnails only, which find no crops.
    """
    dataset_of = {sample.key: sample.dataset for sample in manifest}
    pairs = [
        f"{pair.first} and {pair.second} ({pair.kind}, {pair.score:.2f})"
        for pair in manifest_duplicates(manifest).pairs
        if dataset_of[pair.first] != dataset_of[pair.second]
    ]
    if pairs:
        raise DataError(
            f"{manifest.name}: images of different data sets show the same scene and could be in training and test "
            "set. Remove one image of each pair:",
            first_few(pairs),
        )
