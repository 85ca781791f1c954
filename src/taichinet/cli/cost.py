"""`taichinet cost`: the runs that `taichinet compare` would train, and their cost on this machine and on one GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taichinet.cli.options import AsJson, DataSets, Folds, Protocols, RunFolder, Scale, Seeds, Settings, Suites


def cost(
    suites: Suites,
    data: DataSets = None,
    scale: Scale = None,
    fold: Folds = None,
    protocol: Protocols = None,
    seeds: Seeds = None,
    assignments: Settings = None,
    out: RunFolder = Path("runs"),
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Time a training step of each network on this machine.")
    ] = False,
    throughput: Annotated[
        Path | None, typer.Option(help="Use the output of benchmarks/training_throughput.py instead of --calibrate.")
    ] = None,
    gpu_tflops: Annotated[float, typer.Option(min=0.1, help="Peak TFLOPS of the GPU to estimate for.")] = 100.0,
    utilisation: Annotated[
        float, typer.Option(min=0.01, max=1, help="Assumed fraction of the peak TFLOPS of the GPU.")
    ] = 0.4,
    file: Annotated[Path | None, typer.Option("--write", help="Write the cost to this JSON file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the runs that `compare` would train with the same arguments, and estimate their cost. Trains nothing.

    Without --data, the numbers of images are those published by the authors of the data sets, and no runs are shown.
    """
    import json

    from rich.console import Console

    from taichinet.cli.compare import select_suites
    from taichinet.cli.compare_table import entries_table
    from taichinet.cli.cost_estimate import CostAssumptions, estimate, plan_work, print_cost
    from taichinet.experiments.grid.cells import name_data
    from taichinet.storage.atomic import write_json

    selected = select_suites(suites, scale, fold, protocol, seeds, assignments)
    console = Console(stderr=True, quiet=as_json)
    entries, works = plan_work(selected, name_data(data or []), out, console)
    assumptions = CostAssumptions(calibrate, throughput, gpu_tflops, utilisation)
    content = estimate(suites, selected, works, assumptions, console)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, content)
    if as_json:
        rows = [{"cell": e.task.title, "state": e.state, "epoch": e.epoch, "note": e.note} for e in entries]
        print(json.dumps({**content, "cells": rows}))
        return
    if entries:
        Console().print(entries_table(entries))
    print_cost(content)
