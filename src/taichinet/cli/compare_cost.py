"""`taichinet compare --dry-run`: what would be done, what it costs here and on one GPU, and on what assumptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from taichinet.cli.compare_table import entries_table
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
from taichinet.experiments.grid.progress import Entry, look
from taichinet.experiments.grid.suite import Suite
from taichinet.experiments.provenance import describe_machine, source_commit
from taichinet.reports.document.format import duration
from taichinet.storage.atomic import write_json
from taichinet.storage.documents import read_json


def show_cost(
    names: list[str],
    suites: list[Suite],
    data: dict[str, str],
    out: Path,
    cost_file: Path | None,
    as_json: bool,
    measure: bool,
    throughput: Path | None,
    gpu_tflops: float,
    utilisation: float,
) -> None:
    """Print the cells with their state (where all data are given) and the cost of what is left; write `cost_file`."""
    console = Console(stderr=True, quiet=as_json)
    entries: list[Entry] = []
    try:
        refuse_absent(suites, data)
    except DataError as error:
        if data:
            raise
        console.print(f"{error.summary} Counted as published by the data sets' authors.", markup=False)
        works = published_works(suites)
    else:
        grid = plan_grid(suites, data, out, lambda name: console.print(f"Reading {name}", markup=False))
        entries = look(grid.cells, grid.transfers).entries
        works = [work_of(e.task, e.epoch) for e in entries if isinstance(e.task, Cell) and e.state != "done"]
    costs = Costs()
    total = costs.total(works)
    content = {
        "what": "cost of training every cell of these suites once; equal cells and equal preparations count once",
        "suites": [Path(name).name for name in names],
        "scales": sorted({suite.scale for suite in suites}),
        "trainings": total.trainings,
        "preparations": total.minings,
        "training_pflop": round(total.training_flop / 1e15, 3),
        "preparation_pflop": round(total.mining_flop / 1e15, 3),
        "by_data_set": _by_data_set(works, costs),
        "assumptions": [
            "a training step costs three forward passes; scores, resizing and augmentation nothing",
            "a forward pass costs its convolutions and matrix products, a multiplication and an addition being two",
            "numbers of images: of the data given, else as their authors publish",
        ],
        "this_machine": _here(works, costs, total, measure, throughput, console),
        "one_gpu": {
            "peak_tflops": gpu_tflops,
            "assumed_utilisation": utilisation,
            "effective_tflops": gpu_tflops * utilisation,
            "hours": round(total.flop / (gpu_tflops * utilisation * 1e12) / 3600, 2),
        },
        "commit": source_commit(),
    }
    if cost_file is not None:
        cost_file.parent.mkdir(parents=True, exist_ok=True)
        write_json(cost_file, content)
    if as_json:
        rows = [{"cell": e.task.title, "state": e.state, "epoch": e.epoch, "note": e.note} for e in entries]
        print(json.dumps({**content, "cells": rows}))
        return
    if entries:
        Console().print(entries_table(entries))
    _print(content)


def _here(
    works: list[Work], costs: Costs, total: Cost, measure: bool, throughput: Path | None, console: Console
) -> dict[str, Any]:
    """Hours on this machine, by the speed that was measured and how; None where nothing was."""
    if measure:
        unique = {work.key: work for work in works}
        experiments = [work.experiment for work in unique.values()]
        speeds = calibrate(experiments, costs, lambda name: console.print(f"Timing {name}", markup=False))
        seconds = sum(costs.training_flop(work) / speeds[speed_key(work.experiment)] for work in unique.values())
        mean = total.training_flop / seconds if seconds else float("nan")
        seconds += total.mining_flop / mean if total.mining_flop else 0.0
        told = "a training step of each network, median of three batches of four; the preparation at their mean speed"
        return {"hours": round(seconds / 3600, 2), "speed_from": told, "machine": describe_machine()}
    if throughput is not None:
        speed = read_speed(throughput, costs)
        return {
            "hours": round(total.flop / speed / 3600, 2),
            "gflop_per_second": round(speed / 1e9, 1),
            "speed_from": f"{throughput.name}: TaiChiNet's training step, taken for every network",
            "machine": read_json(throughput).get("machine"),
        }
    return {"hours": None, "speed_from": "nothing was measured: add --calibrate or --throughput FILE"}


def _by_data_set(works: list[Work], costs: Costs) -> dict[str, dict[str, float]]:
    found = {}
    for name in dict.fromkeys(work.dataset for work in works):
        part = costs.total(work for work in works if work.dataset == name)
        found[name] = {"trainings": part.trainings, "pflop": round(part.flop / 1e15, 3)}
    return found


def _print(content: dict[str, Any]) -> None:
    console = Console()
    here, gpu = content["this_machine"], content["one_gpu"]
    console.print(
        f"{content['trainings']} trainings and {content['preparations']} preparations: "
        f"{content['training_pflop'] + content['preparation_pflop']:.1f} PFLOP.",
        highlight=False,
    )
    hours = "unknown" if here["hours"] is None else duration(here["hours"] * 3600)
    console.print(f"This machine: {hours} ({here['speed_from']}).", soft_wrap=True, markup=False, highlight=False)
    console.print(
        f"One GPU of {gpu['peak_tflops']:g} TFLOPS at an assumed {gpu['assumed_utilisation']:.0%}: "
        f"{duration(gpu['hours'] * 3600)}.",
        soft_wrap=True,
        highlight=False,
    )
