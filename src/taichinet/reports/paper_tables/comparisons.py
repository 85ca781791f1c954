"""Paired tests of methods on the same images and folds; with `--against`, of all methods against one of them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from math import nan

import numpy as np

from taichinet.errors import FoldError, SettingError, unknown_name
from taichinet.evaluation.statistics import PairedTest, Verdict, compare_pairs, decide, holm
from taichinet.evaluation.undefined import SUFFIX
from taichinet.experiments.recipes.catalogue import SCALES
from taichinet.reports.document.format import title_of
from taichinet.reports.paper_tables.runs import KnownGroups
from taichinet.reports.paper_tables.tested import Selection, Tested

SEED = 0  # of every bootstrap
SCORE = "dice" + SUFFIX["native"]  # at original resolution, where networks of other input resolutions can be compared


@dataclass(frozen=True)
class Comparison:
    """The test of a method against the reference.

    Attributes:
        method: The method.
        reference: The reference.
        region: The region; None if there is one.
        folds: The folds that both tested.
        test: The differences of the Dice at original resolution, method minus reference.
        p_holm: The p-value, adjusted for all comparisons with the reference.
    """

    method: Tested
    reference: Tested
    region: str | None
    folds: tuple[int, ...]
    test: PairedTest
    p_holm: float = nan

    @property
    def verdict(self) -> Verdict:
        """Whether the method has the higher Dice."""
        return decide(self.test, self.p_holm)


@dataclass(frozen=True)
class Against:
    """All comparisons with one reference, and the methods that cannot be compared with it, with the reason."""

    reference: str
    comparisons: tuple[Comparison, ...]
    refused: tuple[tuple[Tested, str], ...]


def compare_methods(
    method: Tested,
    reference: Tested,
    selection: Selection,
    column: str,
    groups: KnownGroups,
    resamples: int,
    folds: Container[int] | None = None,
) -> PairedTest | None:
    """Compare two methods on the images that both were tested on.

    Args:
        method: The first method; differences are its scores minus those of `reference`.
        reference: The other method.
        selection: The images.
        column: The score, a column of scores.csv.
        groups: Near-duplicates and images of one patient, which are resampled together.
        resamples: Number of bootstrap resamples.
        folds: Folds to compare; None for all.

    Returns:
        The test; None if no image was tested with both.
    """
    ours, theirs = (tested.per_image(selection, column, folds) for tested in (method, reference))
    keys = [key for key in ours.index if key in theirs.index]
    if not keys:
        return None
    clusters = groups.clusters(method.tested_on, keys)
    values, others = (np.asarray(series[keys], dtype=np.float64) for series in (ours, theirs))
    return compare_pairs(values, others, np.random.default_rng(SEED), clusters, resamples)


def compare_against(methods: Sequence[Tested], name: str, groups: KnownGroups, resamples: int) -> Against:
    """Compare methods with a reference on the same images and folds, with Holm's correction over all comparisons.

    Args:
        methods: The methods, with the reference.
        name: Name of the reference, or of its recipe without the scale.
        groups: Near-duplicates and images of one patient.
        resamples: Number of bootstrap resamples.

    Returns:
        The comparisons. A method that was tested on the data set of the reference, but on other images or folds, is
        listed with the reason.

    Raises:
        FoldError: No method can be compared.
        SettingError: There is no such reference, or several.
    """
    references = find_references(methods, name)
    comparisons: list[Comparison] = []
    refused: list[tuple[Tested, str]] = []
    for method in methods:
        candidates = [reference for reference in references if reference.tested_on == method.tested_on]
        if method.name == references[0].name or not candidates:
            continue
        reasons = [(reference, find_difference(method, reference)) for reference in candidates]
        same = next((reference for reference, reason in reasons if reason is None), None)
        if same is None:
            refused.append((method, str(reasons[0][1])))
        else:
            comparisons += compare_regions(method, same, groups, resamples)
    if not comparisons:
        reasons_text = "".join(f"\n  - {method.name}: {reason}" for method, reason in refused)
        raise FoldError(
            f"Nothing can be compared with '{references[0].name}': no other method was tested on the same images and "
            f"folds. Train both with the same --data, --protocol and --output.{reasons_text}"
        )
    adjusted = holm([comparison.test.p for comparison in comparisons])
    tested = tuple(replace(comparison, p_holm=p) for comparison, p in zip(comparisons, adjusted, strict=True))
    return Against(references[0].name, tested, tuple(refused))


def find_references(methods: Sequence[Tested], name: str) -> list[Tested]:
    """The methods called `name`, or SCALE-`name`, on each data set and protocol.

    Raises:
        SettingError: There is none, or methods of several names or settings.
    """
    names = tuple(dict.fromkeys(method.name for method in methods))
    matching = [name] if name in names else [other for other in names if other in {f"{s}-{name}" for s in SCALES}]
    if not matching:
        raise unknown_name("network or recipe for --against", name, names)
    if len(matching) > 1:
        raise SettingError(f"--against {name} is ambiguous: there are {' and '.join(matching)}. Give one of these.")
    found = [method for method in methods if method.name == matching[0]]
    by_place: dict[tuple[object, ...], Tested] = {}
    for method in found:
        place = (method.trained_on, method.tested_on, method.protocol, method.images_digest)
        if (twin := by_place.setdefault(place, method)) is not method:
            raise SettingError(
                f"--against {name} is ambiguous: {twin.folder} and {method.folder} have different settings. Give a "
                "folder that contains one of them."
            )
    return found


def find_difference(method: Tested, reference: Tested) -> str | None:
    """Why two methods that were tested on the same data set cannot be compared; None if they can.

    They can be if both were trained on the same data set, as far as known, and tested the same images in the same
    folds, of those that both have completed.
    """
    trained_on = (method.trained_on, reference.trained_on)
    if None not in trained_on and trained_on[0] != trained_on[1]:
        return f"trained on {title_of(str(trained_on[0]))}, the reference on {title_of(str(trained_on[1]))}"
    digests = (method.images_digest, reference.images_digest)
    if all(digests) and digests[0] != digests[1]:
        return f"other images of {title_of(method.tested_on)}: with or without normal images, or another version"
    common = common_folds(method, reference)
    if not common:
        return "no fold was completed by both"
    ours, theirs = (
        {key: folds & common for key, folds in tested.folds_by_image().items() if folds & common}
        for tested in (method, reference)
    )
    if ours != theirs:
        key = min(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
        texts = (_describe_folds(folds.get(key)) for folds in (ours, theirs))
        return f"other folds: image '{key}' is {' and with the reference '.join(texts)}"
    return None


def common_folds(method: Tested, reference: Tested) -> frozenset[int]:
    """The folds in which both were tested."""
    ours, theirs = (frozenset[int]().union(*t.folds_by_image().values()) for t in (method, reference))
    return ours & theirs


def _describe_folds(folds: frozenset[int] | None) -> str:
    if not folds:
        return "in none of the common folds"
    return f"in fold{'s' * (len(folds) > 1)} {', '.join(map(str, sorted(folds)))}"


def compare_regions(method: Tested, reference: Tested, groups: KnownGroups, resamples: int) -> list[Comparison]:
    """One comparison for each region of `reference`, on the folds that both have completed, without correction."""
    folds = common_folds(method, reference)
    several = len(reference.regions) > 1
    comparisons = []
    for region in reference.regions:
        selection = Selection(region=region) if several else Selection()
        test = compare_methods(method, reference, selection, SCORE, groups, resamples, folds)
        if test is not None:
            place = region if several else None
            comparisons.append(Comparison(method, reference, place, tuple(sorted(folds)), test))
    return comparisons
