"""Unpack runs that were packed on another machine into a folder of runs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from itertools import groupby
from pathlib import Path, PurePosixPath

from taichinet.datasets.archive import Member, open_archive
from taichinet.datasets.duplicates.known_images import SEEN_FILE
from taichinet.errors import DataError, StorageError, TaiChiNetError
from taichinet.experiments.cross_validate import summarise_study
from taichinet.experiments.identity import STUDY_FIELDS, differences
from taichinet.experiments.records import (
    RESULT_FILE,
    SCORES_FILE,
    SUMMARY_FILE,
    StudyRecord,
    parse_record,
    read_record,
)
from taichinet.experiments.training_run import RUN_IMAGES
from taichinet.experiments.transport.record import (
    COMPLETE_RUN,
    INDEX_FILE,
    WEIGHTS_FOLDER,
    ArchiveIndex,
    PackedFile,
    is_part_name,
    is_run_file,
)
from taichinet.models.weights_folder import CONFIG_FILE
from taichinet.storage.atomic import temporary_folder, write_bytes
from taichinet.storage.digest import digest_bytes, digest_file
from taichinet.storage.documents import read_json
from taichinet.storage.lock import locked
from taichinet.training.checkpoint import clear_checkpoints

COPY_AGAIN = "Copy the whole folder again from the machine that packed it."
PACK_AGAIN = "Pack the runs again."


@dataclass(frozen=True)
class Unpacked:
    """Numbers of files that were written, and that existed with the same content; studies summarised again."""

    written: int
    identical: int
    summarised: tuple[Path, ...]


def unpack_runs(folder: Path, out: Path, overwrite: bool = False) -> Unpacked:
    """Unpack an archive of runs. Nothing is written if a part or file is absent, damaged or in conflict.

    A study of which `out` has other folds is summarised again over all folds.

    Args:
        folder: Folder with archive.json and all parts.
        out: Folder of runs; created if it does not exist.
        overwrite: Whether files with another content are replaced. The weights and checkpoints of a fold whose result
            is replaced are removed.

    Raises:
        DataError: The archive is incomplete or damaged, has an unsafe name or a file that is not of a run, or a study
            could not be summarised again.
        StorageError: Files exist with another content, or cannot be written.
        LockedError: Another process works in one of the run folders.
    """
    index = read_index(folder)
    with temporary_folder(out) as temporary:
        archive = _open_parts(folder, index, temporary / "runs.zip")
        with archive.root:
            _verify_files(archive, index, folder)
            merged = _studies_to_merge(archive, index, out)
            _verify_merges(archive, index, merged, out, temporary / "merged")
            derived = {str(study / name) for study in merged for name in (SCORES_FILE, SUMMARY_FILE)}
            changed = [file for file in index.files if file.name not in derived and not _is_identical(file, out)]
            existing = [str(out / file.name) for file in changed if (out / file.name).exists()]
            if existing and not overwrite:
                raise StorageError(
                    f"{len(existing)} file(s) in {out} have another content than in the archive. Nothing was written. "
                    "Unpack into another folder, or replace them with --overwrite:",
                    existing,
                )
            for home, files in groupby(sorted(changed, key=_order), key=lambda file: _home(file.name)):
                _write_files(archive, list(files), out, out / home)
    studies = tuple(out / study for study in merged)
    for study in studies:
        summarise_study(study)
    return Unpacked(len(changed), len(index.files) - len(changed) - len(derived), studies)


def read_index(folder: Path) -> ArchiveIndex:
    """Read archive.json; DataError if it is absent, damaged, or names a part that is not one."""
    path = folder / INDEX_FILE
    index = read_record(path, ArchiveIndex, remedy=COPY_AGAIN)
    if not index.parts:
        raise DataError(f"{path} lists no archive files. {PACK_AGAIN}")
    for part in index.parts:
        if not is_part_name(part.name):
            raise DataError(f"{path}: '{part.name[:100]}' is not the name of a part. {PACK_AGAIN}")
    return index


def _open_parts(folder: Path, index: ArchiveIndex, whole: Path) -> Member:
    """Verify the parts, join them to the zip `whole`, and validate its names."""
    absent = [part.name for part in index.parts if not (folder / part.name).is_file()]
    damaged = [
        part.name
        for part in index.parts
        if part.name not in absent
        and ((folder / part.name).stat().st_size != part.bytes or digest_file(folder / part.name) != part.sha256)
    ]
    if absent or damaged:
        raise DataError(
            f"{len(absent) + len(damaged)} of {len(index.parts)} files in {folder} cannot be used. {COPY_AGAIN}",
            [f"{name} is absent" for name in absent]
            + [f"{name} is damaged: its size or SHA-256 is not the recorded one" for name in damaged],
        )
    with whole.open("wb") as file:
        for part in index.parts:
            file.write((folder / part.name).read_bytes())
    try:
        return open_archive(whole)
    except DataError as error:  # names the temporary file
        raise DataError(f"{str(error).replace(str(whole), str(folder))} {PACK_AGAIN}") from error


def _verify_files(archive: Member, index: ArchiveIndex, folder: Path) -> None:
    """Check names, sizes and digests of all files in the zip."""
    names = [member.filename for member in archive.root.infolist()]  # `namelist` adds the folders
    if sorted(names) != sorted(file.name for file in index.files):
        raise DataError(f"The archive in {folder} contains other files than {INDEX_FILE} lists. {PACK_AGAIN}")
    problems = [
        f"'{file.name[:200]}' is not a file of a run"
        for file in index.files
        if not is_run_file(file.name) and not _is_recorded_code(archive, names, file)
    ]
    for file in index.files if not problems else ():
        content = _read(archive, file)
        if len(content) != file.bytes or digest_bytes(content) != file.sha256:
            problems.append(f"{file.name} is damaged: its size or SHA-256 is not the recorded one")
    if problems:
        raise DataError(f"{len(problems)} of {len(names)} files in {folder} cannot be used. {PACK_AGAIN}", problems)


def _is_recorded_code(archive: Traversable, names: list[str], file: PackedFile) -> bool:
    """Whether the config.json of weights records `file` as the code of their network."""
    path = PurePosixPath(file.name)
    config = str(path.parent / CONFIG_FILE)
    if path.parent.name != WEIGHTS_FOLDER or path.suffix != ".py" or config not in names:
        return False
    content = read_json(archive / config)
    code = content.get("code") if isinstance(content, dict) else None
    return isinstance(code, dict) and (code.get("file"), code.get("sha256")) == (path.name, file.sha256)


def _studies_to_merge(archive: Traversable, index: ArchiveIndex, out: Path) -> list[PurePosixPath]:
    """Studies of which `out` has a summary of other folds, with the same settings and images."""
    names = {file.name: file for file in index.files}
    folds = [PurePosixPath(name).parent for name in names if PurePosixPath(name).name == RESULT_FILE]
    merged = []
    for study in dict.fromkeys(fold.parent for fold in folds if fold.name):  # without a name for a fold packed alone
        summary = names.get(str(study / SUMMARY_FILE))
        if summary is None or _is_identical(summary, out) or not (out / summary.name).exists():
            continue
        content = read_json(archive / summary.name)
        packed = parse_record(content, StudyRecord, Path(summary.name))
        present = read_record(out / summary.name, StudyRecord)
        if not differences(packed, present.experiment, present.model_dump(include=set(STUDY_FIELDS))):
            merged.append(study)
    return merged


def _verify_merges(
    archive: Traversable, index: ArchiveIndex, studies: list[PurePosixPath], out: Path, temporary: Path
) -> None:
    """Summarise the folds of the archive and of `out` in a temporary folder, so that a failure changes nothing."""
    for study in studies:
        for name in (RESULT_FILE, SCORES_FILE):
            for path in (out / study).glob(f"fold-*/{name}"):
                write_bytes(temporary / path.relative_to(out), path.read_bytes())
            for file in index.files:
                path_in_zip = PurePosixPath(file.name)
                if path_in_zip.name == name and path_in_zip.parent.parent == study:
                    write_bytes(temporary / file.name, _read(archive, file))
        try:
            summarise_study(temporary / study)
        except TaiChiNetError as error:
            reason = str(error).replace(str(temporary), str(out))
            raise DataError(f"Nothing was written, as {out / study} could not be summarised: {reason}") from error


def _is_identical(file: PackedFile, out: Path) -> bool:
    path = out / file.name
    return path.is_file() and path.stat().st_size == file.bytes and digest_file(path) == file.sha256


def _home(name: str) -> str:
    """The run folder of a file."""
    parent = PurePosixPath(name).parent
    return str(parent.parent if parent.name == WEIGHTS_FOLDER else parent)


def _order(file: PackedFile) -> tuple[str, bool, str]:
    """By run folder; the file that marks a run as complete is the last."""
    return (_home(file.name), PurePosixPath(file.name).name in (*COMPLETE_RUN, SUMMARY_FILE), file.name)


def _write_files(archive: Traversable, files: list[PackedFile], out: Path, home: Path) -> None:
    with locked(home / "lock"):
        names = {PurePosixPath(file.name).name for file in files}
        replaced = [home / name for name in COMPLETE_RUN if name in names and (home / name).exists()]
        if replaced:
            for path in replaced:
                path.unlink()
            for name in (SEEN_FILE, *RUN_IMAGES):
                (home / name).unlink(missing_ok=True)
            shutil.rmtree(home / WEIGHTS_FOLDER, ignore_errors=True)
            clear_checkpoints(home)
        for file in files:
            write_bytes(out / file.name, _read(archive, file))


def _read(archive: Traversable, file: PackedFile) -> bytes:
    return (archive / file.name).read_bytes()
