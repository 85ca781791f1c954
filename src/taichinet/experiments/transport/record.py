"""The format of an archive of runs: one zip, cut into parts, and a list of the parts and files with their digests.

DIR/archive.json                         the list: an `ArchiveIndex`
DIR/runs-0001.part, runs-0002.part, ...  the zip in parts of at most 15 MB

The zip has the completed folds and trainings on all images, the summaries, the evaluations and the fold plans below a
folder of runs, by their path in it.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field

from taichinet.datasets.duplicates.known_images import SEEN_FILE
from taichinet.experiments.records import (
    RESULT_FILE,
    SCORES_FILE,
    SETTINGS_FILE,
    SUMMARY_FILE,
    TRAINING_FILE,
    FileRecord,
)
from taichinet.experiments.training_run import HISTORY_FILE
from taichinet.models.training_images import TRAINING_IMAGES_FILE
from taichinet.models.weights_folder import CONFIG_FILE, WEIGHTS_FILE
from taichinet.settings import Record
from taichinet.storage.output_folder import MANIFEST

PART_BYTES = 15_000_000
INDEX_FILE = "archive.json"
COMPLETE_RUN = (RESULT_FILE, TRAINING_FILE)  # marks a fold, or a training on all images, as complete
RUN_FILES = (*COMPLETE_RUN, HISTORY_FILE, SCORES_FILE, SETTINGS_FILE)
SUMMARY_FILES = (MANIFEST, SCORES_FILE, SUMMARY_FILE)
WEIGHTS_FOLDER, PLANS_FOLDER = "weights", "folds"


class PackedFile(Record):
    """Name, size and SHA-256 of a part, or of a file in the zip."""

    name: str
    bytes: Annotated[int, Field(ge=0)]
    sha256: str


class ArchiveIndex(FileRecord):
    """The content of archive.json."""

    parts: tuple[PackedFile, ...]
    files: tuple[PackedFile, ...]


def part_name(number: int) -> str:
    """The file name of a part; the first is number 1."""
    return f"runs-{number:04d}.part"


def is_part_name(name: str) -> bool:
    """Whether `name` can be the file name of a part."""
    return re.fullmatch(r"runs-[0-9]{4,6}\.part", name) is not None


def is_run_file(name: str) -> bool:
    """Whether `name` can be the name of a file in the zip, apart from the code of networks in files."""
    path = PurePosixPath(name)
    if path.parent.name == WEIGHTS_FOLDER:
        return path.name in (CONFIG_FILE, WEIGHTS_FILE, TRAINING_IMAGES_FILE)
    if path.parent.name == PLANS_FOLDER:
        return path.suffix == ".json"
    return path.name in (*RUN_FILES, *SUMMARY_FILES, SEEN_FILE)
