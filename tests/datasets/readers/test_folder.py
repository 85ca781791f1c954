"""A folder of the user's own data: permitted mask names, classes from subfolders, lowest priority in recognition."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fakes.catalogue import FAKES
from fakes.folder import make_fake_folder
from PIL import Image

from taichinet.datasets.catalogue import CATALOGUE, recognise
from taichinet.datasets.decoded import DecodedFiles, united_mask
from taichinet.datasets.manifest import Mask
from taichinet.datasets.readers.folder import DATASET
from taichinet.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_fake_folder(tmp_path)


def problems_of(root: Path) -> tuple[str, ...]:
    with pytest.raises(DataError, match="cannot be read as data set folder") as caught:
        DATASET.read(root)
    return caught.value.problems


def test_masks_have_the_name_of_the_image_with_optional_suffix_and_number(folder: Path) -> None:
    named = {sample.key: [mask.file.name for mask in sample.masks] for sample in DATASET.read(folder)}
    assert named["scan 0"] == ["scan 0.png"]
    assert named["scan 1"] == ["scan 1_mask.png"]
    assert named["scan 2"] == ["scan 2_mask.png", "scan 2_mask_1.png"]


def test_several_masks_of_one_image_are_united(folder: Path) -> None:
    sample = DATASET.read(folder).samples[2]
    single = [united_mask(type(sample)("x", "x", sample.image, (mask,))) for mask in sample.masks]
    assert all(mask.any() for mask in single)
    assert (united_mask(sample) == (single[0] | single[1])).all()


def test_image_with_empty_mask_is_normal_and_can_be_left_out(folder: Path) -> None:
    assert DATASET.read(folder).labels == {f"scan {n}": "lesion" if n < 5 else "normal" for n in range(6)}
    assert list(DATASET.read(folder, include_normal=False).keys) == [f"scan {n}" for n in range(5)]
    assert DATASET.read(folder, verify=False) == DATASET.read(folder)


def test_image_is_normal_only_if_all_its_masks_are_empty(folder: Path) -> None:
    second = folder / "masks" / "scan 2_mask_1.png"
    Image.new("L", Image.open(second).size).save(second)
    assert DATASET.read(folder).labels["scan 2"] == "lesion"


def test_missing_mask_is_a_problem_not_a_normal_image(folder: Path) -> None:
    (folder / "masks" / "scan 5.png").unlink()
    (problem,) = problems_of(folder)
    assert "scan 5.png: has no mask 'scan 5' or 'scan 5_mask'" in problem
    assert "empty mask" in problem


def test_mask_without_image_is_reported_by_its_file_name(folder: Path) -> None:
    shutil.copy(folder / "masks" / "scan 1_mask.png", folder / "masks" / "scan 9_mask_2.png")
    (problem,) = problems_of(folder)
    assert "scan 9_mask_2.png: has no image 'scan 9'" in problem


def test_image_whose_name_ends_in_mask_has_its_mask(folder: Path) -> None:
    shutil.copy(folder / "images" / "scan 0.png", folder / "images" / "scan 0_mask.png")
    shutil.copy(folder / "masks" / "scan 0.png", folder / "masks" / "scan 0_mask.png")
    masks = {sample.key: [mask.file.name for mask in sample.masks] for sample in DATASET.read(folder)}
    assert masks["scan 0"] == ["scan 0.png"]
    assert masks["scan 0_mask"] == ["scan 0_mask.png"]


def test_subfolders_are_classes_and_part_of_the_key(tmp_path: Path) -> None:
    manifest = DATASET.read(make_fake_folder(tmp_path, subfolders=("malignant", "benign")))
    expected = [f"{label}-scan {n}" for label in ("benign", "malignant") for n in range(6)]
    assert list(manifest.keys) == expected
    assert manifest.labels == {key: key.split("-")[0] for key in expected}
    assert {sample.part for sample in manifest} == {None}


def test_subfolders_train_val_and_test_are_parts_not_classes(tmp_path: Path) -> None:
    manifest = DATASET.read(make_fake_folder(tmp_path, subfolders=("train", "val", "test")))
    assert {sample.key.split("-")[0]: sample.part for sample in manifest} == {
        "train": "train",
        "val": "validation",
        "test": "test",
    }
    assert set(manifest.labels.values()) == {"lesion", "normal"}


def test_mask_subfolder_without_image_subfolder_is_reported(tmp_path: Path) -> None:
    folder = make_fake_folder(tmp_path, subfolders=("a", "b"))
    shutil.rmtree(folder / "images" / "b")
    assert len(problems_of(folder)) == len(list((folder / "masks" / "b").iterdir()))


def test_two_samples_with_one_key_are_rejected(folder: Path) -> None:
    for kind in ("images", "masks"):
        (folder / kind / "a").mkdir()
        shutil.copy(folder / kind / "scan 0.png", folder / kind / "a" / "x.png")
        shutil.copy(folder / kind / "scan 0.png", folder / kind / "a-x.png")
    assert len([problem for problem in problems_of(folder) if "its key 'a-x' is not unique" in problem]) == 2


def test_two_mask_folders_are_rejected(folder: Path) -> None:
    shutil.copytree(folder / "masks", folder / "labels")
    (problem,) = problems_of(folder)
    assert "masks: labels exists too. Keep one of them." in problem


def test_mask_of_0_and_1_is_read_and_mask_of_0_and_60_rejected(folder: Path) -> None:
    mask = folder / "masks" / "scan 0.png"
    expected = DecodedFiles().mask(Mask(mask))
    Image.open(mask).point(lambda value: value // 255).save(mask)
    assert (DecodedFiles().mask(Mask(mask)) == expected).all()
    DATASET.read(folder)
    Image.open(mask).point(lambda value: value * 60).save(mask)
    (problem,) = problems_of(folder)
    assert "0 for background and 255 for lesion" in problem


@pytest.mark.parametrize("folders", [("images", "masks"), ("image", "labels"), ("images", "mask")])
def test_folder_is_recognised_if_no_other_data_set_matches(folders: tuple[str, str], folder: Path) -> None:
    for old, new in zip(("images", "masks"), folders, strict=True):
        (folder / old).rename(folder / new)
    assert recognise(folder) == recognise(folder.parent) == CATALOGUE["folder"]


@pytest.mark.parametrize("name", sorted(CATALOGUE.keys() - {"folder"}))
def test_every_other_data_set_is_recognised_before_folder(name: str, tmp_path: Path) -> None:
    folder = FAKES[name](tmp_path)
    renamed = folder.rename(tmp_path / "mine")  # so that the layout is decisive, not the folder's name
    for kind in ("images", "masks"):
        (renamed / kind).mkdir(exist_ok=True)
    if name in ("ddti", "tn-scui2020"):  # these two have the same layout
        with pytest.raises(DataError, match=r"Specify one, e\.g\. ddti="):
            recognise(renamed)
    else:
        assert recognise(renamed).name == name
