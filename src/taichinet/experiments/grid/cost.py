"""Cost of a grid: floating-point operations (FLOP) from shapes, and hours from a measured speed.

A training step counts as three forward passes: one forward, and a backward pass that costs two. Validation and test are
one forward pass per image. Resizing, augmentation and scores are not counted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch

from taichinet.batch import Batch
from taichinet.datasets.catalogue import find_dataset
from taichinet.errors import DataError, SettingError
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.grid.cells import Cell, names_of, part_recipes, plan_grid, refuse_absent
from taichinet.experiments.grid.progress import Entry, read_progress
from taichinet.experiments.grid.suite import Suite
from taichinet.experiments.provenance import describe_machine, source_commit
from taichinet.losses.objective import objective
from taichinet.models.backbones import architecture
from taichinet.models.catalogue import create_model
from taichinet.models.complexity import measure_complexity
from taichinet.progress import tracked
from taichinet.storage.documents import read_json
from taichinet.training.device import choose_device_config
from taichinet.training.loop import TrainingStep, train_epoch

FORWARDS_PER_STEP = 3
NORMAL_IMAGES = {"busi": 133}  # included in the number of images in the catalogue
CALIBRATION_BATCH = 4
CALIBRATION_STEPS = 3


@dataclass(frozen=True)
class Work:
    """One training: number of training images (`images`) and of validation or test images (`held_out`)."""

    experiment: Experiment
    dataset: str
    key: str
    mining_key: str
    images: int
    held_out: int
    epochs_done: int = 0


@dataclass(frozen=True)
class Cost:
    """Number and FLOP of the trainings and of the mining stages; identical ones count once."""

    trainings: int
    training_flop: float
    minings: int
    mining_flop: float

    @property
    def flop(self) -> float:
        """FLOP of trainings and mining stages."""
        return self.training_flop + self.mining_flop


def forward_flop(model: str, size: int, options: Mapping[str, Any]) -> float:
    """FLOP of a forward pass of one image."""
    return _forward_flop(model, size, json.dumps(architecture(dict(options)), sort_keys=True))


@cache
def _forward_flop(model: str, size: int, options: str) -> float:
    return measure_complexity(model, size, **json.loads(options)).gflops * 1e9


def training_flop(work: Work) -> float:
    """FLOP of the remaining epochs of a training, with validation and test."""
    recipe = work.experiment
    forward = forward_flop(recipe.model, recipe.data.size, recipe.options)
    epochs = recipe.training.epochs - work.epochs_done
    return forward * (epochs * (FORWARDS_PER_STEP * work.images + work.held_out) + work.held_out)


def mining_flop(work: Work) -> float:
    """FLOP of the mining stage of a training; 0 without learning strategy."""
    recipe = work.experiment
    if recipe.training.strategy == "plain":
        return 0.0
    options: dict[str, Any] = {
        key: recipe.options[key] for key in ("in_channels", "num_classes") if key in recipe.options
    }
    forward = forward_flop("unet++", recipe.data.size, {**options, "width": recipe.mining.width})
    return forward * work.images * (FORWARDS_PER_STEP * recipe.mining.epochs + 1)


def total_cost(works: Iterable[Work]) -> Cost:
    """Total cost; identical trainings and mining stages count once."""
    trainings = {work.key: work for work in works}
    minings = {work.mining_key: work for work in trainings.values() if mining_flop(work)}
    return Cost(
        len(trainings),
        sum(map(training_flop, tracked(trainings.values(), "counting operations"))),
        len(minings),
        sum(map(mining_flop, minings.values())),
    )


@dataclass(frozen=True)
class CostAssumptions:
    """How the hours are estimated.

    Attributes:
        calibrate: Time a training step of each network on this machine.
        throughput: Output of benchmarks/training_throughput.py, used for this machine if `calibrate` is false.
        finished: FLOP/s of finished trainings on this machine by `speed_key`, used if none of the above is given.
        gpu_tflops: Peak TFLOPS of the GPU for which hours are estimated.
        utilisation: Assumed fraction of this peak, in (0, 1].
    """

    calibrate: bool
    throughput: Path | None
    finished: Mapping[str, float]
    gpu_tflops: float
    utilisation: float


def plan_work(
    suites: list[Suite], data: dict[str, str], out: Path, say: Callable[[str], None], group_by: str | None = None
) -> tuple[list[Entry], list[Work]]:
    """List the cells with their state, and the remaining work; `say` prints messages on the progress.

    Without `data`, there are no cells, and the work is that of all suites for the numbers of images that the authors of
    the data sets publish. Raises DataError if some of the data sets of the suites are given, but not all.
    """
    try:
        refuse_absent(suites, data)
    except DataError as error:
        if data:
            raise
        say(f"{error.summary} Using the numbers of images published by their authors.")
        return [], published_works(suites)
    grid = plan_grid(suites, data, out, lambda name: say(f"Reading {name}"), group_by)
    entries = read_progress(grid.cells, grid.transfers).entries
    return entries, [work_of(e.task, e.epoch) for e in entries if isinstance(e.task, Cell) and e.state != "done"]


def estimate(
    names: list[str], suites: list[Suite], works: list[Work], assumptions: CostAssumptions, say: Callable[[str], None]
) -> dict[str, Any]:
    """The content of the cost file; `names` are the suites as given on the command line."""
    total = total_cost(works)
    effective_tflops = assumptions.gpu_tflops * assumptions.utilisation
    return {
        "what": "cost of every run once; identical runs and mining stages count once",
        "suites": [Path(name).name for name in names],
        "scales": sorted({suite.scale for suite in suites}),
        "trainings": total.trainings,
        "preparations": total.minings,
        "training_pflop": round(total.training_flop / 1e15, 3),
        "preparation_pflop": round(total.mining_flop / 1e15, 3),
        "by_data_set": _by_data_set(works),
        "assumptions": [
            "a training step costs three forward passes; evaluation, resizing and augmentation cost nothing",
            "the cost of a forward pass is that of its convolutions and matrix products, 2 FLOP per multiply-add",
            "numbers of images are those of the given data, otherwise those published by the authors",
        ],
        "this_machine": _this_machine(works, total, assumptions, say),
        "one_gpu": {
            "peak_tflops": assumptions.gpu_tflops,
            "assumed_utilisation": assumptions.utilisation,
            "effective_tflops": effective_tflops,
            "hours": round(total.flop / (effective_tflops * 1e12) / 3600, 2),
        },
        "commit": source_commit(),
    }


def _this_machine(
    works: list[Work], total: Cost, assumptions: CostAssumptions, say: Callable[[str], None]
) -> dict[str, Any]:
    """Estimated hours on this machine and how its speed was measured; hours are None without a measurement."""
    networks = {speed_key(work.experiment): work.experiment for work in works}
    if assumptions.calibrate:
        return {
            "hours": _hours(works, total, calibrate(networks.values(), say)),
            "speed_from": "a training step of each network, median of three batches of four; mining stages at their "
            "mean speed",
            "machine": describe_machine(),
        }
    if assumptions.throughput is not None:
        speed = read_speed(assumptions.throughput)
        return {
            "hours": round(total.flop / speed / 3600, 2),
            "gflop_per_second": round(speed / 1e9, 1),
            "speed_from": f"{assumptions.throughput.name}: training step of TaiChiNet, assumed for every network",
            "machine": read_json(assumptions.throughput).get("machine"),
        }
    if networks and networks.keys() <= assumptions.finished.keys():
        return {
            "hours": _hours(works, total, assumptions.finished),
            "speed_from": "finished trainings of each network in --output; mining stages at their mean speed",
            "machine": describe_machine(),
        }
    known = len(networks.keys() & assumptions.finished.keys())
    trained = f" for {len(networks) - known} of {len(networks)} networks" if known else ""
    return {"hours": None, "speed_from": f"not measured{trained}: add --calibrate or --throughput FILE"}


def _hours(works: list[Work], total: Cost, speeds: Mapping[str, float]) -> float:
    """Hours of the works at `speeds`, by `speed_key`; mining stages at their mean."""
    unique = {work.key: work for work in works}
    seconds = sum(training_flop(work) / speeds[speed_key(work.experiment)] for work in unique.values())
    mean_speed = total.training_flop / seconds if seconds else float("nan")
    seconds += total.mining_flop / mean_speed if total.mining_flop else 0.0
    return round(seconds / 3600, 2)


def _by_data_set(works: list[Work]) -> dict[str, dict[str, float]]:
    by_data_set = {}
    for name in dict.fromkeys(work.dataset for work in works):
        cost = total_cost(work for work in works if work.dataset == name)
        by_data_set[name] = {"trainings": cost.trainings, "pflop": round(cost.flop / 1e15, 3)}
    return by_data_set


def work_of(cell: Cell, epochs_done: int = 0) -> Work:
    """The work of a cell of a planned grid."""
    recipe = cell.experiment
    held_out = max(round(cell.images * recipe.data.validation_share), 1)
    where = [cell.dataset, cell.protocol, cell.fold, *_fold_settings(recipe)]
    return Work(recipe, cell.dataset, cell.key, _mining_key(recipe, where), cell.images, held_out, epochs_done)


def published_works(suites: Sequence[Suite]) -> list[Work]:
    """The works of suites without data, from the numbers of images published by the authors of the data sets."""
    works = []
    for suite, part in ((suite, part) for suite in suites for part in suite.parts):  # noqa: B020
        if len(names_of(part.data)) > 1:
            raise SettingError(f"The fold plan of {part.data} is needed. Give the data sets with --data.")
        dataset = find_dataset(part.data)
        if dataset.images is None:
            raise SettingError(f"The number of images of {dataset.name} is not known. Give the data set with --data.")
        for recipe in part_recipes(suite, part):
            regions = len(dataset.regions)
            recipe = vary(recipe, {"options.num_classes": regions} if regions > 1 else {})
            images = dataset.images - (0 if recipe.data.include_normal else NORMAL_IMAGES.get(dataset.name, 0))
            tested = round(images / recipe.data.folds)
            validated = round((images - tested) * recipe.data.validation_share)
            for protocol in suite.protocols_of(part):
                folds = range(1 if protocol == "official" else recipe.data.folds)  # a test set is one fold
                for fold in suite.folds if suite.folds is not None else folds:
                    where = [dataset.name, protocol, fold, *_fold_settings(recipe)]
                    key = json.dumps([where, recipe.model_dump(mode="json", exclude={"name"})], sort_keys=True)
                    trained = images - tested - validated
                    works.append(Work(recipe, dataset.name, key, _mining_key(recipe, where), trained, validated))
    return works


def read_speed(path: Path) -> float:
    """FLOP/s from the output of benchmarks/training_throughput.py; SettingError for another file."""
    try:
        raw = read_json(path, SettingError)
        images, size, width = float(raw["ours_images_per_second"]), int(raw["size"]), int(raw["width"])
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise SettingError(f"{path} is not an output of benchmarks/training_throughput.py ({error}).") from error
    return images * FORWARDS_PER_STEP * forward_flop("taichinet", size, {"width": width})


def calibrate(experiments: Collection[Experiment], say: Callable[[str], None]) -> dict[str, float]:
    """FLOP/s of a training step of each network on this machine, by `speed_key`: median of three small batches."""
    speeds: dict[str, float] = {}
    for recipe in tracked(experiments, "timing networks"):
        key = speed_key(recipe)
        if key in speeds:
            continue
        say(f"Timing {recipe.model}, {recipe.data.size} px")
        seconds = median(_time_steps(recipe))
        flop = CALIBRATION_BATCH * FORWARDS_PER_STEP * forward_flop(recipe.model, recipe.data.size, recipe.options)
        speeds[key] = flop / seconds
    return speeds


def speed_key(recipe: Experiment) -> str:
    """Key that is equal for recipes with the same network and input resolution."""
    return json.dumps([recipe.model, recipe.data.size, architecture(recipe.options)], sort_keys=True)


def _time_steps(recipe: Experiment) -> list[float]:
    device_config = choose_device_config(recipe.training.precision, recipe.training.channels_last)
    network = device_config.place(create_model(recipe.model, **architecture(recipe.options)))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-6)
    image = torch.rand(CALIBRATION_BATCH, recipe.channels, recipe.data.size, recipe.data.size)
    regions = int(recipe.options.get("num_classes", 1))
    lesion = (image[:, :1].expand(-1, regions, -1, -1) > 0.5).float()
    batch = Batch(image, lesion)
    step = TrainingStep(network, lambda p, b: objective(p, b, "plain", recipe.objective), optimizer, device_config)
    seconds = []
    for _ in range(CALIBRATION_STEPS + 1):  # the first warms up
        began = time.perf_counter()
        train_epoch(step, [batch])
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def _fold_settings(recipe: Experiment) -> list[Any]:
    return [recipe.data.include_normal, recipe.data.folds, recipe.data.fold_seed]


def _mining_key(recipe: Experiment, where: list[Any]) -> str:
    shape = [
        recipe.data.size,
        recipe.channels,
        recipe.data.validation_share,
        recipe.data.augmentation.settings_in_use(),
    ]
    return json.dumps([where, shape, recipe.mining.model_dump(mode="json")], sort_keys=True)
