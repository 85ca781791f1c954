"""`taichinet compare`: train tables of the paper, suites in YAML, recipes and own networks as a grid of runs."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taichinet.cli.device import Device, use_and_print
from taichinet.cli.observers import Track, make_observers
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
from taichinet.cli.suites import add_reference, select_suites, with_mix

if TYPE_CHECKING:
    from collections.abc import Callable

    from taichinet.datasets.manifest import ImageCounts
    from taichinet.experiments.grid.budget import Budget
    from taichinet.experiments.grid.cells import Grid
    from taichinet.experiments.grid.executors import Executor
    from taichinet.experiments.grid.progress import Progress
    from taichinet.experiments.grid.suite import Suite
    from taichinet.experiments.observer import Observe
    from taichinet.experiments.training_run import OnEpoch


ArchiveFolder = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="At the end, pack all completed runs in --output, as `taichinet archive` does."),
]
ArchiveWeights = Annotated[bool, typer.Option("--archive-weights", help="Also pack the weights, as float16.")]
ClusterAddress = Annotated[
    str | None, typer.Option(metavar="auto|local|ADDRESS", help="Run on a Ray cluster (extra 'cluster').")
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", metavar="N", min=1, help="Number of parallel runs on this machine.")]
BudgetTime = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Time for this command, e.g. 90s, 10m or 1h30m. A run that cannot finish within it is not started; at its "
        "end the running ones are stopped as by Ctrl-C. Exit code 9 if anything is left; the same command continues.",
    ),
]


def compare(
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
    jobs: Jobs = 1,
    cluster: ClusterAddress = None,
    cpus: Annotated[int, typer.Option(metavar="N", min=1, help="CPUs per run on the cluster.")] = 2,
    gpus: Annotated[float, typer.Option(metavar="N", min=0, help="GPUs per run on the cluster, e.g. 0.5.")] = 0,
    budget: BudgetTime = None,
    archive: ArchiveFolder = None,
    archive_weights: ArchiveWeights = False,
    track: Track = None,
    device: Device = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", hidden=True)] = False,
    calibrate: Annotated[bool, typer.Option("--calibrate", hidden=True)] = False,
    throughput: Annotated[Path | None, typer.Option(metavar="FILE", hidden=True)] = None,
    gpu_tflops: Annotated[float, typer.Option(metavar="N", min=0.1, hidden=True)] = 100.0,
    utilisation: Annotated[float, typer.Option(metavar="N", min=0.01, max=1, hidden=True)] = 0.4,
    cost_file: Annotated[Path | None, typer.Option("--cost", metavar="FILE", hidden=True)] = None,
    as_json: AsJson = False,
) -> None:
    """Train and evaluate every combination of recipe, fold, protocol and seed. Completed runs are skipped.

    With --against, the baseline is trained, too, and the others are tested against it at the end.

    Exit codes: 0 all runs are done, 7 some failed, 9 the budget ended before all were done, 130 interrupted.
    """
    began = time.monotonic()
    if dry_run:  # the options of `cost` before it was a command of its own
        from taichinet.cli.cost import cost

        typer.echo("`taichinet compare --dry-run` is now `taichinet cost`.", err=True)
        selection = (suites, data, scale, fold, protocol, seeds, assignments, group_by, mix, against, out)
        cost(*selection, calibrate, throughput, gpu_tflops, utilisation, cost_file, device, as_json)
        return
    from taichinet.experiments.grid.cells import name_data

    _check_archive(archive, archive_weights)
    _choose_device(device, cluster)
    limit = None if budget is None else _start_budget(budget, began, on_this_machine=cluster is None)
    named, settings = name_data(data or []), with_mix(assignments, mix)
    selected = select_suites(add_reference(suites, against), list(named), scale, fold, protocol, seeds, settings)
    make_executor = partial(_make_executor, jobs, cluster, cpus, gpus, device, make_observers(track, out))
    grid, progress = _run(selected, named, out, group_by, make_executor, limit, as_json)
    if archive is not None:
        typer.echo(_pack(out, archive, archive_weights, progress), err=True)
    _print_end(grid, progress, out, limit, None if against is None else selected[-1], as_json)
    _raise_failures(progress)
    _exit_if_unfinished(progress, limit)


def _exit_if_unfinished(progress: Progress, budget: Budget | None) -> None:
    from taichinet.cli.compare_budget import EXIT_CODE

    if budget is not None and progress.unfinished:
        raise typer.Exit(EXIT_CODE)


def _print_end(
    grid: Grid, progress: Progress, out: Path, budget: Budget | None, reference: Suite | None, as_json: bool
) -> None:
    """Print what was completed, and the comparisons with the recipe of the suite `reference`."""
    from taichinet.cli.compare_against import against_json, compare_grid, print_against, reference_name
    from taichinet.experiments.grid.cells import count_images

    compared = None if reference is None else compare_grid(grid, reference_name(reference), out)
    if as_json:
        _print_json(progress, count_images(grid), out, budget, {"against": against_json(compared)} if reference else {})
        return
    if compared is not None:
        print_against(compared)
    _print_summary(
        progress, count_images(grid), out, budget, "" if compared is None else f" --against {compared.reference}"
    )


def _check_archive(folder: Path | None, weights: bool) -> None:
    """Refuse, before any training, what would prevent packing at the end."""
    from taichinet.errors import SettingError
    from taichinet.experiments.transport.record import INDEX_FILE
    from taichinet.storage.output_folder import refuse_foreign_files

    if folder is None:
        if weights:
            raise SettingError("--archive-weights needs --archive DIR.")
        return
    if folder.exists() and not folder.is_dir():
        raise SettingError(f"--archive {folder} is a file. Give a folder.")
    refuse_foreign_files(folder, (INDEX_FILE,))


def _pack(out: Path, folder: Path, weights: bool, progress: Progress) -> str:
    """Pack all completed runs, if this command or an earlier one has completed any of its own; a sentence on it."""
    from taichinet.cli.archive import describe
    from taichinet.experiments.transport.pack import pack_runs

    if not progress.count("done"):
        return f"Nothing was packed into {folder}: none of the {len(progress.entries)} runs is completed."
    return describe(pack_runs(out, folder, weights), folder)


def _start_budget(text: str, began: float, on_this_machine: bool) -> Budget:
    from rich.console import Console

    from taichinet.cli.compare_budget import parse_time
    from taichinet.experiments.grid.budget import Budget, Estimates

    say = partial(Console(stderr=True, soft_wrap=True).print, markup=False, highlight=False)
    return Budget(parse_time(text), Estimates(on_this_machine, say), began)


def _run(
    suites: list[Suite],
    data: dict[str, str],
    out: Path,
    group_by: str | None,
    make_executor: Callable[[OnEpoch], Executor],
    budget: Budget | None,
    quiet: bool,
) -> tuple[Grid, Progress]:
    from rich.console import Console

    from taichinet.cli.compare_table import compare_table
    from taichinet.experiments.grid.cells import plan_grid
    from taichinet.experiments.grid.progress import read_progress
    from taichinet.experiments.grid.run_grid import run_grid

    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    say = partial(console.print, markup=False, highlight=False)
    grid = plan_grid(suites, data, out, lambda name: say(f"Reading {name}"), group_by)
    progress = read_progress(grid.cells, grid.transfers)
    with compare_table(quiet) as table:

        def on_epoch(phase: str, row: dict[str, Any], epochs: int) -> None:
            progress.read_epochs()
            table.show(progress)

        executor = make_executor(on_epoch)
        try:
            return grid, run_grid(progress, executor, table.show, budget=budget)
        finally:
            executor.stop()


def _choose_device(device: str, cluster: str | None) -> None:
    """Choose the device and print it. On a cluster, each run verifies that its machine has the device."""
    from taichinet.training.device_choice import refuse_unknown_device

    if cluster is None:
        use_and_print(device)
        return
    refuse_unknown_device(device)
    typer.echo(f"Device: {device}, on the machine of each run", err=True)


def _make_executor(
    jobs: int,
    cluster: str | None,
    cpus: int,
    gpus: float,
    device: str,
    observers: tuple[Observe, ...],
    on_epoch: OnEpoch,
) -> Executor:
    if cluster is not None:
        from taichinet.experiments.grid.ray_cluster import RayCluster

        return RayCluster(cluster, cpus, gpus, device, observers)
    from taichinet.experiments.grid.executors import Processes, Serial
    from taichinet.experiments.grid.work import run_task

    if jobs == 1:
        return Serial(on_epoch, observers)
    return Processes(jobs, work=partial(run_task, device=device, observers=observers))


def _print_json(
    progress: Progress, images: dict[str, ImageCounts], out: Path, budget: Budget | None, more: dict[str, Any]
) -> None:
    """Print the state of all runs and `more` without the folders of this machine, so that the output can be shared."""
    import json

    from taichinet.experiments.grid.cells import Cell

    root = out.absolute()  # folders of the cells are absolute
    rows = [
        {
            "cell": entry.task.title,
            "folder": str(entry.task.folder.relative_to(root)),
            "key": entry.task.key if isinstance(entry.task, Cell) else None,
            "state": entry.state,
            "done_before": entry.done_before,
            "seconds": entry.seconds,
            "note": entry.note.replace(f"{root}/", ""),
        }
        for entry in progress.entries
    ]
    content: dict[str, Any] = {
        "out": out.name,
        "cells": rows,
        "studies_failed": progress.studies_failed,
        "used_and_skipped": {dataset: counts.to_json_dict() for dataset, counts in images.items()},
        **more,
    }
    if budget is not None:
        from taichinet.cli.compare_budget import unfinished_rows

        content |= {"budget_seconds": budget.total, "left": unfinished_rows(progress, out)}
    print(json.dumps(content))


def _print_summary(
    progress: Progress, images: dict[str, ImageCounts], out: Path, budget: Budget | None, option: str
) -> None:
    from rich.console import Console

    from taichinet.cli.printing import print_counts

    completed_before = sum(entry.done_before for entry in progress.entries)
    Console().print(
        f"{progress.count('done')} of {len(progress.entries)} completed in {out}, {completed_before} of them before. "
        f"Create the tables with: taichinet report {out} -o report{option}",
        soft_wrap=True,
        markup=False,
    )
    for dataset, counts in images.items():
        print_counts(counts, dataset)
    if budget is not None:
        from taichinet.cli.compare_budget import print_unfinished

        print_unfinished(progress, budget)


def _raise_failures(progress: Progress) -> None:
    from taichinet.errors import PartialFailureError

    problems = [f"{entry.task.title}: {entry.note}" for entry in progress.failed] + progress.studies_failed
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise PartialFailureError(f"{len(problems)} of {len(progress.entries)} failed, the others completed:{lines}")
