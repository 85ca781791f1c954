"""`taichinet compare`: a table of the paper, or a suite of one's own, as a grid of trainings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from taichinet.datasets.manifest import ImageCounts
    from taichinet.experiments.grid.cells import Grid
    from taichinet.experiments.grid.executors import Executor
    from taichinet.experiments.grid.progress import Progress
    from taichinet.experiments.grid.suite import Suite

_MOST_NUMBERS = 10_000  # of --fold and of --seed: as many folds as `data.folds` allows


def compare(
    suites: Annotated[
        list[str],
        typer.Argument(
            metavar="SUITE...", help="table1 to table7, paper (all seven), or a YAML file; several may be given."
        ),
    ],
    data: Annotated[
        list[str] | None, typer.Option(help="A data set, repeatable; NAME=PATH where the layout is shared.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="Scale of the recipes: busi (the paper's, default), cpu, short, demo.")
    ] = None,
    fold: Annotated[
        list[str] | None, typer.Option("--fold", "--folds", help="Folds, e.g. 0 or 0,2-4; all where left out.")
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="grouped, paper or official, repeatable; the table's own where left out.")
    ] = None,
    seeds: Annotated[
        list[str] | None, typer.Option("--seed", "--seeds", help="Seeds of the training, e.g. 0-2; the recipe's own.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Setting of every recipe as key=value, repeatable.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of all runs.")] = Path("runs"),
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Trainings at once on this machine.")] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="auto|local|ADDRESS", help="Run the cells on a Ray cluster (extra 'cluster')."),
    ] = None,
    cpus: Annotated[int, typer.Option(min=1, help="Processors that a cell asks the cluster for.")] = 2,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs that a cell asks the cluster for, e.g. 0.5.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done and what it costs.")] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="With --dry-run: time each network's training step on this machine.")
    ] = False,
    throughput: Annotated[
        Path | None,
        typer.Option(help="With --dry-run: a file of benchmarks/training_throughput.py, instead of --calibrate."),
    ] = None,
    gpu_tflops: Annotated[
        float, typer.Option(min=0.1, help="With --dry-run: peak TFLOPS of the GPU that the cost is told for.")
    ] = 100.0,
    utilisation: Annotated[
        float, typer.Option(min=0.01, max=1, help="With --dry-run: the share of that peak which is assumed.")
    ] = 0.4,
    cost_file: Annotated[Path | None, typer.Option("--cost", help="With --dry-run: write the cost as JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every cell's state as JSON.")] = False,
) -> None:
    """Train and score a grid of recipes x folds x protocols x seeds; what is done is never done again."""
    from taichinet.experiments.experiment import parse_assignments
    from taichinet.experiments.grid.cells import count_images, refuse_absent
    from taichinet.experiments.grid.suite import find_suite, vary_suite

    asked = [
        vary_suite(
            find_suite(name),
            scale=scale,
            folds=_numbers(fold, "--fold"),
            protocols=protocol,
            seeds=_numbers(seeds, "--seeds"),
            set=parse_assignments(assignments or []),
        )
        for name in suites
    ]
    if dry_run:
        from taichinet.cli.compare_cost import show_cost

        named = _name_data(data)
        show_cost(suites, asked, named, out, cost_file, as_json, calibrate, throughput, gpu_tflops, utilisation)
        return
    named = _name_data(data)
    refuse_absent(asked, named)
    grid, progress = _run(asked, named, out, jobs, cluster, cpus, gpus, as_json)
    _tell(progress, count_images(grid), out, as_json)


def _name_data(data: list[str] | None) -> dict[str, str]:
    from taichinet.experiments.grid.cells import name_data

    return name_data(data or [])


def _run(
    suites: list[Suite],
    data: dict[str, str],
    out: Path,
    jobs: int,
    cluster: str | None,
    cpus: int,
    gpus: float,
    quiet: bool,
) -> tuple[Grid, Progress]:
    from rich.console import Console

    from taichinet.cli.compare_table import compare_table
    from taichinet.experiments.grid.cells import plan_grid
    from taichinet.experiments.grid.executors import Processes, Serial
    from taichinet.experiments.grid.progress import look
    from taichinet.experiments.grid.run_grid import run_grid

    console = Console(stderr=True, quiet=quiet)
    grid = plan_grid(suites, data, out, lambda name: console.print(f"Reading {name}", markup=False, highlight=False))
    progress = look(grid.cells, grid.transfers)
    with compare_table(quiet) as table:

        def hear(phase: str, row: dict[str, Any], epochs: int) -> None:
            progress.read_epochs()
            table.show(progress)

        executor: Executor
        if cluster is not None:
            from taichinet.experiments.grid.ray_cluster import RayCluster

            executor = RayCluster(cluster, cpus, gpus)
        else:
            executor = Processes(jobs) if jobs > 1 else Serial(hear)
        try:
            return grid, run_grid(progress, executor, table.show)
        except KeyboardInterrupt:
            console.print("Interrupted. Give the same command again: it goes on from the last finished epochs.")
            raise typer.Exit(130) from None
        finally:
            executor.stop()


def _tell(progress: Progress, images: dict[str, ImageCounts], out: Path, as_json: bool) -> None:
    """The end: what was done, which images were used, and every failure with its reason as an error of exit code 7."""
    import json

    from rich.console import Console

    from taichinet.cli.printing import print_counts
    from taichinet.errors import PartialFailureError
    from taichinet.experiments.grid.cells import Cell

    if as_json:
        whole = out.absolute()  # as cells have it; the output can be handed on without the folders of this machine
        rows = [
            {
                "cell": entry.task.title,
                "folder": str(entry.task.folder.relative_to(whole)),
                "key": entry.task.key if isinstance(entry.task, Cell) else None,
                "state": entry.state,
                "done_before": entry.found,
                "seconds": entry.seconds,
                "note": entry.note.replace(f"{whole}/", ""),
            }
            for entry in progress.entries
        ]
        counts = {dataset: one.to_json_dict() for dataset, one in images.items()}
        told = {"out": out.name, "cells": rows, "studies_failed": progress.studies_failed}
        print(json.dumps({**told, "used_and_skipped": counts}))
    else:
        before = sum(entry.found for entry in progress.entries)
        Console().print(
            f"{progress.count('done')} of {len(progress.entries)} done ({before} before) in {out}. "
            f"Tables: taichinet report {out} -o report",
            soft_wrap=True,
            markup=False,
        )
        for dataset, one in images.items():
            print_counts(one, dataset)
    problems = [f"{entry.task.title}: {entry.note}" for entry in progress.failed] + progress.studies_failed
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise PartialFailureError(f"{len(problems)} of {len(progress.entries)} failed, the others are done:{lines}")


def _numbers(texts: list[str] | None, option: str) -> tuple[int, ...] | None:
    """`["0", "2-4"]` or `["0,2-4"]` -> (0, 2, 3, 4); at most `_MOST_NUMBERS`, checked before they are listed."""
    from taichinet.errors import SettingError

    if not texts:
        return None
    numbers: set[int] = set()
    for word in (word.strip() for text in texts for word in text.split(",")):
        match = re.fullmatch(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", word)
        if match is None:
            raise SettingError(f"{option} '{word[:100]}' is no number of up to 10 digits. Write e.g. 0 or 0,2-4.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise SettingError(f"{option} '{word}' ends before it begins. Write {last}-{first}.")
        if len(numbers) + last - first >= _MOST_NUMBERS:
            raise SettingError(f"{option} '{word}' makes more than {_MOST_NUMBERS} numbers. Give fewer, e.g. 0-4.")
        numbers |= set(range(first, last + 1))
    return tuple(sorted(numbers))
