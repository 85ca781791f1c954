"""What the folds of a study share: the data set, its resized images, the fold plan, and the folders of runs."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from taichinet.datasets.catalogue import split_spec
from taichinet.datasets.decoded import DecodedFiles
from taichinet.datasets.duplicates.search import manifest_duplicates
from taichinet.datasets.folds import FoldPlan, Protocol, load_or_make_folds
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.prepared import Prepared, prepare
from taichinet.experiments.experiment import Experiment, vary
from taichinet.storage.lock import locked


@dataclass(frozen=True)
class StudyData:
    """What every fold of a study reads: the samples, their pixels at the input resolution, the fold plan."""

    manifest: Manifest
    prepared: Prepared
    plan: FoldPlan


def open_study_data(experiment: Experiment, data: Path | str, protocol: Protocol, out: Path) -> StudyData:
    """Read a data set, verify or draw its folds, and resize its images; each file is decoded once.

    Args:
        experiment: Settings of the data and of the network.
        data: A path or "NAME=PATH".
        protocol: Protocol of the folds.
        out: Folder of the fold plans, in `folds`, and of the resized images, in `prepared`.

    Returns:
        The samples, their pixels at the input resolution, and the fold plan.

    Raises:
        DataError: The data set has faults. All of them are named.
        FoldError: The existing fold plan was made for other images, or no plan can be drawn.
    """
    size, channels = experiment.data.size, experiment.channels
    manifest, plan = open_folds(experiment, data, protocol, out, DecodedFiles(size, channels))
    return StudyData(manifest, prepare(manifest, size, channels, out / "prepared"), plan)


def open_folds(
    experiment: Experiment, data: Path | str, protocol: Protocol, out: Path, files: DecodedFiles | None = None
) -> tuple[Manifest, FoldPlan]:
    """Read a data set and its folds, which one process draws if several run at once.

    Near-duplicates are only searched if the fold plan does not exist yet (about half a minute for BUSI).

    Args:
        experiment: Settings of the data.
        data: A path or "NAME=PATH".
        protocol: Protocol of the folds.
        out: Folder of the fold plans, in `folds`.
        files: Keeps what later steps need of the decoded files.

    Returns:
        The samples and the fold plan.

    Raises:
        DataError: The data set has faults. All of them are named.
        FoldError: The existing fold plan was made for other images, or no plan can be drawn.
    """
    settings = experiment.data
    files = DecodedFiles() if files is None else files
    dataset, root = split_spec(data)
    content = ("-with-normal" if settings.include_normal else "-lesions") if dataset.has_normal else ""
    folds = "" if protocol == "official" else f"-{settings.folds}folds-seed{settings.fold_seed}"
    path = out / "folds" / f"{dataset.name}{content}-{protocol}{folds}.json"
    files.keep_reduced(not path.exists())
    manifest = dataset.read(root, settings.include_normal, files=files)
    with nullcontext() if path.exists() else locked(path.with_suffix(".lock"), wait=True):
        groups = () if path.exists() else manifest_duplicates(manifest).groups
        return manifest, load_or_make_folds(path, manifest, groups, protocol, settings.fold_seed, settings.folds)


def fitted_to(experiment: Experiment, manifest: Manifest) -> Experiment:
    """`experiment` with the number of regions that `manifest` has, where its options leave that open."""
    regions = len(manifest.regions)
    if regions == 1 or "num_classes" in experiment.options:
        return experiment
    return vary(experiment, {"options.num_classes": regions})


def study_folder(experiment: Experiment, plan: FoldPlan, out: Path) -> Path:
    """Where the folds of this recipe on this data set under this protocol lie."""
    return out / plan.dataset / experiment.name / plan.protocol


def teacher_folder(experiment: Experiment, folder: Path) -> Path | None:
    """The run folder of the teacher of the fold in `folder`: the same data set, protocol and fold; None without one."""
    if experiment.teacher is None:
        return None
    return folder.parents[2] / experiment.teacher / folder.parent.name / folder.name
