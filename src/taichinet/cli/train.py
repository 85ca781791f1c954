"""`taichinet train`: train a recipe on the folds of a data set, or on all images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taichinet.cli.device import Device
from taichinet.cli.observers import Track
from taichinet.cli.options import PROTOCOL_HELP, AsJson, GroupBy, JointDataSets, RunFolder, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from taichinet.cli.progress import TrainingProgress
    from taichinet.experiments.cross_validate import Callbacks, Existing, Study
    from taichinet.experiments.experiment import Experiment
    from taichinet.experiments.observer import Observe
    from taichinet.experiments.study_data import StudyData
    from taichinet.training.distributed.ranks import Ranks

_Recipe = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE|FILE.py:CLASS",
        help="Recipe, e.g. cpu-taichinet, busi-taichinet, cpu-rf-net, cpu-model-6; or a network in a file, e.g. "
        "mynet.py:MyNet, which is trained with the settings of cpu-unet. The file is executed.",
    ),
]

_AllImages = Annotated[
    bool,
    typer.Option(
        "--all-images",
        help="Train one network on all images, for use. It has no test scores; its decision is that of the folds.",
    ),
]


def train(
    recipe: _Recipe,
    data: JointDataSets,
    fold: Annotated[list[int] | None, typer.Option(help="Fold to train; repeatable. Default: all folds.")] = None,
    protocol: Annotated[str, typer.Option(help=PROTOCOL_HELP)] = "grouped",
    group_by: GroupBy = None,
    all_images: _AllImages = False,
    assignments: Settings = None,
    out: RunFolder = Path("runs"),
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume from the last completed epoch; the number of epochs may be increased."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite an existing run.")] = False,
    track: Track = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Train a recipe on its folds, evaluate each test fold once, and summarise.

    Under `torchrun`, all processes share each training; only process 0 reads the data, evaluates, writes and prints.
    """
    from taichinet.cli.device import print_device
    from taichinet.cli.next_steps import print_next_steps
    from taichinet.cli.observers import make_observers
    from taichinet.cli.printing import print_skipped
    from taichinet.cli.progress import training_progress
    from taichinet.experiments.cross_validate import train_folds
    from taichinet.experiments.study_data import open_study_data
    from taichinet.training.device import use_device
    from taichinet.training.distributed.ranks import process_group

    chosen = use_device(device)
    with process_group(chosen) as ranks:
        if not ranks.is_main_process:
            _follow(ranks, recipe)
            return
        experiment = _read_recipe(recipe, assignments, protocol, fold, all_images)
        existing, observers = _existing(resume, overwrite), make_observers(track, out)
        print_device(chosen, ranks.size)
        data_of_study = open_study_data(experiment, data, protocol, out, group_by)  # type: ignore[arg-type]
        print_skipped(data_of_study.manifest.left_out)
        _refuse_unknown_folds(fold, data_of_study.plan.count)
        with training_progress(quiet=as_json) as progress:
            if all_images:
                print_result = _train_on_all_images(
                    experiment, data_of_study, out, existing, as_json, progress, observers
                )
            else:
                folds = sorted(set(fold or range(data_of_study.plan.count)))
                callbacks = _callbacks(experiment, progress, observers)
                study = train_folds(experiment, data_of_study, folds, out, existing, callbacks, keep_checkpoints=True)
                print_result = partial(_print_study, study, data_of_study, as_json)
        ranks.broadcast(None)  # no further training
    print_result()
    if not (as_json or all_images):
        print_next_steps(recipe, data, study.folder, out, data_of_study.plan.count)


def _print_study(study: Study, data: StudyData, as_json: bool) -> None:
    """Print the scores and the numbers of images."""
    from taichinet.cli.printing import print_study

    empty_masks = int((data.prepared.lesion.flatten(1).amax(1) == 0).sum())
    print_study(study.folder, study.summary, as_json, data.manifest.count_images(empty_masks))


def _follow(ranks: Ranks, recipe: str) -> None:
    """Train with process 0, which sends the network; a network in a file needs the code of this file."""
    from taichinet.models.catalogue import register_code
    from taichinet.models.own_code import names_file, read_code
    from taichinet.training.distributed.following import follow

    if names_file(recipe):
        register_code(read_code(recipe))
    follow(ranks)


def _callbacks(experiment: Experiment, progress: TrainingProgress, observers: tuple[Observe, ...]) -> Callbacks:
    """Report the progress of `train_folds`."""
    from taichinet.experiments.cross_validate import Callbacks

    return Callbacks(
        on_fold=lambda index: progress.begin(f"{experiment.name} fold {index}"),
        on_epoch=progress.epoch,
        on_extension=lambda line: typer.echo(line, err=True),
        observers=observers,
    )


def _train_on_all_images(
    experiment: Experiment,
    data: StudyData,
    out: Path,
    existing: Existing,
    as_json: bool,
    progress: TrainingProgress,
    observers: tuple[Observe, ...],
) -> Callable[[], None]:
    """Train on all images; returns a function that prints the folder and the decision."""
    from taichinet.cli.printing import print_trained_on_all
    from taichinet.experiments.all_images import train_on_all_images

    progress.begin(f"{experiment.name} on all images")
    trained = train_on_all_images(experiment, data, out, existing, progress.epoch, observers)
    return lambda: print_trained_on_all(trained.folder, trained.record, as_json)


def _read_recipe(
    recipe: str, assignments: list[str] | None, protocol: str, folds: list[int] | None, all_images: bool
) -> Experiment:
    """The recipe with the given settings; checks everything that can be checked before the data are read."""
    from taichinet.datasets.folds import OWN_COUNT, PROTOCOLS
    from taichinet.errors import SettingError, unknown_name
    from taichinet.experiments.experiment import parse_assignments, vary
    from taichinet.experiments.recipes.catalogue import get_recipe
    from taichinet.experiments.recipes.own import own_recipe
    from taichinet.models.own_code import names_file

    if all_images and folds:
        raise SettingError("--all-images trains one network without folds. Leave out --fold.")
    if protocol not in PROTOCOLS:
        raise unknown_name("fold protocol", protocol, PROTOCOLS)
    changes = parse_assignments(assignments or [])
    experiment = own_recipe(recipe, changes) if names_file(recipe) else vary(get_recipe(recipe), changes)
    if protocol not in OWN_COUNT:
        _refuse_unknown_folds(folds, experiment.data.folds)
    return experiment


def _existing(resume: bool, overwrite: bool) -> Existing:
    from taichinet.errors import SettingError

    if resume and overwrite:
        raise SettingError("--resume and --overwrite cannot be used together. Give one of them.")
    if resume:
        return "resume"
    return "overwrite" if overwrite else "refuse"


def _refuse_unknown_folds(folds: list[int] | None, count: int) -> None:
    from taichinet.errors import SettingError

    if any(not 0 <= fold < count for fold in folds or ()):
        raise SettingError(f"--fold must be in 0..{count - 1}, got {folds}.")
