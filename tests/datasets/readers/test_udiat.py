"""UDIAT: classes from the authors' table, from a .csv, or none."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.udiat import make_fake_udiat

from taichinet.datasets.catalogue import recognise
from taichinet.datasets.readers.paired import UDIAT
from taichinet.errors import DataError

CLASSES = {f"{n:06}": "malignant" if n % 3 == 0 else "benign" for n in range(1, 7)}


@pytest.fixture
def udiat(tmp_path: Path) -> Path:
    return make_fake_udiat(tmp_path)


def test_classes_come_from_the_authors_table(udiat: Path) -> None:
    assert UDIAT.read(udiat).labels == CLASSES


def test_classes_come_from_a_csv_if_the_table_is_missing(udiat: Path) -> None:
    rows = [f"{key}.png;{label}" for key, label in CLASSES.items()]
    (udiat / "labels.csv").write_text("\n".join(["image;label", *rows]), encoding="utf-8-sig")
    (udiat / "DatasetB.xlsx").unlink()
    assert UDIAT.read(udiat).labels == CLASSES


def test_every_image_has_label_lesion_without_a_table(udiat: Path) -> None:
    (udiat / "DatasetB.xlsx").unlink()
    assert set(UDIAT.read(udiat).labels.values()) == {"lesion"}


def test_faulty_image_mask_and_table_are_reported_together(udiat: Path) -> None:
    (udiat / "original" / "000002.png").unlink()
    (udiat / "GT" / "000003.png").unlink()
    (udiat / "DatasetB.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match="cannot be read as data set udiat: 3 problems") as caught:
        UDIAT.read(udiat)
    problems = " ".join(caught.value.problems)
    assert "000003.png: has no mask '000003'" in problems
    assert "000002.png: has no image '000002'" in problems
    assert "DatasetB.xlsx: cannot be read" in problems


def test_data_set_is_recognised_by_its_folders_under_any_parent_name(udiat: Path) -> None:
    assert recognise(udiat.rename(udiat.parent / "mine")).name == "udiat"
