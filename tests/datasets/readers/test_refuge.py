"""REFUGE: three parts found by their folders' names, and one grey mask that paints both disc and cup."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes.refuge import make_fake_refuge
from PIL import Image

from taichinet.datasets.image_io import united_mask
from taichinet.datasets.readers.fundus import REFUGE
from taichinet.errors import DataError


@pytest.fixture
def refuge(tmp_path: Path) -> Path:
    return make_fake_refuge(tmp_path)


def test_each_sample_has_its_part_and_the_class_that_a_folder_tells(refuge: Path) -> None:
    told = {sample.key: (sample.part, sample.label) for sample in REFUGE.read(refuge)}
    assert list(told) == ["g0001", "g0002", "n0001", "n0002", "V0001", "V0002", "T0001", "T0002", "T0003", "T0004"]
    assert told["g0001"] == ("train", "glaucoma")
    assert told["n0002"] == ("train", "non-glaucoma")
    assert told["V0001"] == ("validation", "fundus")
    assert told["T0002"] == ("test", "glaucoma")
    assert told["T0003"] == ("test", "non-glaucoma")


def test_zero_is_the_cup_and_all_but_white_the_disc(refuge: Path) -> None:
    for sample in REFUGE.read(refuge):
        values = np.asarray(Image.open(str(sample.masks[0].file)))
        disc, cup = united_mask(sample, 0), united_mask(sample, 1)
        np.testing.assert_array_equal(disc, values != 255)
        np.testing.assert_array_equal(cup, values == 0)
        assert cup.any()
        assert (disc & ~cup).any()


def test_zips_unpacked_each_into_a_folder_of_its_own_read_the_same(refuge: Path, tmp_path: Path) -> None:
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


def test_a_part_may_be_missing_but_not_the_half_of_one(refuge: Path) -> None:
    shutil.rmtree(refuge / "REFUGE-Validation400")
    with pytest.raises(DataError) as caught:
        REFUGE.read(refuge)
    (problem,) = caught.value.problems
    assert "REFUGE-Validation400-GT: the folder" in problem
    shutil.rmtree(refuge / "REFUGE-Validation400-GT")
    shutil.rmtree(refuge / "Test400")
    shutil.rmtree(refuge / "REFUGE-Test-GT")
    assert {sample.part for sample in REFUGE.read(refuge)} == {"train"}


def test_a_missing_mask_is_a_problem(refuge: Path) -> None:
    (refuge / "REFUGE-Test-GT" / "Disc_Cup_Masks" / "G" / "T0001.bmp").unlink()
    with pytest.raises(DataError, match=r"T0001\.jpg: has no mask"):
        REFUGE.read(refuge, verify=False)


def test_a_damaged_mask_is_named_once_though_it_paints_two_regions(refuge: Path) -> None:
    (refuge / "REFUGE-Validation400-GT" / "Disc_Cup_Masks" / "V0001.bmp").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        REFUGE.read(refuge)
    assert len(caught.value.problems) == 1


def test_images_of_the_sister_challenge_are_passed_over(refuge: Path) -> None:
    keys = REFUGE.read(refuge).keys
    (refuge / "Training400" / "AMD").mkdir()
    Image.new("RGB", (20, 20)).save(refuge / "Training400" / "AMD" / "A0001.jpg")
    assert REFUGE.read(refuge).keys == keys


def test_the_same_name_in_two_parts_is_refused(refuge: Path) -> None:
    for images, masks in (("Test400", "REFUGE-Test-GT"), ("REFUGE-Validation400", "REFUGE-Validation400-GT")):
        Image.new("RGB", (20, 20)).save(refuge / images / "X1.jpg")
        Image.new("L", (20, 20), 255).save(refuge / masks / "Disc_Cup_Masks" / "X1.bmp")
    with pytest.raises(DataError, match=r"X1\.jpg has the same name"):
        REFUGE.read(refuge)
