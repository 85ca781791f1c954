"""Data shared by all folds of a study: data set, images at input resolution and fold plan; paths of run folders."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from taichinet.datasets.bundle.read import BundledFiles
from taichinet.datasets.catalogue import split_spec
from taichinet.datasets.decoded import DecodedFiles
from taichinet.datasets.duplicates.search import manifest_duplicates
from taichinet.datasets.folds import FoldPlan, Protocol, load_or_make_folds, write_folds
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
    """Read a data set, make or verify its fold plan, and resize the images; each file is decoded once.

    Args:
        experiment: The recipe.
        data: A path, or NAME=PATH.
        protocol: Fold protocol.
        out: Folder of all runs; the plan is in `out`/folds and the images are cached in `out`/prepared.

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
    """Read a data set and its fold plan in `out`/folds, which a lock lets only one process make.

    Near-duplicates are only searched if the fold plan does not exist (about half a minute for BUSI); a bundle contains
    them and the usual plans. `files` keeps what later steps need of the decoded files. The other arguments and the
    errors are those of `open_study_data`.
    """
    settings = experiment.data
    files = DecodedFiles() if files is None else files
    dataset, root = split_spec(data)
    content = ("-with-normal" if settings.include_normal else "-lesions") if dataset.has_normal else ""
    folds = "" if protocol == "official" else f"-{settings.folds}folds-seed{settings.fold_seed}"
    path = out / "folds" / f"{dataset.name}{content}-{protocol}{folds}.json"
    files.keep_reduced(not path.exists())
    manifest = dataset.read(root, settings.include_normal, files=files)
    manifest.files.refuse_other_input(settings.size, experiment.channels)
    with nullcontext() if path.exists() else locked(path.with_suffix(".lock"), wait=True):
        if isinstance(manifest.files, BundledFiles):
            groups = manifest.files.selection.groups
            bundled = manifest.files.plan(protocol, settings.fold_seed, settings.folds)
            if bundled is not None and not path.exists():
                write_folds(bundled, path)
        else:
            groups = () if path.exists() else manifest_duplicates(manifest).groups
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
