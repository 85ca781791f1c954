"""`taichinet train`: a recipe on a data set, over one fold or all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(help="Recipe, e.g. cpu-taichinet, busi-taichinet, cpu-rf-net, cpu-model-6.")],
    data: Annotated[
        str, typer.Option(help="A data set as distributed, its folder or zip; NAME=PATH where the layout is shared.")
    ],
    fold: Annotated[list[int] | None, typer.Option(help="Fold to train, repeatable; all folds where left out.")] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="grouped: near-duplicates and patients never split; paper: random, stratified by class; official: "
            "the authors' own split."
        ),
    ] = "grouped",
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting as key=value, repeatable, e.g. training.epochs=20."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of all runs.")] = Path("runs"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last finished epoch, with more epochs than before too.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew where a run exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Train a recipe on its folds, score each test fold once, and summarise.

    Under `torchrun` all its processes share each training; process 0 alone reads the data, scores, writes and prints.
    """
    from taichinet.training.distributed import process_group
    from taichinet.training.following import follow

    with process_group() as ranks:
        if not ranks.leads:
            follow(ranks)
            return
        _lead(recipe, data, fold, protocol, assignments, out, resume, overwrite, as_json)
        ranks.hand_out(None)  # nothing more to train


def _lead(
    recipe: str,
    data: str,
    fold: list[int] | None,
    protocol: str,
    assignments: list[str] | None,
    out: Path,
    resume: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    from taichinet.cli.printing import print_left_out, print_study
    from taichinet.cli.progress import training_progress
    from taichinet.datasets.folds import PROTOCOLS
    from taichinet.errors import SettingError, unknown_name
    from taichinet.experiments.cross_validate import Existing, train_folds
    from taichinet.experiments.experiment import parse_assignments, vary
    from taichinet.experiments.recipes import get_recipe
    from taichinet.experiments.study_data import open_study_data

    if protocol not in PROTOCOLS:
        raise unknown_name("fold protocol", protocol, PROTOCOLS)
    if resume and overwrite:
        raise SettingError("--resume and --overwrite contradict each other. Give one of them.")
    experiment = vary(get_recipe(recipe), parse_assignments(assignments or []))
    if protocol != "official":  # before the data are read, which takes a while
        _refuse_unknown_folds(fold, experiment.data.folds)
    existing: Existing = "resume" if resume else "overwrite" if overwrite else "refuse"
    study_data = open_study_data(experiment, data, protocol, out)
    print_left_out(study_data.manifest.left_out)
    _refuse_unknown_folds(fold, study_data.plan.count)
    folds = sorted(set(fold or range(study_data.plan.count)))
    with training_progress(quiet=as_json) as progress:
        study = train_folds(
            experiment,
            study_data,
            folds,
            out,
            existing,
            on_fold=lambda k: progress.begin(f"{experiment.name} fold {k}"),
            on_epoch=progress.epoch,
            on_longer=lambda line: typer.echo(line, err=True),
            keep_checkpoints=True,
        )
    empty = int((study_data.prepared.lesion.flatten(1).amax(1) == 0).sum())
    print_study(study.folder, study.summary, as_json, study_data.manifest.count_images(empty))


def _refuse_unknown_folds(asked: list[int] | None, count: int) -> None:
    from taichinet.errors import SettingError

    if any(not 0 <= number < count for number in asked or ()):
        raise SettingError(f"--fold must lie in 0..{count - 1}, got {asked}.")
