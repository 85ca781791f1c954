"""TN3K: the official test part and folds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fakes.tn3k import make_fake_tn3k

from taichinet.datasets.catalogue import recognise
from taichinet.datasets.readers.tn3k import DATASET
from taichinet.errors import DataError


@pytest.fixture
def tn3k(tmp_path: Path) -> Path:
    return make_fake_tn3k(tmp_path)


def problems_of(root: Path) -> tuple[str, ...]:
    with pytest.raises(DataError, match="cannot be read as data set tn3k") as caught:
        DATASET.read(root)
    return caught.value.problems


def test_equal_number_in_both_parts_gives_two_samples(tn3k: Path) -> None:
    manifest = DATASET.read(tn3k)
    parts = {sample.key: sample.part for sample in manifest}
    assert parts == {f"trainval-{n:04}": "train" for n in range(10)} | {f"test-{n:04}": "test" for n in range(3)}
    assert all(sample.key.startswith(Path(str(sample.image)).parent.name.split("-")[0]) for sample in manifest)


def test_trainval_image_has_its_validation_fold_and_test_image_none(tn3k: Path) -> None:
    folds = {sample.key: sample.fold for sample in DATASET.read(tn3k)}
    expected = {f"trainval-{n:04}": n % 5 for n in range(10)} | {f"test-{n:04}": None for n in range(3)}
    assert folds == expected


def test_no_fold_files_give_no_folds(tn3k: Path) -> None:
    for file in tn3k.glob("*.json"):
        file.unlink()
    assert {sample.fold for sample in DATASET.read(tn3k)} == {None}


def test_image_in_two_folds_and_missing_image_are_reported(tn3k: Path) -> None:
    (tn3k / "tn3k-trainval-fold3.json").write_text(json.dumps({"train": [], "val": [0, 3, 8, 77]}))
    repeated, missing = problems_of(tn3k)
    assert repeated.endswith("tn3k-trainval-fold3.json: image 0 of list 'val' is also in that of fold 0.")
    assert missing.endswith("tn3k-trainval-fold3.json: image 77 of list 'val' is not in trainval-image.")


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"train": []}', '{"val": 3}'])
def test_fold_file_of_another_form_is_reported(content: str, tn3k: Path) -> None:
    (tn3k / "tn3k-trainval-fold1.json").write_text(content)
    (problem,) = problems_of(tn3k)
    assert "tn3k-trainval-fold1.json: has no list 'val'" in problem


def test_missing_part_is_reported(tn3k: Path) -> None:
    shutil.rmtree(tn3k / "test-mask")
    assert recognise(tn3k).name == "tn3k"
    (problem,) = problems_of(tn3k)
    assert problem.endswith("test-mask: this folder is missing.")
