"""Cells of a grid: the training of one recipe on one fold of one data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from taichinet.datasets.catalogue import find_dataset, named_dataset, open_dataset, split_spec
from taichinet.datasets.folds import FoldPlan, Protocol, Split
from taichinet.datasets.manifest import ImageCounts, Manifest
from taichinet.datasets.prepared import count_empty_masks
from taichinet.errors import DataError, SettingError
from taichinet.experiments.experiment import Experiment, vary, with_seeds
from taichinet.experiments.grid.suite import Suite, SuitePart
from taichinet.experiments.identity import computation_key
from taichinet.experiments.recipes.best import BEST
from taichinet.experiments.recipes.catalogue import SCALES, get_recipe
from taichinet.experiments.recipes.own import own_recipe
from taichinet.experiments.study_data import find_pattern, fitted_to, open_folds, refuse_mix_of_one, study_folder
from taichinet.models.catalogue import find_entry
from taichinet.models.own_code import NetworkCode, names_file

Splits = Callable[[int, float], Split]  # by fold and share of validation images


@dataclass(frozen=True)
class Cell:
    """One fold of one recipe on one data set.

    Attributes:
        experiment: The recipe.
        data: Paths of the data set, or of several that are joined, as given to `open_dataset`.
        dataset: Name of the data set.
        protocol: Fold protocol.
        fold: Index of the fold.
        out: Folder of all runs.
        folder: The run folder, in `out`.
        key: Digest from `computation_key`: cells with equal keys are the same computation.
        images: Number of training images.
        code: The code of a network in a file, which worker processes execute; the user has named the file.
    """

    experiment: Experiment
    data: tuple[str, ...]
    dataset: str
    protocol: Protocol
    fold: int
    out: Path
    folder: Path
    key: str
    images: int
    code: NetworkCode | None = None

    @property
    def title(self) -> str:
        """E.g. `busi cpu-unet grouped fold 0`."""
        return f"{self.dataset} {self.experiment.name} {self.protocol} fold {self.fold}"


@dataclass(frozen=True)
class Transfer:
    """Evaluation of the networks of one study (`needs`) on all images of another data set, in STUDY/on-DATASET."""

    data: str
    dataset: str
    folder: Path
    needs: tuple[Cell, ...]

    @property
    def title(self) -> str:
        """E.g. `busi cpu-unet grouped on udiat`."""
        first = self.needs[0]
        return f"{first.dataset} {first.experiment.name} {first.protocol} on {self.dataset}"


@dataclass(frozen=True)
class Grid:
    """Cells in the order of the suite, evaluations on other data sets, and manifests of the data sets by title."""

    cells: tuple[Cell, ...]
    transfers: tuple[Transfer, ...]
    manifests: Mapping[str, Manifest]


def name_data(specs: list[str]) -> dict[str, str]:
    """Paths for `open_dataset` by the name of the data set, from ["NAME=DIR", "DIR"]; DataError for repeated names."""
    named: dict[str, str] = {}
    for spec in specs:
        dataset, path = split_spec(spec)
        if dataset.name in named:
            raise DataError(f"--data gives {dataset.name} twice: {named[dataset.name]} and {path}. Give it once.")
        named[dataset.name] = f"{dataset.name}={path.absolute()}"
    return named


def plan_grid(
    suites: Sequence[Suite],
    data: Mapping[str, str],
    out: Path,
    on_data: Callable[[str], None] = lambda name: None,
    group_by: str | None = None,
) -> Grid:
    """Plan all cells of suites. Reads the data sets, and makes fold plans in `out`/folds if there are none.

    `data` has the path of each data set by name, see `name_data`. `on_data` is called with the name of each data set
    before it is read. `group_by` finds the patients of plain folders, see `open_study_data`; it is only needed to draw
    the fold plans, which the cells read.

    Raises:
        SettingError: A recipe, setting or fold does not exist, or two parts of a suite have the same run folder.
        DataError: A data set is missing in `data`, which is checked first, or cannot be read.
    """
    refuse_absent(suites, data)
    out, pattern = out.absolute(), find_pattern(group_by, list(data.values()))
    read: dict[tuple[Any, ...], tuple[Manifest, FoldPlan, str, Splits]] = {}
    cells: dict[Path, Cell] = {}
    transfers: dict[Path, Transfer] = {}
    manifests: dict[str, Manifest] = {}
    wanted = [
        (suite, part, recipe, protocol)
        for suite in suites
        for part in suite.parts
        for recipe in part_recipes(suite, part)
        for protocol in suite.protocols_of(part)
    ]
    for suite, part, recipe, protocol in wanted:
        settings = recipe.data
        refuse_mix_of_one(recipe, len(names_of(part.data)))
        key = (part.data, protocol, settings.include_normal, settings.folds, settings.fold_seed)
        if key not in read:
            on_data(f"{part.data}, protocol {protocol}")
            manifest, plan = open_folds(recipe, paths_of(part.data, data), protocol, out, patients=pattern)
            kept = cache(partial(_split, plan, manifest))  # a split of BUSI takes 0.7 s
            read[key] = (manifest, plan, manifest.content_digest(), kept)
        manifest, plan, content, splits = read[key]
        manifests[_title(part.data, recipe)] = manifest
        fitted = fitted_to(recipe, manifest)
        made = _study_cells(fitted, paths_of(part.data, data), plan, splits, content, suite.folds, out)
        for cell in made:
            if cells.setdefault(cell.folder, cell).key != cell.key:
                raise SettingError(
                    f"Two recipes have the run folder {cell.folder} and different settings. Give one "
                    "another name: set: {name: ...} in a YAML file, or rename the class or function in FILE.py."
                )
        for other in part.test_on:
            folder = study_folder(fitted, plan, out) / f"on-{other}"
            transfers.setdefault(folder, Transfer(data[other], other, folder, made))
    return Grid(tuple(cells.values()), tuple(transfers.values()), manifests)


def count_images(grid: Grid) -> dict[str, ImageCounts]:
    """Numbers of images used, with an empty mask, and skipped, of each data set; decodes the masks.

    Data sets of evaluations that cannot be read are skipped: the evaluation reports the reason.
    """
    manifests = dict(grid.manifests)
    for transfer in grid.transfers:
        recipe = transfer.needs[0].experiment
        title = _title(transfer.dataset, recipe)
        if title not in manifests:
            with suppress(DataError):
                manifests[title] = open_dataset(transfer.data, recipe.data.include_normal)
    return {title: manifest.count_images(count_empty_masks(manifest)) for title, manifest in manifests.items()}


def names_of(dataset: str) -> list[str]:
    """The data sets that are joined in "busi+bus-uclm", or the one."""
    return dataset.split("+")


def paths_of(dataset: str, data: Mapping[str, str]) -> tuple[str, ...]:
    """The paths of a data set of a suite, or of several that are joined."""
    return tuple(data[name] for name in names_of(dataset))


def _has_normal(dataset: str) -> bool:
    return any(named_dataset(name).has_normal for name in names_of(dataset))


def _title(dataset: str, recipe: Experiment) -> str:
    with_normal = recipe.data.include_normal and _has_normal(dataset)
    return f"{dataset} with normal images" if with_normal else dataset


def part_recipes(suite: Suite, part: SuitePart) -> list[Experiment]:
    """The recipes of a part, with the settings of part and suite, for each seed; names may end in +normal, +seedK."""
    recipes = []
    for name in part.recipes:
        changes = {**suite.set, **part.set}
        if names_file(name):
            unchanged, recipe = SCALES[suite.scale](), own_recipe(name, changes, suite.scale)
        else:
            unchanged = get_recipe(name if name.partition("-")[0] in (*SCALES, *BEST) else f"{suite.scale}-{name}")
            recipe = vary(unchanged, changes)
        if part.normal is not None and _has_normal(part.data):
            recipe = vary(recipe, {"data.include_normal": part.normal})
        if recipe.data.include_normal and not unchanged.data.include_normal:
            recipe = vary(recipe, {"name": f"{recipe.name}+normal"})
        recipes += with_seeds(recipe, suite.seeds)
    return recipes


def _split(plan: FoldPlan, manifest: Manifest, fold: int, validation_share: float) -> Split:
    return plan.split(fold, manifest.strata, validation_share)


def _study_cells(
    experiment: Experiment,
    data: tuple[str, ...],
    plan: FoldPlan,
    splits: Splits,
    content: str,
    folds: tuple[int, ...] | None,
    out: Path,
) -> tuple[Cell, ...]:
    if folds is not None and (beyond := [fold for fold in folds if not 0 <= fold < plan.count]):
        raise SettingError(
            f"--fold {beyond[0]} does not exist: {plan.dataset} {plan.protocol} has 0..{plan.count - 1}."
        )
    made = []
    code = find_entry(experiment.model).code
    for fold in folds if folds is not None else range(plan.count):
        split = splits(fold, experiment.data.validation_share)
        key = computation_key(experiment, content, split, plan)
        folder = study_folder(experiment, plan, out) / f"fold-{fold}"
        images = len(split.train)
        made.append(Cell(experiment, data, plan.dataset, plan.protocol, fold, out, folder, key, images, code))
    return tuple(made)


def refuse_absent(suites: Sequence[Suite], data: Mapping[str, str]) -> None:
    """Raise DataError for data sets that the suites need and `data` lacks, and SettingError for unknown data sets."""
    parts = [part for suite in suites for part in suite.parts]
    wanted = {name for part in parts for name in (*names_of(part.data), *part.test_on)}
    for name in wanted - set(data):
        find_dataset(name)
    if absent := sorted(wanted - set(data)):
        raise DataError(
            f"The runs need {', '.join(sorted(wanted))}; not given: {', '.join(absent)}. Add "
            + " ".join(f"--data {name}=FOLDER" for name in absent)
            + "."
        )
