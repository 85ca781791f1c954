"""Patients of a plain folder from its file names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers import file_manifest

from taichinet.datasets.catalogue import CATALOGUE, named_dataset
from taichinet.datasets.folds import make_folds
from taichinet.datasets.patients import patient_pattern, with_patients
from taichinet.errors import DataError, SettingError

LABELS = {f"{patient}_{n:03}": "lesion" for patient in ("ALWI", "ANFO", "BEKA", "CODE") for n in range(5)}


def test_images_of_one_patient_are_in_one_fold(tmp_path: Path) -> None:
    manifest = with_patients(file_manifest(tmp_path, LABELS), patient_pattern("^([A-Z]{4})_"))
    assert {sample.patient for sample in manifest} == {"ALWI", "ANFO", "BEKA", "CODE"}
    plan = make_folds(manifest, (), count=2)
    assert len(plan.groups) == 4
    for patient in manifest.patients:
        assert len({plan.fold_of[key] for key in patient}) == 1


def test_names_without_a_patient_are_listed(tmp_path: Path) -> None:
    manifest = file_manifest(tmp_path, {**LABELS, "scan 1": "lesion"})
    with pytest.raises(DataError, match="finds no patient in the names of 1 images of files") as caught:
        with_patients(manifest, patient_pattern("^([A-Z]{4})_"))
    assert caught.value.problems == ("scan 1.png",)


def test_an_empty_group_is_no_patient(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="finds no patient"):
        with_patients(replace(file_manifest(tmp_path, LABELS)), patient_pattern("([0-9]*)[A-Z]"))


@pytest.mark.parametrize(("text", "message"), [("([A-Z]", "is not a regular expression"), ("[A-Z]+", "has no group")])
def test_patterns_that_cannot_be_used_are_refused(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        patient_pattern(text)


def test_only_plain_folders_take_a_pattern() -> None:
    assert CATALOGUE["folder"].own
    assert named_dataset("clinic").own
    assert not CATALOGUE["bus-uclm"].own


def test_pattern_is_refused_if_the_patients_are_known(tmp_path: Path) -> None:
    manifest = with_patients(file_manifest(tmp_path, LABELS), patient_pattern("^([A-Z]{4})_"))
    with pytest.raises(DataError, match="The table of files gives the patients"):
        with_patients(manifest, patient_pattern("^([A-Z]{4})_"))
