"""Pack runs into an archive for another machine; record.py has its format.

Checkpoints, mined regions and prepared images are not packed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from taichinet.datasets.duplicates.known_images import SEEN_FILE
from taichinet.errors import DataError
from taichinet.experiments.records import RESULT_FILE, SUMMARY_FILE, read_record
from taichinet.experiments.transport.record import (
    COMPLETE_RUN,
    INDEX_FILE,
    PART_BYTES,
    PLANS_FOLDER,
    RUN_FILES,
    SUMMARY_FILES,
    WEIGHTS_FOLDER,
    ArchiveIndex,
    PackedFile,
    is_part_name,
    part_name,
)
from taichinet.models.weights import ROUNDED_FROM, load_weights, save_weights
from taichinet.models.weights_folder import CONFIG_FILE, WEIGHTS_FILE
from taichinet.progress import tracked
from taichinet.storage.atomic import remove_leftovers, temporary_folder, write_json
from taichinet.storage.digest import digest_file
from taichinet.storage.lock import locked
from taichinet.storage.output_folder import output_files, refuse_foreign_files


@dataclass(frozen=True)
class Packed:
    """Numbers of completed folds and parts, and the size of all parts in bytes."""

    folds: int
    parts: int
    bytes: int


def pack_runs(
    runs: Path, folder: Path, weights: bool = False, overwrite: bool = False, trust_code: bool = False
) -> Packed:
    """Pack the completed runs below `runs`. An earlier archive in `folder` is replaced.

    Args:
        runs: A folder of runs.
        folder: The output folder.
        weights: Whether to pack the weights, rounded to float16, and the thumbnails of the training images.
        overwrite: Whether files of the same names that taichinet did not write may be replaced.
        trust_code: Whether the code of networks from outside the package may be executed to load their weights. It is
            packed beside them.

    Returns:
        What was packed.

    Raises:
        DataError: There is no completed run.
        WeightsError: Weights cannot be read, need code that is not trusted, or are too large for float16.
        StorageError: A file cannot be written, or would replace a file that taichinet did not write.
    """
    files = _find_files(runs, weights)
    folds = sum(Path(name).name == RESULT_FILE for name in files)
    if not any(Path(name).name in (*COMPLETE_RUN, SUMMARY_FILE) for name in files):
        raise DataError(f"No completed run under {runs}. Give the --output folder of `train` or `compare`.")
    with locked(folder / "lock", wait=True):
        remove_leftovers(folder, subfolders=False)
        with temporary_folder(folder) as temporary:
            if weights:
                files |= _rounded_weights(runs, files, temporary, trust_code)
            whole = temporary / "runs.zip"
            _write_zip(files, whole)
            names = [part_name(number) for number in range(1, -(-whole.stat().st_size // PART_BYTES) + 1)]
            refuse_foreign_files(folder, (INDEX_FILE, *names), overwrite)
            earlier = _earlier_parts(folder)
            with output_files(folder) as new, whole.open("rb") as content:
                for name in names:
                    (new / name).write_bytes(content.read(PART_BYTES))
                parts = tuple(_describe(name, new / name) for name in names)
                index = ArchiveIndex(parts=parts, files=tuple(_describe(name, path) for name, path in files.items()))
                write_json(new / INDEX_FILE, index.to_json_dict())
            for part in earlier:
                if part.name not in names and (folder / part.name).is_file():
                    (folder / part.name).unlink()
    return Packed(folds, len(parts), sum(part.bytes for part in parts))


def _find_files(runs: Path, weights: bool) -> dict[str, Path]:
    """The files to pack by their name in the archive, sorted, without temporary folders of killed processes."""
    files = {path.relative_to(runs): path for path in sorted(_list_files(runs, weights))}
    return {
        name.as_posix(): path
        for name, path in files.items()
        if not any(folder.startswith(".") for folder in name.parts[:-1])
    }


def _list_files(runs: Path, weights: bool) -> Iterator[Path]:
    for complete in (path for name in COMPLETE_RUN for path in runs.rglob(name)):
        names = (*RUN_FILES, SEEN_FILE) if weights else RUN_FILES
        yield from (complete.parent / name for name in names if (complete.parent / name).is_file())
    for summary in runs.rglob(SUMMARY_FILE):
        yield from (summary.parent / name for name in SUMMARY_FILES if (summary.parent / name).is_file())
    yield from runs.rglob(f"{PLANS_FOLDER}/*.json")


def _rounded_weights(runs: Path, files: Mapping[str, Path], temporary: Path, trust_code: bool) -> dict[str, Path]:
    """Write the weights of all packed runs as float16; they record the digest of the originals."""
    rounded: dict[str, Path] = {}
    completed = [path for name, path in files.items() if Path(name).name in COMPLETE_RUN]
    for number, complete in enumerate(tracked(completed, "rounding weights")):
        folder = complete.parent / WEIGHTS_FOLDER
        if not (folder / CONFIG_FILE).is_file():
            continue
        loaded = load_weights(folder, trust_code)
        provenance = {ROUNDED_FROM: digest_file(folder / WEIGHTS_FILE), **loaded.config.provenance}
        config = replace(loaded.config, provenance=provenance)
        saved = save_weights(loaded.network, config, temporary / str(number), torch.float16)
        rounded |= {(folder / file.name).relative_to(runs).as_posix(): file for file in saved.iterdir()}
    return rounded


def _write_zip(files: Mapping[str, Path], path: Path) -> None:
    """Write a zip that depends only on the names and contents of the files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            member = zipfile.ZipInfo(name)  # with a constant date
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, files[name].read_bytes())


def _earlier_parts(folder: Path) -> tuple[PackedFile, ...]:
    """The parts of an earlier archive in `folder` that are unchanged."""
    try:
        parts = read_record(folder / INDEX_FILE, ArchiveIndex).parts
    except DataError:
        return ()
    present = (part for part in parts if is_part_name(part.name) and (folder / part.name).is_file())
    return tuple(part for part in present if digest_file(folder / part.name) == part.sha256)


def _describe(name: str, path: Path) -> PackedFile:
    return PackedFile(name=name, bytes=path.stat().st_size, sha256=digest_file(path))
