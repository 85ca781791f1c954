"""`taichinet cost`: the runs that `taichinet compare` would train, and their cost on this machine and on one GPU."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from taichinet.cli.device import Device, use_and_print
from taichinet.cli.options import (
    Against,
    AsJson,
    DataSets,
    Folds,
    GroupBy,
    Mix,
    Protocols,
    RunFolder,
    Scale,
    Seeds,
    Settings,
    Suites,
)

_Calibrate = Annotated[bool, typer.Option("--calibrate", help="Time a training step of each network on this machine.")]
_File = Annotated[Path | None, typer.Option("--write", metavar="FILE", help="Write the cost to this JSON file.")]
_Throughput = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Use the output of benchmarks/training_throughput.py instead of --calibrate."),
]


def cost(
    suites: Suites,
    data: DataSets = None,
    scale: Scale = None,
    fold: Folds = None,
    protocol: Protocols = None,
    seeds: Seeds = None,
    assignments: Settings = None,
    group_by: GroupBy = None,
    mix: Mix = None,
    against: Against = None,
    out: RunFolder = Path("runs"),
    calibrate: _Calibrate = False,
    throughput: _Throughput = None,
    gpu_tflops: Annotated[
        float, typer.Option(metavar="N", min=0.1, help="Peak TFLOPS of the GPU to estimate for.")
    ] = 100.0,
    utilisation: Annotated[
        float, typer.Option(metavar="N", min=0.01, max=1, help="Assumed fraction of the peak TFLOPS of the GPU.")
    ] = 0.4,
    file: _File = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Show the runs that `compare` would train with the same arguments, and estimate their cost. Trains nothing.

    The time on this machine is that of --calibrate or --throughput, otherwise that of finished trainings in --output.
    Without --data, the numbers of images are those published by the authors of the data sets, and no runs are shown.
    """
    import json

    from rich.console import Console

    from taichinet.cli.compare_table import entries_table
    from taichinet.cli.suites import add_reference, select_suites, with_mix
    from taichinet.cli.tables import print_table
    from taichinet.experiments.grid.budget import finished_speeds
    from taichinet.experiments.grid.cells import name_data
    from taichinet.experiments.grid.cost import CostAssumptions, estimate, plan_work
    from taichinet.storage.atomic import write_json

    use_and_print(device, computes=calibrate)
    named, settings, names = name_data(data or []), with_mix(assignments, mix), add_reference(suites, against)
    selected = select_suites(names, list(named), scale, fold, protocol, seeds, settings)
    say = partial(Console(stderr=True, quiet=as_json, soft_wrap=True).print, markup=False)
    entries, works = plan_work(selected, named, out, say, group_by)
    assumptions = CostAssumptions(calibrate, throughput, finished_speeds(out), gpu_tflops, utilisation)
    content = estimate(names, selected, works, assumptions, say)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, content)
    if as_json:
        rows = [{"cell": e.task.title, "state": e.state, "epoch": e.epoch, "note": e.note} for e in entries]
        print(json.dumps({**content, "cells": rows}))
        return
    if entries:
        print_table(entries_table(entries), Console())
    _print_cost(content)


def _print_cost(content: dict[str, Any]) -> None:
    """Print the totals and the hours of `content`, as returned by `estimate`."""
    from rich.console import Console

    from taichinet.reports.document.format import duration

    console = Console(soft_wrap=True)
    machine, gpu = content["this_machine"], content["one_gpu"]
    console.print(
        f"Trainings: {content['trainings']}. Mining stages: {content['preparations']}. Operations: "
        f"{content['training_pflop'] + content['preparation_pflop']:.1f} PFLOP.",
        highlight=False,
    )
    hours = "unknown" if machine["hours"] is None else duration(machine["hours"] * 3600)
    console.print(f"This machine: {hours} ({machine['speed_from']}).", markup=False, highlight=False)
    console.print(
        f"One GPU with {gpu['peak_tflops']:g} TFLOPS at an assumed utilisation of {gpu['assumed_utilisation']:.0%}: "
        f"{duration(gpu['hours'] * 3600)}.",
        highlight=False,
    )
