"""REFUGE: three parts recognised by folder names, and one grey mask that contains both disc and cup."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes.refuge import make_fake_refuge
from PIL import Image

from taichinet.datasets.decoded import united_mask
from taichinet.datasets.readers.fundus import REFUGE
from taichinet.errors import DataError


@pytest.fixture
def refuge(tmp_path: Path) -> Path:
    return make_fake_refuge(tmp_path)


def test_part_and_class_come_from_the_folders(refuge: Path) -> None:
    part_and_label = {sample.key: (sample.part, sample.label) for sample in REFUGE.read(refuge)}
    assert list(part_and_label) == [
        "g0001",
        "g0002",
        "n0001",
        "n0002",
        "V0001",
        "V0002",
        "T0001",
        "T0002",
        "T0003",
        "T0004",
    ]
    assert part_and_label["g0001"] == ("train", "glaucoma")
    assert part_and_label["n0002"] == ("train", "non-glaucoma")
    assert part_and_label["V0001"] == ("validation", "fundus")
    assert part_and_label["T0002"] == ("test", "glaucoma")
    assert part_and_label["T0003"] == ("test", "non-glaucoma")


def test_zero_is_the_cup_and_all_values_except_white_the_disc(refuge: Path) -> None:
    for sample in REFUGE.read(refuge):
        values = np.asarray(Image.open(str(sample.masks[0].file)))
        disc, cup = united_mask(sample, 0), united_mask(sample, 1)
        np.testing.assert_array_equal(disc, values != 255)
        np.testing.assert_array_equal(cup, values == 0)
        assert cup.any()
        assert (disc & ~cup).any()


def test_zips_unpacked_into_separate_folders_give_the_same_manifest(refuge: Path, tmp_path: Path) -> None:
    expected = REFUGE.read(refuge).content_digest()
    for name, outer in (
        ("Training400", "REFUGE-Training400"),
        ("Test400", "REFUGE-Test400"),
        ("Annotation-Training400", "annotations"),
        ("REFUGE-Validation400-GT", "REFUGE-Validation400-GT"),
    ):
        inner = (refuge / name).rename(tmp_path / "moved")
        (refuge / outer).mkdir()
        inner.rename(refuge / outer / name)
    assert REFUGE.read(refuge).content_digest() == expected


def test_part_can_be_missing_but_not_half_of_it(refuge: Path) -> None:
    shutil.rmtree(refuge / "REFUGE-Validation400")
    with pytest.raises(DataError) as caught:
        REFUGE.read(refuge)
    (problem,) = caught.value.problems
    assert "REFUGE-Validation400-GT: the folder" in problem
    shutil.rmtree(refuge / "REFUGE-Validation400-GT")
    shutil.rmtree(refuge / "Test400")
    shutil.rmtree(refuge / "REFUGE-Test-GT")
    assert {sample.part for sample in REFUGE.read(refuge)} == {"train"}


def test_missing_mask_is_a_problem(refuge: Path) -> None:
    (refuge / "REFUGE-Test-GT" / "Disc_Cup_Masks" / "G" / "T0001.bmp").unlink()
    with pytest.raises(DataError, match=r"T0001\.jpg: has no mask"):
        REFUGE.read(refuge, verify=False)


def test_damaged_mask_of_two_regions_is_reported_once(refuge: Path) -> None:
    (refuge / "REFUGE-Validation400-GT" / "Disc_Cup_Masks" / "V0001.bmp").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        REFUGE.read(refuge)
    assert len(caught.value.problems) == 1


def test_images_of_the_amd_challenge_are_ignored(refuge: Path) -> None:
    keys = REFUGE.read(refuge).keys
    (refuge / "Training400" / "AMD").mkdir()
    Image.new("RGB", (20, 20)).save(refuge / "Training400" / "AMD" / "A0001.jpg")
    assert REFUGE.read(refuge).keys == keys


def test_same_name_in_two_parts_is_rejected(refuge: Path) -> None:
    for images, masks in (("Test400", "REFUGE-Test-GT"), ("REFUGE-Validation400", "REFUGE-Validation400-GT")):
        Image.new("RGB", (20, 20)).save(refuge / images / "X1.jpg")
        Image.new("L", (20, 20), 255).save(refuge / masks / "Disc_Cup_Masks" / "X1.bmp")
    with pytest.raises(DataError, match=r"X1\.jpg has the same name"):
        REFUGE.read(refuge)
