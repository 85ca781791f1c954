"""`taichinet train`: train a recipe on the folds of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taichinet.cli.options import PROTOCOL_HELP, AsJson, DataSet, RunFolder, Settings


def train(
    recipe: Annotated[str, typer.Argument(help="Recipe, e.g. cpu-taichinet, busi-taichinet, cpu-rf-net, cpu-model-6.")],
    data: DataSet,
    fold: Annotated[list[int] | None, typer.Option(help="Fold to train; repeatable. Default: all folds.")] = None,
    protocol: Annotated[str, typer.Option(help=PROTOCOL_HELP)] = "grouped",
    assignments: Settings = None,
    out: RunFolder = Path("runs"),
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume from the last completed epoch; the number of epochs may be increased."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite an existing run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe on its folds, evaluate each test fold once, and summarise.

    Under `torchrun`, all processes share each training; only process 0 reads the data, evaluates, writes and prints.
    """
    from taichinet.training.distributed.following import follow
    from taichinet.training.distributed.ranks import process_group

    with process_group() as ranks:
        if not ranks.is_main_process:
            follow(ranks)
            return
        _train_on_main_process(recipe, data, fold, protocol, assignments, out, resume, overwrite, as_json)
        ranks.broadcast(None)  # no further training


def _train_on_main_process(
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
    from taichinet.cli.printing import print_skipped, print_study
    from taichinet.cli.progress import training_progress
    from taichinet.datasets.folds import PROTOCOLS
    from taichinet.errors import SettingError, unknown_name
    from taichinet.experiments.cross_validate import Existing, train_folds
    from taichinet.experiments.experiment import parse_assignments, vary
    from taichinet.experiments.recipes.catalogue import get_recipe
    from taichinet.experiments.study_data import open_study_data

    if protocol not in PROTOCOLS:
        raise unknown_name("fold protocol", protocol, PROTOCOLS)
    if resume and overwrite:
        raise SettingError("--resume and --overwrite cannot be used together. Give one of them.")
    experiment = vary(get_recipe(recipe), parse_assignments(assignments or []))
    if protocol != "official":  # fail before the data are read, which takes a while
        _refuse_unknown_folds(fold, experiment.data.folds)
    existing: Existing = "resume" if resume else "overwrite" if overwrite else "refuse"
    study_data = open_study_data(experiment, data, protocol, out)
    print_skipped(study_data.manifest.left_out)
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
    empty_masks = int((study_data.prepared.lesion.flatten(1).amax(1) == 0).sum())
    print_study(study.folder, study.summary, as_json, study_data.manifest.count_images(empty_masks))


def _refuse_unknown_folds(folds: list[int] | None, count: int) -> None:
    from taichinet.errors import SettingError

    if any(not 0 <= fold < count for fold in folds or ()):
        raise SettingError(f"--fold must be in 0..{count - 1}, got {folds}.")
