"""BUS-BRA: class, patient and fold come from its tables, which must match the folders."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from fakes.bus_bra import make_fake_bus_bra

from taichinet.datasets.readers.bus_bra import DATASET
from taichinet.errors import DataError


@pytest.fixture
def bus_bra(tmp_path: Path) -> Path:
    return make_fake_bus_bra(tmp_path)


def problems_of(root: Path) -> tuple[str, ...]:
    with pytest.raises(DataError, match="cannot be read as data set bus-bra") as caught:
        DATASET.read(root)
    return caught.value.problems


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")


def test_class_patient_and_fold_come_from_the_tables(bus_bra: Path) -> None:
    manifest = DATASET.read(bus_bra)
    with (bus_bra / "5-fold-cv.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["ID"]: row for row in csv.DictReader(file)}
    assert set(manifest.keys) == set(rows)
    for sample in manifest:
        row = rows[sample.key]
        assert (sample.label, sample.patient) == (row["Pathology"], row["Case"])
        assert sample.fold == int(row["kFold"]) - 1
    assert set(manifest.labels.values()) == {"benign", "malignant"}
    assert {sample.fold for sample in manifest} == {0, 1, 2, 3, 4}


def test_both_sides_of_a_woman_are_one_patient(bus_bra: Path) -> None:
    assert DATASET.read(bus_bra).patients == (
        ("bus_0001-l", "bus_0001-r"),
        ("bus_0003-l", "bus_0003-r"),
        ("bus_0005-l", "bus_0005-r"),
    )


def test_invalid_cells_are_reported_with_their_row(bus_bra: Path) -> None:
    edit(bus_bra / "bus_data.csv", "bus_0002-l,2,benign", "bus_0002-l,2,cyst")
    edit(bus_bra / "bus_data.csv", "bus_0004-l,4", "bus_0004-l,")
    edit(bus_bra / "5-fold-cv.csv", "bus_0003-l,3,malignant,4,4", "bus_0003-l,3,malignant,4,6")
    first, second, third = problems_of(bus_bra)
    assert "row 'bus_0002-l': Pathology is 'cyst', neither benign nor malignant" in first
    assert "row 'bus_0004-l': Case is empty" in second
    assert "5-fold-cv.csv: row 'bus_0003-l': kFold is '6', not 1 to 5" in third


def test_images_and_rows_without_counterpart_are_reported(bus_bra: Path) -> None:
    edit(bus_bra / "bus_data.csv", "bus_0002-l", "bus_0009-l")
    first, second = problems_of(bus_bra)
    assert "bus_data.csv: row 'bus_0009-l': there is no such image" in first
    assert "bus_0002-l.png: has no row in bus_data.csv" in second


def test_table_with_missing_column_is_reported_once(bus_bra: Path) -> None:
    edit(bus_bra / "5-fold-cv.csv", "kFold", "Fold")
    (problem,) = problems_of(bus_bra)
    assert "5-fold-cv.csv: has no column 'kFold'" in problem


def test_missing_fold_table_is_reported(bus_bra: Path) -> None:
    (bus_bra / "5-fold-cv.csv").unlink()
    (problem,) = problems_of(bus_bra)
    assert "5-fold-cv.csv: cannot be read" in problem


def test_file_name_of_another_data_set_is_rejected(bus_bra: Path) -> None:
    (bus_bra / "Masks" / "mask_0001-l.png").rename(bus_bra / "Masks" / "bus_0001-l.png")
    first, second = problems_of(bus_bra)
    assert "does not belong to BUS-BRA" in first
    assert "has no mask '0001-l'" in second
