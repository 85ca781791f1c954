"""Finds the summary.json files of trainings below a folder."""

from __future__ import annotations

from pathlib import Path

from taichinet.errors import DataError
from taichinet.experiments.records import SUMMARY_FILE, StudyRecord, is_evaluation, parse_record
from taichinet.storage.documents import read_json


def read_summaries(folder: Path) -> list[StudyRecord]:
    """The studies below `folder`, as `find_summaries`, without their paths."""
    return list(find_summaries(folder).values())


def find_summaries(folder: Path) -> dict[Path, StudyRecord]:
    """Read every summary.json of a training below a folder; those of evaluations are skipped.

    Args:
        folder: A folder of runs.

    Returns:
        The records by path, sorted by data set, normal images, protocol and recipe.

    Raises:
        DataError: There is no folder or no summary, or files cannot be read; all of these are listed.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Give the --out folder of `taichinet train`.")
    paths = sorted(folder.rglob(SUMMARY_FILE))
    studies: dict[Path, StudyRecord] = {}
    problems: list[str] = []
    for path in paths:
        try:
            content = read_json(path)
            if not is_evaluation(content):
                studies[path] = parse_record(content, StudyRecord, path)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError(
            f"{len(problems)} of {len(paths)} summaries under '{folder}' cannot be read. Train their recipes "
            "again with --resume, which rewrites the summary, or move them away.",
            problems,
        )
    if not studies:
        raise DataError(
            f"No {SUMMARY_FILE} of a training under '{folder}'. Give the --out folder of `taichinet train`."
        )
    return dict(sorted(studies.items(), key=lambda item: _order(item[1])))


def _order(study: StudyRecord) -> tuple[str, bool, str, str]:
    return (study.dataset, study.experiment.data.include_normal, study.protocol, study.experiment.name)
