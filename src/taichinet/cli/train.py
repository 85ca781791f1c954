"""`taichinet train`: train a recipe on the folds of a data set, or on all images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taichinet.cli.completion import complete_protocol, complete_recipe
from taichinet.cli.device import Device
from taichinet.cli.next_steps import TrainCommand, print_next_steps
from taichinet.cli.observers import Track, make_observers
from taichinet.cli.options import (
    PROTOCOL_HELP,
    AsJson,
    Folds,
    GroupBy,
    JointDataSets,
    Mix,
    RunFolder,
    Seeds,
    Settings,
)
from taichinet.cli.suites import parse_numbers, with_mix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taichinet.cli.progress import TrainingProgress
    from taichinet.experiments.all_images import TrainedOnAll
    from taichinet.experiments.cross_validate import Callbacks, Existing, Study
    from taichinet.experiments.experiment import Experiment
    from taichinet.experiments.initial_weights import InitialWeights
    from taichinet.experiments.observer import Observe
    from taichinet.experiments.study_data import StudyData
    from taichinet.training.distributed.ranks import Ranks

_Recipe = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE|FILE.py:CLASS",
        help="Recipe, e.g. cpu-taichinet, busi-taichinet, cpu-rf-net, cpu-model-6; or a network in a file, e.g. "
        "mynet.py:MyNet, which is trained with the settings of cpu-unet. The file is executed.",
        autocompletion=complete_recipe,
    ),
]
_AllImages = Annotated[
    bool,
    typer.Option(
        "--all-images",
        help="Train one network on all images, for use. It has no test scores; its decision is that of the folds.",
    ),
]
_Start = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="W",
        help="Fine-tune: start from the weights of this weights folder or run, or, in each fold, from those of the "
        "same fold of this cross-validation.",
    ),
]
_Resume = Annotated[
    bool, typer.Option("--resume", help="Resume from the last completed epoch; the number of epochs may be increased.")
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Overwrite an existing run.")]
_Protocol = Annotated[str, typer.Option(metavar="PROTOCOL", help=PROTOCOL_HELP, autocompletion=complete_protocol)]


def train(
    recipe: _Recipe,
    data: JointDataSets,
    folds: Folds = None,
    protocol: _Protocol = "grouped",
    group_by: GroupBy = None,
    mix: Mix = None,
    all_images: _AllImages = False,
    assignments: Settings = None,
    seeds: Seeds = None,
    start: _Start = None,
    out: RunFolder = Path("runs"),
    resume: _Resume = False,
    overwrite: _Overwrite = False,
    track: Track = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Train a recipe on its folds, evaluate each test fold once, and summarise.

    Under `torchrun`, all processes share each training; only process 0 reads the data, evaluates, writes and prints.
    """
    from taichinet.cli.device import print_device
    from taichinet.cli.printing import print_skipped
    from taichinet.cli.progress import training_progress
    from taichinet.experiments.cross_validate import train_folds
    from taichinet.training.device import use_device
    from taichinet.training.distributed.ranks import process_group

    chosen, selected = use_device(device), parse_numbers(folds, "--fold")
    with process_group(chosen) as ranks:
        if not ranks.is_main_process:
            _follow(ranks, recipe)
            return
        settings = with_mix(assignments, mix)
        initial, recipes = _read_recipes(recipe, settings, seeds, start)
        _refuse_unknown(recipes[0], protocol, selected, all_images)
        existing, observers = _existing(resume, overwrite), make_observers(track, out)
        print_device(chosen, ranks.size)
        data_of_study = _open_data(recipes[0], data, protocol, out, group_by, initial)
        print_skipped(data_of_study.manifest.left_out)
        numbers = _chosen_folds(selected, data_of_study.plan.count)
        _refuse_existing([] if all_images else recipes, data_of_study, numbers, out, existing)
        networks: list[TrainedOnAll] = []
        studies: list[Study] = []
        with training_progress(quiet=as_json) as progress:
            for experiment in recipes:
                if all_images:
                    given = (existing, progress, observers)
                    networks.append(_train_on_all_images(experiment, data_of_study, out, *given))
                else:
                    calls = _callbacks(experiment, progress, observers)
                    studies.append(train_folds(experiment, data_of_study, numbers, out, existing, calls, True))
        ranks.broadcast(None)  # no further training
    if networks:
        _print_networks(networks, as_json)
    if studies:
        others = [*(("--seed", text) for text in seeds or ()), ("--from", None if start is None else str(start))]
        others += [("--protocol", protocol), ("--group-by", group_by), ("--device", device)]
        _print_studies(studies, data_of_study, as_json, TrainCommand.of(recipe, data, out, settings, others))


def _print_studies(studies: list[Study], data: StudyData, as_json: bool, command: TrainCommand) -> None:
    """Print the scores of one study, or of several that differ in their seed, and the next steps."""
    from taichinet.cli.printing import print_study
    from taichinet.cli.seeds import print_seeds

    empty_masks = int((data.prepared.lesion.flatten(1).amax(1) == 0).sum())
    counts = data.manifest.count_images(empty_masks)
    if len(studies) == 1:
        print_study(studies[0].folder, studies[0].summary, as_json, counts)
    else:
        print_seeds(studies, as_json, counts)
    if not as_json:
        for study in studies:
            _print_stopped(study)
        print_next_steps(command, studies[0].folder, data.plan.count, len(data.manifest.regions))


def _print_stopped(study: Study) -> None:
    """Print the folds whose training early stopping ended."""
    stopped = [fold.record for fold in study.folds if fold.record.selection.stopped_after is not None]
    if stopped:
        training = stopped[0].experiment.training
        folds = ", ".join(f"fold {record.fold} after {record.selection.stopped_after}" for record in stopped)
        typer.echo(
            f"Stopped early, without a better validation Dice in {training.patience} epoch(s): {folds} of "
            f"{training.epochs} epochs."
        )


def _follow(ranks: Ranks, recipe: str) -> None:
    """Train with process 0, which sends the network; a network in a file needs the code of this file."""
    from taichinet.models.catalogue import register_code
    from taichinet.models.own_code import names_file, read_code
    from taichinet.training.distributed.following import follow

    if names_file(recipe):
        register_code(read_code(recipe))
    follow(ranks)


def _note(line: str) -> None:
    typer.echo(line, err=True)


def _callbacks(experiment: Experiment, progress: TrainingProgress, observers: tuple[Observe, ...]) -> Callbacks:
    """Report the progress of `train_folds`."""
    from taichinet.experiments.cross_validate import Callbacks

    return Callbacks(
        on_fold=lambda index: progress.begin(f"{experiment.name} fold {index}"),
        on_epoch=progress.epoch,
        on_note=_note,
        observers=observers,
    )


def _train_on_all_images(
    experiment: Experiment,
    data: StudyData,
    out: Path,
    existing: Existing,
    progress: TrainingProgress,
    observers: tuple[Observe, ...],
) -> TrainedOnAll:
    """Train on all images, and report the progress."""
    from taichinet.experiments.all_images import train_on_all_images

    progress.begin(f"{experiment.name} on all images")
    return train_on_all_images(experiment, data, out, existing, progress.epoch, _note, observers)


def _print_networks(networks: list[TrainedOnAll], as_json: bool) -> None:
    from taichinet.cli.printing import print_trained_on_all, print_trained_on_all_json

    if as_json:
        print_trained_on_all_json(networks)
    for network in () if as_json else networks:
        print_trained_on_all(network.folder, network.record)


def _read_recipes(
    recipe: str, assignments: list[str] | None, seeds: list[str] | None, start: Path | None
) -> tuple[InitialWeights | None, list[Experiment]]:
    """The weights to start from, and the recipe with the given settings for each seed."""
    from taichinet.experiments.experiment import parse_assignments, vary, with_seeds
    from taichinet.experiments.initial_weights import InitialWeights
    from taichinet.experiments.recipes.catalogue import get_recipe
    from taichinet.experiments.recipes.own import own_recipe
    from taichinet.models.own_code import names_file

    changes, numbers = parse_assignments(assignments or []), parse_numbers(seeds, "--seed")
    experiment = own_recipe(recipe, changes) if names_file(recipe) else vary(get_recipe(recipe), changes)
    initial = None if start is None else InitialWeights.find(start)
    if initial is not None:
        name = experiment.name if "name" in changes else f"{experiment.name}+finetuned"
        experiment = vary(experiment, {"name": name, "initial_weights": initial.name})
    return initial, with_seeds(experiment, numbers)


def _refuse_unknown(recipe: Experiment, protocol: str, folds: Sequence[int] | None, all_images: bool) -> None:
    """Check the protocol and the folds, as far as this is possible before the data are read."""
    from taichinet.datasets.folds import OWN_COUNT, PROTOCOLS
    from taichinet.errors import SettingError, unknown_name

    if all_images and folds:
        raise SettingError("--all-images trains one network without folds. Leave out --fold.")
    if protocol not in PROTOCOLS:
        raise unknown_name("fold protocol", protocol, PROTOCOLS)
    if protocol not in OWN_COUNT:
        _chosen_folds(folds, recipe.data.folds)


def _open_data(
    recipe: Experiment,
    data: list[str],
    protocol: str,
    out: Path,
    group_by: str | None,
    initial: InitialWeights | None,
) -> StudyData:
    """Read the data sets and make the folds."""
    from taichinet.experiments.study_data import open_study_data

    return replace(open_study_data(recipe, data, protocol, out, group_by), initial=initial)  # type: ignore[arg-type]


def _refuse_existing(
    recipes: list[Experiment], data: StudyData, folds: list[int], out: Path, existing: Existing
) -> None:
    """Refuse existing runs of all seeds before the first is trained."""
    from taichinet.experiments.cross_validate import refuse_existing_run
    from taichinet.experiments.study_data import study_folder

    for recipe in recipes if existing == "refuse" else ():
        for fold in folds:
            refuse_existing_run(study_folder(recipe, data.plan, out) / f"fold-{fold}")


def _existing(resume: bool, overwrite: bool) -> Existing:
    from taichinet.errors import SettingError

    if resume and overwrite:
        raise SettingError("--resume and --overwrite cannot be used together. Give one of them.")
    if resume:
        return "resume"
    return "overwrite" if overwrite else "refuse"


def _chosen_folds(folds: Sequence[int] | None, count: int) -> list[int]:
    """The folds in order, by default all; raises SettingError for one that does not exist."""
    from taichinet.errors import SettingError

    if any(not 0 <= fold < count for fold in folds or ()):
        raise SettingError(f"--fold must be in 0..{count - 1}, got {', '.join(map(str, folds or ()))}.")
    return sorted(set(folds or range(count)))
