"""Cases of an export: safe file names, and what other formats cannot store (key, class, patient, part).

Both are under "taichinet" in the index of an export (dataset.json, datalist.json), so that reading it restores the
samples. They are at the top of the file and not at each case, since MONAI interprets every string of a case as a path,
and nnU-Net reads the names of cases from the files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any, cast, get_args

from taichinet.datasets.sample import Part, Sample
from taichinet.errors import DataError
from taichinet.storage.documents import read_json

RECORD = "taichinet"

_LONGEST_NAME = 80  # characters: several numbers and endings still fit every file system


@dataclass(frozen=True)
class Case:
    """A case before it was exported."""

    key: str
    label: str
    patient: str | None = None
    part: Part | None = None


def case_names(keys: Iterable[str]) -> dict[str, str]:
    """A file name without ending for each key: letters, digits and hyphens; "benign (12)" becomes "benign-12".

    Names differ in more than case, which not every file system distinguishes; a number makes equal names unique. The
    same keys in the same order give the same names.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for key in keys:
        stem = re.sub(r"[^A-Za-z0-9]+", "-", key).strip("-")[:_LONGEST_NAME] or "case"
        name, number = stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.lower())
        names[key] = name
    return names


def read_index(file: Traversable) -> dict[str, Any]:
    """Read the object in a JSON file; raises DataError if it is not an object."""
    content = read_json(file, DataError, "Correct it, or write it again.")
    if not isinstance(content, dict):
        raise DataError(f"{file}: must contain an object in braces, but contains a {type(content).__name__}.")
    return content


def recorded_cases(index: Mapping[str, Any], source: Traversable) -> dict[str, Case]:
    """The cases that an export of this package recorded, by name, in order; empty for other files."""
    own = index.get(RECORD, {})
    try:
        cases = {
            str(name): Case(
                str(entry["key"]), str(entry["label"]), _text(entry.get("patient")), _part(entry.get("part"))
            )
            for name, entry in own.get("cases", {}).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as fault:
        raise DataError(
            f"{source}: the entry '{RECORD}' was changed after the export ({fault!r}). Export the data set again, "
            "or remove the entry: then keys are the names of the files."
        ) from fault
    if len({case.key for case in cases.values()}) < len(cases):
        raise DataError(f"{source}: the entry '{RECORD}' gives one key to several cases. Export the data set again.")
    return cases


def repeated_keys(samples: Iterable[Sample], source: Traversable) -> list[str]:
    """A problem for each key of several samples, e.g. one restored from `source` and one from a file name."""
    counts = Counter(sample.key for sample in samples)
    return [
        f"{source}: {number} cases have the key '{key}'. Rename the files that were added to the export."
        for key, number in counts.items()
        if number > 1
    ]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _part(value: object) -> Part | None:
    if value is not None and value not in get_args(Part):
        raise ValueError(f"no part is called {value}")
    return cast("Part | None", value)
