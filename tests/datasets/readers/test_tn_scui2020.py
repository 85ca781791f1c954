"""TN-SCUI2020: classes by number, and recognition by folder name because DDTI has the same layout."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.ddti import make_fake_ddti
from fakes.tn_scui2020 import make_fake_tn_scui2020

from taichinet.datasets.catalogue import open_dataset, recognise
from taichinet.datasets.readers.paired import TN_SCUI2020
from taichinet.errors import DataError


@pytest.fixture
def tn_scui2020(tmp_path: Path) -> Path:
    return make_fake_tn_scui2020(tmp_path)


def test_class_0_is_benign_and_class_1_malignant(tn_scui2020: Path) -> None:
    expected = {str(n): "malignant" if n % 2 else "benign" for n in range(1, 7)}
    assert TN_SCUI2020.read(tn_scui2020).labels == expected


def test_every_image_has_label_nodule_without_the_table(tn_scui2020: Path) -> None:
    (tn_scui2020 / "train.csv").unlink()
    assert set(TN_SCUI2020.read(tn_scui2020).labels.values()) == {"nodule"}


def test_unknown_class_is_rejected(tn_scui2020: Path) -> None:
    table = tn_scui2020 / "train.csv"
    table.write_text(table.read_text().replace("3.PNG,1", "3.PNG,2"))
    with pytest.raises(DataError, match=r"train.csv: column 'CATE' says '2' of image '3.PNG'. Known: 0, 1"):
        TN_SCUI2020.read(tn_scui2020)


def test_folder_names_distinguish_it_from_ddti(tn_scui2020: Path, tmp_path: Path) -> None:
    ddti = make_fake_ddti(tmp_path / "other")
    assert recognise(tn_scui2020).name == "tn-scui2020"
    assert recognise(ddti).name == recognise(ddti.parent).name == "ddti"


def test_ambiguous_folder_name_is_rejected_until_the_data_set_is_specified(tn_scui2020: Path) -> None:
    renamed = tn_scui2020.rename(tn_scui2020.parent / "thyroid")
    with pytest.raises(DataError, match=r"share \(ddti, tn-scui2020, folder\). Specify one, e.g. ddti="):
        recognise(renamed)
    assert set(open_dataset(f"tn-scui2020={renamed}").labels.values()) == {"benign", "malignant"}
    assert set(open_dataset(f"ddti={renamed}").labels.values()) == {"nodule"}
