"""Data shared by all folds of a study: data set, images at input resolution and fold plan; paths of run folders."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from taichinet.datasets.catalogue import find_dataset, open_dataset
from taichinet.datasets.duplicates.copies import find_copies
from taichinet.datasets.folds import FoldPlan, Protocol, load_or_make_folds
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.prepared import Prepared, prepare
from taichinet.experiments.experiment import Experiment, vary
from taichinet.storage.lock import locked


@dataclass(frozen=True)
class StudyData:
    """Samples, images at input resolution, and fold plan."""

    manifest: Manifest
    prepared: Prepared
    plan: FoldPlan


def open_study_data(experiment: Experiment, data: Path | str, protocol: Protocol, out: Path) -> StudyData:
    """Read a data set, make or verify its fold plan, and resize the images.

    Near-duplicates are only searched if the fold plan does not exist (about half a minute for BUSI).

    Args:
        experiment: The recipe.
        data: A path, or NAME=PATH.
        protocol: Fold protocol.
        out: Folder of all runs; the plan is in `out`/folds and the images are cached in `out`/prepared.
    """
    manifest, plan = open_folds(experiment, data, protocol, out)
    return StudyData(manifest, prepare(manifest, experiment.data.size, experiment.channels, out / "prepared"), plan)


def open_folds(experiment: Experiment, data: Path | str, protocol: Protocol, out: Path) -> tuple[Manifest, FoldPlan]:
    """The data set at `data` and its fold plan in `out`/folds, which a lock lets only one process make."""
    settings = experiment.data
    manifest = open_dataset(data, include_normal=settings.include_normal)
    dataset = find_dataset(manifest.name)
    content = ("-with-normal" if settings.include_normal else "-lesions") if dataset.has_normal else ""
    folds = "" if protocol == "official" else f"-{settings.folds}folds-seed{settings.fold_seed}"
    path = out / "folds" / f"{manifest.name}{content}-{protocol}{folds}.json"
    with nullcontext() if path.exists() else locked(path.with_suffix(".lock"), wait=True):
        groups = () if path.exists() else find_copies(manifest).groups
        return manifest, load_or_make_folds(path, manifest, groups, protocol, settings.fold_seed, settings.folds)


def fitted_to(experiment: Experiment, manifest: Manifest) -> Experiment:
    """`experiment` with the number of regions of `manifest`, unless its options set it."""
    regions = len(manifest.regions)
    if regions == 1 or "num_classes" in experiment.options:
        return experiment
    return vary(experiment, {"options.num_classes": regions})


def study_folder(experiment: Experiment, plan: FoldPlan, out: Path) -> Path:
    """Folder of the runs of a recipe on a data set with a fold protocol."""
    return out / plan.dataset / experiment.name / plan.protocol


def teacher_folder(experiment: Experiment, folder: Path) -> Path | None:
    """Run folder of the teacher for the fold in `folder`, or None: same data set, protocol and fold."""
    if experiment.teacher is None:
        return None
    return folder.parents[2] / experiment.teacher / folder.parent.name / folder.name
