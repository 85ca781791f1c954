"""Patients from file names, for data sets whose reader does not know them."""

from __future__ import annotations

import re
from dataclasses import replace

from taichinet.datasets.manifest import Manifest
from taichinet.errors import DataError, SettingError, first_few


def patient_pattern(text: str) -> re.Pattern[str]:
    """The pattern of --group-by; raises SettingError if it is not a regular expression with a group."""
    try:
        pattern = re.compile(text)
    except re.error as fault:
        raise SettingError(f"--group-by '{text}' is not a regular expression: {fault}.") from fault
    if not pattern.groups:
        raise SettingError(
            f"--group-by '{text}' has no group. Put the part of the file name that is the patient in parentheses, e.g. "
            "'^([A-Z]{4})_'."
        )
    return pattern


def with_patients(manifest: Manifest, pattern: re.Pattern[str]) -> Manifest:
    """`manifest` with the patient of each sample from the name of its image file.

    Args:
        manifest: The data set.
        pattern: Searched in the file name; its first group is the patient.

    Raises:
        DataError: The pattern, or its first group, does not match the name of an image, or the patients are known.
    """
    if any(sample.patient is not None for sample in manifest):
        raise DataError(f"The table of {manifest.name} gives the patients. Leave out --group-by, or remove its column.")
    patients = {sample.key: _patient(sample.image.name, pattern) for sample in manifest}
    if unknown := [sample.image.name for sample in manifest if not patients[sample.key]]:
        raise DataError(
            f"--group-by '{pattern.pattern}' finds no patient in the names of {len(unknown)} images of "
            f"{manifest.name}. Give a pattern that matches all names:",
            first_few(unknown),
        )
    return replace(manifest, samples=tuple(replace(s, patient=patients[s.key]) for s in manifest))


def _patient(name: str, pattern: re.Pattern[str]) -> str | None:
    match = pattern.search(name)
    return None if match is None else match[1]
