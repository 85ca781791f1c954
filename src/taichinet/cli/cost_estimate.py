"""The planned runs of a grid, and their estimated cost on this machine and on one GPU, for `taichinet cost`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from taichinet.errors import DataError
from taichinet.experiments.grid.cells import Cell, plan_grid, refuse_absent
from taichinet.experiments.grid.cost import (
    Cost,
    Costs,
    Work,
    calibrate,
    published_works,
    read_speed,
    speed_key,
    work_of,
)
from taichinet.experiments.grid.progress import Entry, read_progress
from taichinet.experiments.grid.suite import Suite
from taichinet.experiments.provenance import describe_machine, source_commit
from taichinet.reports.document.format import duration
from taichinet.storage.documents import read_json


@dataclass(frozen=True)
class CostAssumptions:
    """How the hours are estimated.

    Attributes:
        calibrate: Time a training step of each network on this machine.
        throughput: Output of benchmarks/training_throughput.py, used for this machine if `calibrate` is false.
        gpu_tflops: Peak TFLOPS of the GPU for which hours are estimated.
        utilisation: Assumed fraction of this peak, in (0, 1].
    """

    calibrate: bool
    throughput: Path | None
    gpu_tflops: float
    utilisation: float


def plan_work(suites: list[Suite], data: dict[str, str], out: Path, console: Console) -> tuple[list[Entry], list[Work]]:
    """List the cells with their state, and the remaining work.

    Args:
        suites: The suites to estimate.
        data: Path of each data set by name. Without any, there are no cells, and the work is that of all suites for the
            numbers of images that the authors of the data sets publish.
        out: Folder of all runs.
        console: For messages on the progress.

    Raises:
        DataError: Some of the data sets of the suites are given, but not all.
    """
    try:
        refuse_absent(suites, data)
    except DataError as error:
        if data:
            raise
        console.print(f"{error.summary} Using the numbers of images published by their authors.", markup=False)
        return [], published_works(suites)
    grid = plan_grid(suites, data, out, lambda name: console.print(f"Reading {name}", markup=False))
    entries = read_progress(grid.cells, grid.transfers).entries
    return entries, [work_of(e.task, e.epoch) for e in entries if isinstance(e.task, Cell) and e.state != "done"]


def estimate(
    names: list[str], suites: list[Suite], works: list[Work], assumptions: CostAssumptions, console: Console
) -> dict[str, Any]:
    """The content of the cost file; `names` are the suites as given on the command line."""
    costs = Costs()
    total = costs.total(works)
    effective_tflops = assumptions.gpu_tflops * assumptions.utilisation
    return {
        "what": "cost of training every cell of these suites once; identical cells and mining stages count once",
        "suites": [Path(name).name for name in names],
        "scales": sorted({suite.scale for suite in suites}),
        "trainings": total.trainings,
        "preparations": total.minings,
        "training_pflop": round(total.training_flop / 1e15, 3),
        "preparation_pflop": round(total.mining_flop / 1e15, 3),
        "by_data_set": _by_data_set(works, costs),
        "assumptions": [
            "a training step costs three forward passes; evaluation, resizing and augmentation cost nothing",
            "the cost of a forward pass is that of its convolutions and matrix products, 2 FLOP per multiply-add",
            "numbers of images are those of the given data, otherwise those published by the authors",
        ],
        "this_machine": _this_machine(works, costs, total, assumptions, console),
        "one_gpu": {
            "peak_tflops": assumptions.gpu_tflops,
            "assumed_utilisation": assumptions.utilisation,
            "effective_tflops": effective_tflops,
            "hours": round(total.flop / (effective_tflops * 1e12) / 3600, 2),
        },
        "commit": source_commit(),
    }


def _this_machine(
    works: list[Work], costs: Costs, total: Cost, assumptions: CostAssumptions, console: Console
) -> dict[str, Any]:
    """Estimated hours on this machine and how its speed was measured; hours are None without a measurement."""
    if assumptions.calibrate:
        unique = {work.key: work for work in works}
        experiments = [work.experiment for work in unique.values()]
        speeds = calibrate(experiments, costs, lambda name: console.print(f"Timing {name}", markup=False))
        seconds = sum(costs.training_flop(work) / speeds[speed_key(work.experiment)] for work in unique.values())
        mean_speed = total.training_flop / seconds if seconds else float("nan")
        seconds += total.mining_flop / mean_speed if total.mining_flop else 0.0
        return {
            "hours": round(seconds / 3600, 2),
            "speed_from": "a training step of each network, median of three batches of four; mining stages at their "
            "mean speed",
            "machine": describe_machine(),
        }
    if assumptions.throughput is not None:
        speed = read_speed(assumptions.throughput, costs)
        return {
            "hours": round(total.flop / speed / 3600, 2),
            "gflop_per_second": round(speed / 1e9, 1),
            "speed_from": f"{assumptions.throughput.name}: training step of TaiChiNet, assumed for every network",
            "machine": read_json(assumptions.throughput).get("machine"),
        }
    return {"hours": None, "speed_from": "not measured: add --calibrate or --throughput FILE"}


def _by_data_set(works: list[Work], costs: Costs) -> dict[str, dict[str, float]]:
    by_data_set = {}
    for name in dict.fromkeys(work.dataset for work in works):
        cost = costs.total(work for work in works if work.dataset == name)
        by_data_set[name] = {"trainings": cost.trainings, "pflop": round(cost.flop / 1e15, 3)}
    return by_data_set


def print_cost(content: dict[str, Any]) -> None:
    """Print the totals and the hours of `content`, as returned by `estimate`."""
    console = Console()
    machine, gpu = content["this_machine"], content["one_gpu"]
    console.print(
        f"Trainings: {content['trainings']}. Mining stages: {content['preparations']}. Operations: "
        f"{content['training_pflop'] + content['preparation_pflop']:.1f} PFLOP.",
        highlight=False,
    )
    hours = "unknown" if machine["hours"] is None else duration(machine["hours"] * 3600)
    console.print(f"This machine: {hours} ({machine['speed_from']}).", soft_wrap=True, markup=False, highlight=False)
    console.print(
        f"One GPU with {gpu['peak_tflops']:g} TFLOPS at an assumed utilisation of {gpu['assumed_utilisation']:.0%}: "
        f"{duration(gpu['hours'] * 3600)}.",
        soft_wrap=True,
        highlight=False,
    )
