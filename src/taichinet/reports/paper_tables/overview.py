"""The overview of all runs: the main networks with all folds, compared under the same data, folds and training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from taichinet.evaluation.statistics import holm
from taichinet.experiments.recipes.best import BEST
from taichinet.experiments.recipes.catalogue import SCALES, list_recipes
from taichinet.experiments.records import SCORES_FILE
from taichinet.models.catalogue import list_models
from taichinet.progress import tracked
from taichinet.reports.paper_tables.comparisons import Comparison, compare_regions, find_difference
from taichinet.reports.paper_tables.runs import KnownGroups, Method

OWN_FOLDS = ("grouped", "paper", "official")  # training and test images are of the same data sets
UNET = ("unet", "unet-lite", "unet-timm")  # networks that consist of one path of the TaiChiNet of the same encoder
TAICHINET = ("taichinet", "taichinet-lite", "taichinet-timm")


@dataclass(frozen=True)
class Condition:
    """Methods that differ only in their network: the same data, folds, image size and number of epochs.

    Attributes:
        methods: The methods, the U-Net first.
        baseline: The U-Net; None if there is none.
        comparisons: Every method minus the U-Net, and TaiChiNet minus every other one. Holm's correction is over these.
    """

    methods: tuple[Method, ...]
    baseline: Method | None
    comparisons: tuple[Comparison, ...]

    @property
    def taichinet(self) -> Method | None:
        """The first TaiChiNet; None if there is none."""
        return next((method for method in self.methods if method.experiment.model in TAICHINET), None)

    def compared(self, method: Method, reference: Method | None, region: str | None) -> Comparison | None:
        """The comparison of these two; None if there is none."""
        same = (c for c in self.comparisons if c.method is method and c.reference is reference and c.region == region)
        return next(same, None)


@dataclass(frozen=True)
class Overview:
    """The main networks.

    Attributes:
        conditions: Tests on the data set of the training first, then tests on other data sets.
        methods: All methods, also those that are not in `conditions`.
    """

    conditions: tuple[Condition, ...]
    methods: tuple[Method, ...]

    @property
    def shown(self) -> tuple[Method, ...]:
        """The methods of all conditions."""
        return tuple(method for condition in self.conditions for method in condition.methods)


def make_overview(methods: Sequence[Method], groups: KnownGroups, resamples: int) -> Overview:
    """Select the main networks and compare them.

    Networks of the catalogue, our own recipes and recipes of the user are selected, but not ablations and variants of
    a network; and of these the ones with all folds. If none has all folds, the incomplete ones are selected.

    Args:
        methods: All methods.
        groups: Near-duplicates and images of one patient.
        resamples: Number of bootstrap resamples.

    Returns:
        The overview. A method without its scores.csv is not compared.
    """
    recipes, networks = list_recipes(), list_models()
    main = [
        method
        for method in methods
        if method.name in BEST or method.name not in recipes or method.name.partition("-")[2] in networks
    ] or methods
    selected = [method for method in main if is_complete(method)] or main
    members: dict[tuple[object, ...], list[Method]] = {}
    for method in selected:
        settings = method.experiment
        members.setdefault((method.first.study, settings.data.size, settings.training.epochs), []).append(method)
    ordered = sorted(members.values(), key=lambda same: (not same[0].own_data, same[0].protocol not in OWN_FOLDS))
    conditions = tracked(ordered, "comparing the networks", len(ordered))
    return Overview(tuple(_condition(same, groups, resamples) for same in conditions), tuple(methods))


def is_complete(method: Method) -> bool:
    """Whether all folds were trained."""
    return len(method.folds_done) == method.file.folds


def regions_of(method: Method) -> tuple[str | None, ...]:
    """The regions if there are several; otherwise None, which selects the lesion images."""
    several = has_scores(method) and len(method.regions) > 1
    return method.regions if several else (None,)


def has_scores(method: Method) -> bool:
    """Whether the scores of each image can be read; a copy of a run may have its summary only."""
    return all((run.folder / SCORES_FILE).is_file() for run in method.runs)


def _condition(methods: Sequence[Method], groups: KnownGroups, resamples: int) -> Condition:
    unets = [method for method in methods if method.experiment.model in UNET]
    # A recipe of the package before one of the user.
    baseline = min(
        unets, key=lambda method: method.name not in BEST and method.name.partition("-")[0] not in SCALES, default=None
    )
    ordered = tuple(sorted(methods, key=lambda method: method is not baseline))
    condition = Condition(ordered, baseline, ())
    found = [
        comparison
        for method, reference in _pairs(condition)
        if has_scores(method) and has_scores(reference) and find_difference(method, reference) is None
        for comparison in compare_regions(method, reference, groups, resamples)
    ]
    adjusted = holm([comparison.test.p for comparison in found])
    tested = tuple(replace(comparison, p_holm=p) for comparison, p in zip(found, adjusted, strict=True))
    return replace(condition, comparisons=tested)


def _pairs(condition: Condition) -> Iterator[tuple[Method, Method]]:
    for method in condition.methods:
        if condition.baseline is not None and method is not condition.baseline:
            yield method, condition.baseline
        if condition.taichinet is not None and not any(m is method for m in (condition.baseline, condition.taichinet)):
            yield condition.taichinet, method
