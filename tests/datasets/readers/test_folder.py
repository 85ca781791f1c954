"""A folder of someone's own: masks by any permitted name, classes by subfolder, and never before a known data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fakes.catalogue import FAKES
from fakes.folder import make_fake_folder
from PIL import Image

from taichinet.datasets.catalogue import CATALOGUE, recognise
from taichinet.datasets.image_io import DecodedFiles, united_mask
from taichinet.datasets.manifest import Mask
from taichinet.datasets.readers.folder import DATASET
from taichinet.errors import DataError


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return make_fake_folder(tmp_path)


def problems_of(root: Path) -> tuple[str, ...]:
    with pytest.raises(DataError, match="cannot be read as data set folder") as caught:
        DATASET.read(root)
    return caught.value.problems


def test_masks_are_named_like_the_image_or_with_mask_and_a_number(own: Path) -> None:
    named = {sample.key: [mask.file.name for mask in sample.masks] for sample in DATASET.read(own)}
    assert named["scan 0"] == ["scan 0.png"]
    assert named["scan 1"] == ["scan 1_mask.png"]
    assert named["scan 2"] == ["scan 2_mask.png", "scan 2_mask_1.png"]


def test_several_masks_of_one_image_are_united(own: Path) -> None:
    sample = DATASET.read(own).samples[2]
    single = [united_mask(type(sample)("x", "x", sample.image, (mask,))) for mask in sample.masks]
    assert all(mask.any() for mask in single)
    assert (united_mask(sample) == (single[0] | single[1])).all()


def test_an_empty_mask_makes_a_normal_image_which_can_be_left_out(own: Path) -> None:
    assert DATASET.read(own).labels == {f"scan {n}": "lesion" if n < 5 else "normal" for n in range(6)}
    assert list(DATASET.read(own, include_normal=False).keys) == [f"scan {n}" for n in range(5)]
    assert DATASET.read(own, verify=False) == DATASET.read(own)


def test_an_image_is_normal_only_if_all_of_its_masks_are_empty(own: Path) -> None:
    second = own / "masks" / "scan 2_mask_1.png"
    Image.new("L", Image.open(second).size).save(second)
    assert DATASET.read(own).labels["scan 2"] == "lesion"


def test_a_missing_mask_is_a_fault_and_no_normal_image(own: Path) -> None:
    (own / "masks" / "scan 5.png").unlink()
    (problem,) = problems_of(own)
    assert "scan 5.png: has no mask 'scan 5' or 'scan 5_mask'" in problem
    assert "empty mask" in problem


def test_a_mask_of_no_image_is_named_as_it_is_called(own: Path) -> None:
    shutil.copy(own / "masks" / "scan 1_mask.png", own / "masks" / "scan 9_mask_2.png")
    (problem,) = problems_of(own)
    assert "scan 9_mask_2.png: has no image 'scan 9'" in problem


def test_an_image_whose_own_name_ends_in_mask_keeps_its_mask(own: Path) -> None:
    shutil.copy(own / "images" / "scan 0.png", own / "images" / "scan 0_mask.png")
    shutil.copy(own / "masks" / "scan 0.png", own / "masks" / "scan 0_mask.png")
    masks = {sample.key: [mask.file.name for mask in sample.masks] for sample in DATASET.read(own)}
    assert masks["scan 0"] == ["scan 0.png"]
    assert masks["scan 0_mask"] == ["scan 0_mask.png"]


def test_subfolders_are_classes_and_part_of_the_key(tmp_path: Path) -> None:
    manifest = DATASET.read(make_fake_folder(tmp_path, subfolders=("malignant", "benign")))
    expected = [f"{label}-scan {n}" for label in ("benign", "malignant") for n in range(6)]
    assert list(manifest.keys) == expected
    assert manifest.labels == {key: key.split("-")[0] for key in expected}
    assert {sample.part for sample in manifest} == {None}


def test_subfolders_called_train_val_and_test_are_parts_and_no_classes(tmp_path: Path) -> None:
    manifest = DATASET.read(make_fake_folder(tmp_path, subfolders=("train", "val", "test")))
    assert {sample.key.split("-")[0]: sample.part for sample in manifest} == {
        "train": "train",
        "val": "validation",
        "test": "test",
    }
    assert set(manifest.labels.values()) == {"lesion", "normal"}


def test_a_subfolder_of_masks_without_one_of_images_is_named(tmp_path: Path) -> None:
    own = make_fake_folder(tmp_path, subfolders=("a", "b"))
    shutil.rmtree(own / "images" / "b")
    assert len(problems_of(own)) == len(list((own / "masks" / "b").iterdir()))


def test_two_samples_of_one_key_are_refused(own: Path) -> None:
    for kind in ("images", "masks"):
        (own / kind / "a").mkdir()
        shutil.copy(own / kind / "scan 0.png", own / kind / "a" / "x.png")
        shutil.copy(own / kind / "scan 0.png", own / kind / "a-x.png")
    assert len([problem for problem in problems_of(own) if "its key 'a-x' is not unique" in problem]) == 2


def test_two_folders_of_masks_are_refused(own: Path) -> None:
    shutil.copytree(own / "masks", own / "labels")
    (problem,) = problems_of(own)
    assert "masks: labels exists too. Keep one of them." in problem


def test_a_mask_of_zeros_and_ones_is_read_and_one_of_zeros_and_sixties_refused(own: Path) -> None:
    mask = own / "masks" / "scan 0.png"
    expected = DecodedFiles().mask(Mask(mask))
    Image.open(mask).point(lambda value: value // 255).save(mask)
    assert (DecodedFiles().mask(Mask(mask)) == expected).all()
    DATASET.read(own)
    Image.open(mask).point(lambda value: value * 60).save(mask)
    (problem,) = problems_of(own)
    assert "0 for background and 255 for lesion" in problem


@pytest.mark.parametrize("folders", [("images", "masks"), ("image", "labels"), ("images", "mask")])
def test_it_is_recognised_where_no_other_data_set_is(folders: tuple[str, str], own: Path) -> None:
    for old, new in zip(("images", "masks"), folders, strict=True):
        (own / old).rename(own / new)
    assert recognise(own) == recognise(own.parent) == CATALOGUE["folder"]


@pytest.mark.parametrize("name", sorted(CATALOGUE.keys() - {"folder"}))
def test_it_loses_against_every_data_set_even_beside_images_and_masks(name: str, tmp_path: Path) -> None:
    folder = FAKES[name](tmp_path)
    renamed = folder.rename(tmp_path / "mine")  # so that layout decides, not the folder's name
    for kind in ("images", "masks"):
        (renamed / kind).mkdir(exist_ok=True)
    if name in ("ddti", "tn-scui2020"):  # whose layout is one
        with pytest.raises(DataError, match=r"Specify one, e\.g\. ddti="):
            recognise(renamed)
    else:
        assert recognise(renamed).name == name
