"""Data shared by all folds of a study: data set, images at input resolution and fold plan; paths of run folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from taichinet.datasets.bundle.read import BundledFiles, refuse_different_inputs
from taichinet.datasets.catalogue import split_spec
from taichinet.datasets.decoded import DecodedFiles
from taichinet.datasets.duplicates.search import manifest_duplicates
from taichinet.datasets.folds import (
    LEAVE_ONE_OUT,
    FoldPlan,
    Protocol,
    load_or_make_folds,
    make_folds,
    read_folds,
    write_folds,
)
from taichinet.datasets.joint import join_folds, join_manifests, joined_groups, refuse_shared_images
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.patients import patient_pattern, with_patients
from taichinet.datasets.prepared import Prepared, prepare
from taichinet.errors import DataError, FoldError, SettingError
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.initial_weights import InitialWeights
from taichinet.models.catalogue import find_entry
from taichinet.storage.lock import locked

DataSpec = Path | str | Sequence[Path | str]
"""One data set as a path or NAME=PATH, or several that are joined."""


@dataclass(frozen=True)
class StudyData:
    """Samples, images at input resolution, fold plan, and the weights that the trainings start from, if any."""

    manifest: Manifest
    prepared: Prepared
    plan: FoldPlan
    initial: InitialWeights | None = None


def open_study_data(
    experiment: Experiment, data: DataSpec, protocol: Protocol, out: Path, group_by: str | None = None
) -> StudyData:
    """Read a data set, make or verify its fold plan, and resize the images; each file is decoded once.

    Args:
        experiment: The recipe.
        data: A path, or NAME=PATH; several are joined.
        protocol: Fold protocol.
        out: Folder of all runs; the plan is in `out`/folds and the images are cached in `out`/prepared.
        group_by: Pattern that finds the patient in the file names of plain folders, see `with_patients`.

    Returns:
        The samples, their pixels at the input resolution, and the fold plan.

    Raises:
        DataError: The data set has faults. All of them are named.
        FoldError: The existing fold plan was made for other images, or no plan can be drawn.
        SettingError: `group_by` is not valid, or no data set is a plain folder; or one data set shall be mixed.
    """
    size, channels = experiment.data.size, experiment.channels
    files = DecodedFiles(size, channels)
    pattern = find_pattern(group_by, list_specs(data))
    refuse_mix_of_one(experiment, len(list_specs(data)))
    manifest, plan = open_folds(experiment, data, protocol, out, files, pattern)
    return StudyData(manifest, prepare(manifest, size, channels, out / "prepared"), plan)


def find_pattern(group_by: str | None, data: Sequence[Path | str]) -> re.Pattern[str] | None:
    """The pattern for patients in file names; raises SettingError if it is not valid, or no data set is a folder."""
    pattern = None if group_by is None else patient_pattern(group_by)
    if pattern is not None and not any(split_spec(spec)[0].own for spec in data):
        raise SettingError("--group-by is for plain folders (folder=PATH). The patients of other data sets are known.")
    return pattern


def refuse_mix_of_one(experiment: Experiment, datasets: int) -> None:
    """Raise SettingError if several data sets shall be mixed, but there is only one."""
    if experiment.data.mix != "proportional" and datasets < 2:
        raise SettingError(
            f"data.mix={experiment.data.mix} is for several data sets, but one is given. Repeat --data, or leave out "
            "--mix."
        )


def list_specs(data: DataSpec) -> list[Path | str]:
    """The data sets of `data`; raises DataError if there is none."""
    specs: list[Path | str] = [data] if isinstance(data, str | Path) else list(data)
    if not specs:
        raise DataError("No data set was given. Give at least one path, or NAME=PATH.")
    return specs


def open_folds(
    experiment: Experiment,
    data: DataSpec,
    protocol: Protocol,
    out: Path,
    files: DecodedFiles | None = None,
    patients: re.Pattern[str] | None = None,
) -> tuple[Manifest, FoldPlan]:
    """Read a data set, or several that are joined, and the fold plan in `out`/folds.

    Near-duplicates are only searched if the fold plan does not exist (about half a minute for BUSI); a bundle contains
    them and the usual plans. `files` keeps what later steps need of the decoded files, `patients` finds the patient in
    the file names of a plain folder. The other arguments and the errors are those of `open_study_data`.
    """
    files, specs = DecodedFiles() if files is None else files, list_specs(data)
    if len(specs) > 1:
        return _open_joint_folds(experiment, specs, protocol, out, files, patients)
    return _open_own_folds(experiment, specs[0], protocol, out, files, patients)


def _open_own_folds(
    experiment: Experiment,
    data: Path | str,
    protocol: Protocol,
    out: Path,
    files: DecodedFiles,
    patients: re.Pattern[str] | None,
) -> tuple[Manifest, FoldPlan]:
    """Read one data set and its fold plan, which a lock lets only one process make; see `open_folds`."""
    settings = experiment.data
    dataset, root = split_spec(data)
    path = _plan_path(experiment, dataset.name, dataset.has_normal, protocol, out)
    files.keep_reduced(not path.exists())
    manifest = dataset.read(root, settings.include_normal, files=files)
    manifest.files.refuse_other_input(settings.size, experiment.channels)
    patients = patients if dataset.own else None
    if patients is not None:
        manifest = with_patients(manifest, patients)
    with nullcontext() if path.exists() else locked(path.with_suffix(".lock"), wait=True):
        if isinstance(manifest.files, BundledFiles):
            bundled = manifest.files.plan(protocol, settings.fold_seed, settings.folds)
            if bundled is not None and patients is None and not path.exists():  # it was drawn without `patients`
                write_folds(bundled, path)
        groups = () if path.exists() else near_duplicate_groups(manifest)
        drawn = (protocol, settings.fold_seed, settings.folds, settings.validation_share)
        return manifest, load_or_make_folds(path, manifest, groups, *drawn)


def near_duplicate_groups(manifest: Manifest) -> tuple[tuple[str, ...], ...]:
    """The groups of near-duplicates of a data set, which a bundle records; raises DataError for unreadable images."""
    if isinstance(manifest.files, BundledFiles):
        return manifest.files.selection.groups
    return manifest_duplicates(manifest).groups


def _open_joint_folds(
    experiment: Experiment,
    data: Sequence[Path | str],
    protocol: Protocol,
    out: Path,
    files: DecodedFiles,
    patients: re.Pattern[str] | None,
) -> tuple[Manifest, FoldPlan]:
    """Read several data sets and their fold plans, and join them; the images of different data sets are compared once.

    The arguments and errors are those of `open_folds`; also DataError if the data sets cannot be joined.
    """
    settings = experiment.data
    refuse_different_inputs([split_spec(spec)[1] for spec in data], settings.size, experiment.channels)
    own: Protocol = "grouped" if protocol == LEAVE_ONE_OUT else protocol
    opened = [_open_own_folds(experiment, spec, own, out, files, patients) for spec in data]
    manifest, plans = join_manifests([manifest for manifest, _ in opened]), [plan for _, plan in opened]
    plan = (
        make_folds(manifest, joined_groups(plans), protocol, settings.fold_seed)
        if protocol == LEAVE_ONE_OUT
        else join_folds(manifest, plans)
    )
    has_normal = any(split_spec(spec)[0].has_normal for spec in data)
    path = _plan_path(experiment, manifest.name, has_normal, protocol, out)
    with nullcontext() if path.exists() else locked(path.with_suffix(".lock"), wait=True):
        if not path.exists():
            refuse_shared_images(manifest)
            write_folds(plan, path)
        elif read_folds(path) != plan:
            raise FoldError(f"{path} was made from other images or other folds of {manifest.name}. Delete it.")
    return manifest, plan


def _plan_path(experiment: Experiment, dataset: str, has_normal: bool, protocol: Protocol, out: Path) -> Path:
    """The fold file of a data set in `out`/folds."""
    settings = experiment.data
    content = ("-with-normal" if settings.include_normal else "-lesions") if has_normal else ""
    folds = {"official": "", LEAVE_ONE_OUT: f"-seed{settings.fold_seed}"}
    drawn = folds.get(protocol, f"-{settings.folds}folds-seed{settings.fold_seed}")
    return out / "folds" / f"{dataset}{content}-{protocol}{drawn}.json"


def fitted_to(experiment: Experiment, manifest: Manifest) -> Experiment:
    """`experiment` with the number of regions of `manifest`, unless its options set it; raises SettingError."""
    entry = find_entry(experiment.model)
    if not manifest.nested and entry.nested_regions:
        raise SettingError(
            f"The regions {', '.join(manifest.regions)} of {manifest.name} are separate, but {entry.title} can only "
            "represent regions of which each contains the next. Train another network."
        )
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
