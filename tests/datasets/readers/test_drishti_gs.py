"""Drishti-GS: the official split, soft maps thresholded at the agreement of two graders, classes from folders."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.drishti_gs import make_fake_drishti_gs
from PIL import Image
from scipy import ndimage

from taichinet.datasets.decoded import region_masks, united_mask
from taichinet.datasets.duplicates.search import manifest_duplicates
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.datasets.readers.fundus import DRISHTI_GS
from taichinet.errors import DataError


def test_official_split_is_read(tmp_path: Path) -> None:
    manifest = DRISHTI_GS.read(make_fake_drishti_gs(tmp_path, training=3, test=2))
    assert [(sample.key, sample.part) for sample in manifest] == [
        ("drishtiGS_002", "train"),
        ("drishtiGS_004", "train"),
        ("drishtiGS_006", "train"),
        ("drishtiGS_008", "test"),
        ("drishtiGS_010", "test"),
    ]
    assert set(manifest.labels.values()) == {"fundus"}


def test_two_of_four_graders_make_a_region(tmp_path: Path) -> None:
    folder = make_fake_drishti_gs(tmp_path)
    disc = folder / "Test" / "GT" / "drishtiGS_008" / "SoftMap" / "drishtiGS_008_ODsegSoftmap.png"
    votes = np.zeros(Image.open(disc).size[::-1], dtype=np.uint8)
    votes[0, :5] = (0, 64, 128, 191, 255)
    Image.fromarray(votes).save(disc)
    (sample,) = (sample for sample in DRISHTI_GS.read(folder) if sample.key == "drishtiGS_008")
    assert united_mask(sample, 0)[0, :5].tolist() == [False, False, True, True, True]


def test_first_region_is_the_disc_and_second_the_cup(tmp_path: Path) -> None:
    for sample in DRISHTI_GS.read(make_fake_drishti_gs(tmp_path)):
        disc, cup = united_mask(sample, 0), united_mask(sample, 1)
        assert 0 < cup.sum() < disc.sum()


def test_class_folders_become_labels_and_no_eye_is_a_normal_image(tmp_path: Path) -> None:
    folder = make_fake_drishti_gs(tmp_path, classes=("GLAUCOMA", "NORMAL"))
    manifest = DRISHTI_GS.read(folder, include_normal=False)
    assert len(manifest.samples) == 6
    for sample in manifest:
        expected = "glaucoma" if "GLAUCOMA" in str(sample.image) else "non-glaucoma"
        assert sample.label == expected
    assert set(manifest.labels.values()) == {"glaucoma", "non-glaucoma"}


def test_copies_with_flat_folders_or_other_names_give_the_same_manifest(tmp_path: Path) -> None:
    expected = DRISHTI_GS.read(make_fake_drishti_gs(tmp_path / "a"))
    folder = make_fake_drishti_gs(tmp_path / "b" / "Drishti-GS1_files", test_maps="Test_GT")
    folder = folder.rename(folder.parent / "Drishti-GS1_files")
    for name in ("Training", "Test"):
        for file in (folder / name / "Images" / "ALL").iterdir():
            file.rename(folder / name / "Images" / file.name)
        (folder / name / "Images" / "ALL").rmdir()
    assert DRISHTI_GS.read(tmp_path / "b").content_digest() == expected.content_digest()


def test_one_part_can_be_missing_but_not_its_maps(tmp_path: Path) -> None:
    folder = make_fake_drishti_gs(tmp_path, training=2, test=2)
    shutil.rmtree(folder / "Test" / "GT")
    with pytest.raises(DataError, match="no folder of maps beside it"):
        DRISHTI_GS.read(folder)
    shutil.rmtree(folder / "Test")
    assert {sample.part for sample in DRISHTI_GS.read(folder)} == {"train"}


def test_missing_map_and_missing_image_are_reported(tmp_path: Path) -> None:
    folder = make_fake_drishti_gs(tmp_path)
    (folder / "Training" / "GT" / "drishtiGS_002" / "SoftMap" / "drishtiGS_002_cupsegSoftmap.png").unlink()
    (folder / "Training" / "Images" / "ALL" / "drishtiGS_004.png").unlink()
    shutil.copy(folder / "Training" / "Images" / "ALL" / "drishtiGS_006.png", folder / "Training" / "Images")
    with pytest.raises(DataError) as caught:
        DRISHTI_GS.read(folder, verify=False)
    expected = {
        "drishtiGS_002.png: has no map",
        "drishtiGS_004: these maps have no image",
        "Images/drishtiGS_006.png has the same name",
    }
    problems = caught.value.problems
    assert {text for text in expected if any(text in problem for problem in problems)} == expected
    assert len(problems) == len(expected)


@pytest.mark.real
def test_real_drishti_gs_has_its_split_and_cups_inside_discs() -> None:
    root = Path(os.environ.get("TAICHINET_DATA", "")) / "Drishti-GS"
    if "TAICHINET_DATA" not in os.environ or not root.is_dir():
        pytest.skip("TAICHINET_DATA is not set to a folder that contains Drishti-GS")
    manifest = DRISHTI_GS.read(root)
    parts = [sample.part for sample in manifest]
    assert (parts.count("train"), parts.count("test")) == (50, 51)
    outside = 0
    for sample in manifest:
        disc, cup = united_mask(sample, 0), united_mask(sample, 1)
        assert 0 < cup.sum() < disc.sum() < disc.size / 4
        outside += bool((cup & ~disc).any())
        np.testing.assert_array_equal(region_masks(sample, 2)[0], disc | cup)
    assert outside <= 5


def test_fundus_images_with_the_same_round_frame_are_not_duplicates(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:96, :96] / 95 - 0.5
    inside = rows**2 + columns**2 < 0.22
    samples = []
    for number in range(4):
        texture = ndimage.gaussian_filter(rng.normal(0, 60, (96, 96)), 1.5)
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.where(inside, np.clip(150 + texture, 0, 255), 0).astype(np.uint8)).save(path)
        samples.append(Sample(str(number), "fundus", path, ()))
    samples.append(replace(samples[0], key="copy"))
    manifest = Manifest("drishti-gs", tuple(samples), ("disc", "cup"))
    assert manifest_duplicates(manifest).groups == (("0", "copy"),)
    (all_images,) = manifest_duplicates(replace(manifest, name="busi")).groups  # with the thresholds of ultrasound
    assert len(all_images) == 5
