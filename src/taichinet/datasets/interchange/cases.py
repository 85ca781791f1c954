"""Cases: names that are safe as files, and what other formats have no word for (key, class, patient, part).

Both stand under "taichinet" in the index of an export (dataset.json, datalist.json), so that reading it back gives
the samples that were written. One place at the top of the file, not a word at each case: MONAI takes every string
of a case for a path, and nnU-Net reads case names from the files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any, cast, get_args

from taichinet.datasets.manifest import Manifest
from taichinet.datasets.sample import Part, Sample
from taichinet.errors import DataError
from taichinet.storage.documents import read_json

RECORD = "taichinet"

_LONGEST_NAME = 80  # characters: several numbers and endings still fit every file system


@dataclass(frozen=True)
class Case:
    """What a case was before it was exported."""

    key: str
    label: str
    patient: str | None = None
    part: Part | None = None


def case_names(keys: Iterable[str]) -> dict[str, str]:
    """A file name without ending for each key: letters, digits and hyphens; "benign (12)" becomes "benign-12".

    Names differ in more than upper and lower case, for not every file system sees that; a number tells apart what
    would be one name. The same keys in the same order give the same names.
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


def record(manifest: Manifest, names: Mapping[str, str]) -> dict[str, Any]:
    """The samples of `manifest` for the index of an export: source, and of each case what is known of it."""
    cases = {
        names[sample.key]: {
            word: value
            for word, value in (
                ("key", sample.key),
                ("label", sample.label),
                ("patient", sample.patient),
                ("part", sample.part),
            )
            if value is not None
        }
        for sample in manifest
    }
    return {"source": manifest.name, "cases": cases}


def read_index(file: Traversable) -> dict[str, Any]:
    """The object in a JSON file; DataError where it is none."""
    content = read_json(file, DataError, "Correct it, or write it again.")
    if not isinstance(content, dict):
        raise DataError(f"{file}: must hold an object in braces, but holds a {type(content).__name__}.")
    return content


def recorded_cases(index: Mapping[str, Any], source: Traversable) -> dict[str, Case]:
    """The cases that an export of ours recorded, by name, in the order of the manifest; empty for other files."""
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
            f"{source}: the entry '{RECORD}' is not as it was exported ({fault!r}). Export the data set anew, or "
            "remove the entry: then keys are the files' names."
        ) from fault
    if len({case.key for case in cases.values()}) < len(cases):
        raise DataError(f"{source}: the entry '{RECORD}' gives one key to several cases. Export the data set anew.")
    return cases


def repeated_keys(samples: Iterable[Sample], source: Traversable) -> list[str]:
    """A problem for each key that several samples have: one restored from `source`, one a file's name."""
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
