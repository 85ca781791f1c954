"""UDIAT: classes from the authors' table, from a .csv, or from nowhere."""

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


def test_classes_come_from_a_csv_where_that_table_is_lost(udiat: Path) -> None:
    rows = [f"{key}.png;{label}" for key, label in CLASSES.items()]
    (udiat / "labels.csv").write_text("\n".join(["image;label", *rows]), encoding="utf-8-sig")
    (udiat / "DatasetB.xlsx").unlink()
    assert UDIAT.read(udiat).labels == CLASSES


def test_without_a_table_every_image_shows_a_lesion(udiat: Path) -> None:
    (udiat / "DatasetB.xlsx").unlink()
    assert set(UDIAT.read(udiat).labels.values()) == {"lesion"}


def test_an_image_a_mask_and_a_table_that_are_faulty_are_named_together(udiat: Path) -> None:
    (udiat / "original" / "000002.png").unlink()
    (udiat / "GT" / "000003.png").unlink()
    (udiat / "DatasetB.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match="cannot be read as data set udiat: 3 problems") as caught:
        UDIAT.read(udiat)
    told = " ".join(caught.value.problems)
    assert "000003.png: has no mask '000003'" in told
    assert "000002.png: has no image '000002'" in told
    assert "DatasetB.xlsx: cannot be read" in told


def test_it_is_recognised_by_its_folders_whatever_they_lie_in(udiat: Path) -> None:
    assert recognise(udiat.rename(udiat.parent / "mine")).name == "udiat"
