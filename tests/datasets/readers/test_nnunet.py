"""nnU-Net's raw format: parts, folds and nested regions; invalid folders are rejected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.nnunet import make_fake_nnunet
from PIL import Image

from taichinet.datasets.decoded import region_masks
from taichinet.datasets.image_io import read_rgb
from taichinet.datasets.readers.nnunet import DATASET
from taichinet.errors import DataError


def change_index(folder: Path, **entries: Any) -> None:
    file = folder / "dataset.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def problems_of(folder: Path) -> str:
    with pytest.raises(DataError, match="cannot be read as data set nnunet") as caught:
        DATASET.read(folder)
    return "\n".join(caught.value.problems)


def test_keys_are_cases_in_numeric_order_and_test_cases_are_a_part(tmp_path: Path) -> None:
    manifest = DATASET.read(make_fake_nnunet(tmp_path, count=11, tested=1))
    assert manifest.keys == tuple(f"case_{number}" for number in range(12))
    assert [sample.part for sample in manifest] == ["train"] * 11 + ["test"]
    assert set(manifest.labels.values()) == {"lesion"}


def test_outer_region_contains_the_labels_of_the_inner_region(tmp_path: Path) -> None:
    folder = make_fake_nnunet(tmp_path, nested=True)
    manifest = DATASET.read(folder)
    assert manifest.regions == ("whole", "core")
    for sample in manifest:
        part = {"train": "labelsTr", "test": "labelsTs"}[str(sample.part)]
        labels = np.asarray(Image.open(folder / part / f"{sample.key}.png"))
        np.testing.assert_array_equal(region_masks(sample, 2), [labels >= 1, labels == 2])


def test_rgb_file_is_one_image_of_three_channels(tmp_path: Path) -> None:
    folder = make_fake_nnunet(tmp_path, channel_names={"0": "R", "1": "G", "2": "B"})
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "imagesTr" / "case_0_0000.png")
    np.testing.assert_array_equal(read_rgb(DATASET.read(folder).samples[0].image), pixels)


def test_test_images_without_label_maps_are_left_out_and_reported(tmp_path: Path) -> None:
    folder = make_fake_nnunet(tmp_path)
    (folder / "labelsTs" / "case_6.png").unlink()
    manifest = DATASET.read(folder)
    assert "case_6" not in manifest.keys
    assert "case_5" in manifest.keys
    assert len(manifest.left_out) == 1
    assert "case_6_0000.png" in manifest.left_out[0]


def test_folds_come_from_the_splits_file(tmp_path: Path) -> None:
    folder = make_fake_nnunet(tmp_path, tested=0)
    keys = [f"case_{number}" for number in range(5)]
    splits = [{"train": [k for k in keys if k not in val], "val": val} for val in (keys[:2], keys[2:])]
    (folder / "splits_final.json").write_text(json.dumps(splits))
    assert [sample.fold for sample in DATASET.read(folder)] == [0, 0, 1, 1, 1]


def test_splits_that_are_no_partition_give_no_folds(tmp_path: Path) -> None:
    folder = make_fake_nnunet(tmp_path, tested=0)
    keys = [f"case_{number}" for number in range(5)]
    for parts in ((keys[:3], keys[2:]), (keys[:2], keys[3:])):
        (folder / "splits_final.json").write_text(json.dumps([{"train": [], "val": list(part)} for part in parts]))
        assert {sample.fold for sample in DATASET.read(folder)} == {None}


def test_images_without_lesion_can_be_left_out(tmp_path: Path) -> None:
    folder = make_fake_nnunet(tmp_path)
    file = folder / "labelsTr" / "case_3.png"
    Image.fromarray(0 * np.asarray(Image.open(file))).save(file)
    assert "case_3" in DATASET.read(folder).keys
    for verify in (True, False):
        keys = DATASET.read(folder, include_normal=False, verify=verify).keys
        assert set(DATASET.read(folder).keys) - set(keys) == {"case_3"}


def test_label_maps_of_0_and_255_are_rejected(tmp_path: Path) -> None:
    folder = make_fake_nnunet(tmp_path)
    file = folder / "labelsTr" / "case_1.png"
    Image.fromarray(255 * np.asarray(Image.open(file))).save(file)
    assert "case_1.png: has the label 255, but declared are 0, 1." in problems_of(folder)


def test_all_mismatches_are_reported_together(tmp_path: Path) -> None:
    folder = make_fake_nnunet(tmp_path)
    (folder / "labelsTr" / "case_0.png").unlink()
    (folder / "imagesTr" / "case_1_0000.png").unlink()
    image = Image.open(folder / "imagesTr" / "case_2_0000.png")
    image.save(folder / "imagesTr" / "case_2_0001.png")
    image.save(folder / "imagesTr" / "stray.png")
    problems = problems_of(folder)
    assert "case_0_0000.png: has no label map 'case_0.png'" in problems
    assert "case_1.png: has no image 'case_1_0000.png'" in problems
    assert "case_2_0001.png: is a further channel" in problems
    assert "stray.png: must be named CASE_0000.png" in problems
    assert "'numTraining' is 5, but labelsTr has 4" in problems


def test_damaged_label_map_of_several_regions_is_reported_once(tmp_path: Path) -> None:
    folder = make_fake_nnunet(tmp_path, nested=True)
    file = folder / "labelsTr" / "case_0.png"
    file.write_bytes(file.read_bytes()[:-30])
    assert problems_of(folder).count("case_0.png: is cut short") == 1


def test_files_with_other_endings_are_ignored(tmp_path: Path) -> None:
    folder = make_fake_nnunet(tmp_path)
    expected = DATASET.read(folder).content_digest()
    (folder / "imagesTr" / "readme.txt").write_text("hello")
    (folder / "imagesTr" / "case_0_0000.json").write_text("{}")
    assert DATASET.read(folder).content_digest() == expected


@pytest.mark.parametrize(
    ("entries", "expected_text"),
    [
        ({"file_ending": ".nii.gz"}, r"'file_ending' is '\.nii\.gz'.*slice by slice"),
        ({"file_ending": None}, "'file_ending' is None"),
        ({"labels": {"background": 0, "a": 1, "b": 2}}, "not part of"),
        ({"dataset": {}}, "under 'dataset'.*Copy them"),
        ({"taichinet": {"cases": {"case_0": {}}}}, "the entry 'taichinet' was changed after the export"),
        ({"taichinet": []}, "the entry 'taichinet' was changed after the export"),
        ({"taichinet": {"cases": {"case_0": {"key": "a", "label": "b", "part": "tset"}}}}, "no part is called tset"),
    ],
)
def test_invalid_index_is_rejected_before_any_image_is_opened(
    entries: dict[str, Any], expected_text: str, tmp_path: Path
) -> None:
    folder = make_fake_nnunet(tmp_path)
    change_index(folder, **entries)
    with pytest.raises(DataError, match=rf"dataset\.json: .*{expected_text}"):
        DATASET.read(folder)


def test_invalid_json_in_index_or_splits_file_is_reported(tmp_path: Path) -> None:
    folder = make_fake_nnunet(tmp_path)
    (folder / "splits_final.json").write_text("{")
    with pytest.raises(DataError, match=r"splits_final\.json.*must be a list"):
        DATASET.read(folder)
    (folder / "dataset.json").write_text("[]")
    with pytest.raises(DataError, match=r"dataset\.json: must contain an object"):
        DATASET.read(folder)


def test_recorded_key_equal_to_another_case_name_is_rejected(tmp_path: Path) -> None:
    folder = make_fake_nnunet(tmp_path)
    change_index(folder, taichinet={"cases": {"case_0": {"key": "case_1", "label": "benign"}}})
    assert "2 cases have the key 'case_1'" in problems_of(folder)


def test_folds_use_file_names_if_an_export_recorded_other_keys(tmp_path: Path) -> None:
    folder = make_fake_nnunet(tmp_path, tested=0)
    change_index(folder, taichinet={"cases": {"case_0": {"key": "benign (1)", "label": "benign"}}})
    names = [f"case_{number}" for number in range(5)]
    splits = [{"train": [k for k in names if k not in val], "val": val} for val in (names[2:], names[:2])]
    (folder / "splits_final.json").write_text(json.dumps(splits))
    folds = {sample.key: sample.fold for sample in DATASET.read(folder)}
    assert folds == {"benign (1)": 1, "case_1": 1, "case_2": 0, "case_3": 0, "case_4": 0}
