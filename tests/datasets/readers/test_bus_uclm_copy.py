"""A converted copy of BUS-UCLM: white masks, and no INFO.csv."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from fakes.bus_uclm import make_fake_bus_uclm
from PIL import Image

from taichinet.datasets.catalogue import open_dataset, recognise
from taichinet.errors import DataError

REAL = Path(os.environ.get("TAICHINET_DATA", ""), "BUS-UCLM")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A fake BUS-UCLM with one-bit masks."""
    folder = make_fake_bus_uclm(tmp_path)
    (folder / "INFO.csv").unlink()
    for file in (folder / "masks").iterdir():
        mask = Image.open(file).convert("L").point(lambda value: 255 * (value > 0))
        mask.convert("1").save(file)
    return folder


def test_white_masks_are_lesions_and_empty_masks_normal(copy: Path) -> None:
    manifest = open_dataset(copy)
    assert manifest.name == "bus-uclm"
    assert Counter(manifest.labels.values()) == {"lesion": 6, "normal": 1}
    assert {sample.patient for sample in manifest} == {"ALWI", "ANFO"}


def test_a_folder_with_other_names_is_not_recognised(copy: Path) -> None:
    for folder in ("images", "masks"):
        (copy / folder / "ALWI_000.png").rename(copy / folder / "scan.png")
    assert recognise(copy).name == "folder"
    with pytest.raises(DataError, match="is not a data set of type bus-uclm"):
        open_dataset(f"bus-uclm={copy}")


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="TAICHINET_DATA has no folder BUS-UCLM")
def test_the_real_copy_has_19_patients() -> None:
    manifest = open_dataset(REAL)
    assert manifest.name == "bus-uclm"
    assert Counter(manifest.labels.values()) == {"lesion": 121, "normal": 44}
    assert len({sample.patient for sample in manifest}) == 19
    lesions = open_dataset(REAL, include_normal=False)
    assert (len(lesions.samples), lesions.normal_left_out) == (121, 44)
