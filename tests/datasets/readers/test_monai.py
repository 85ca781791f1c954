"""MONAI datalists: read as MONAI reads them, from folder, zip or file; invalid datalists are rejected."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.monai import make_fake_monai
from fakes.nnunet import make_fake_nnunet
from monai.data import load_decathlon_datalist
from PIL import Image

from taichinet.datasets.catalogue import open_dataset, recognise
from taichinet.datasets.decoded import region_masks
from taichinet.datasets.readers.monai import DATASET
from taichinet.errors import DataError


def problems_of(folder: Path) -> str:
    with pytest.raises(DataError, match="cannot be read as data set monai") as caught:
        DATASET.read(folder)
    return "\n".join(caught.value.problems)


def entries_of(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "datalist.json").read_text())["training"])


def test_files_folds_and_parts_equal_those_that_monai_reads(tmp_path: Path) -> None:
    folder = make_fake_monai(tmp_path)
    manifest = DATASET.read(folder)
    for name, part in (("training", "train"), ("test", "test")):
        entries = load_decathlon_datalist(folder / "datalist.json", data_list_key=name)
        samples = [sample for sample in manifest if sample.part == part]
        entries = [entry for entry in entries if "label" in entry]
        assert [str(sample.image) for sample in samples] == [entry["image"] for entry in entries]
        assert [str(sample.masks[0].file) for sample in samples] == [entry["label"] for entry in entries]
        assert [sample.fold for sample in samples] == [entry.get("fold") for entry in entries]


def test_image_without_label_is_left_out_and_reported(tmp_path: Path) -> None:
    folder = make_fake_monai(tmp_path / "a")
    paths = make_fake_monai(tmp_path / "b", test=["images/unlabelled.png"])  # as the Decathlon lists its test images
    for manifest in (DATASET.read(folder), DATASET.read(paths)):
        assert len(manifest.left_out) == 1
        assert "images/unlabelled.png" in manifest.left_out[0]


@pytest.mark.parametrize("white", [1, 255])
def test_every_nonzero_value_is_lesion_if_no_labels_are_declared(white: int, tmp_path: Path) -> None:
    folder = make_fake_monai(tmp_path, white=white)
    for sample in DATASET.read(folder):
        labels = np.asarray(Image.open(folder / "labels" / f"{sample.key}.png"))
        np.testing.assert_array_equal(region_masks(sample, 1), [labels > 0])
        assert labels.any()


def test_undeclared_label_values_are_rejected(tmp_path: Path) -> None:
    folder = make_fake_monai(tmp_path, white=255, labels={"0": "background", "1": "nodule"})
    assert "has the label 255, but declared are 0, 1." in problems_of(folder)


def test_declared_labels_are_nested_regions_of_one_map(tmp_path: Path) -> None:
    folder = make_fake_monai(tmp_path, white=2, labels={"background": 0, "cup": 2, "disc": [1, 2]})
    manifest = DATASET.read(folder)
    assert manifest.regions == ("disc", "cup")
    masks = region_masks(manifest.samples[0], 2)
    np.testing.assert_array_equal(masks[0], masks[1])
    assert masks.any()


def test_list_of_masks_gives_one_region_per_mask(tmp_path: Path) -> None:
    folder = make_fake_monai(tmp_path)
    for file in sorted((folder / "labels").iterdir()):
        shutil.copy(file, file.with_name(f"inner-{file.name}"))
        Image.fromarray(np.ones_like(np.asarray(Image.open(file)))[:, ::-1] * 255).save(file)
    entries = [
        {**entry, "label": [entry["label"], entry["label"].replace("labels/", "labels/inner-")]}
        for entry in entries_of(folder)
    ]
    (folder / "datalist.json").write_text(json.dumps({"training": entries}))
    manifest = DATASET.read(folder)
    assert manifest.regions == ("region-1", "region-2")
    outer, inner = region_masks(manifest.samples[0], 2)
    assert outer.all()
    assert inner.any()
    assert not inner.all()
    datalist = {"labels": {"background": 0, "disc": [1, 2], "cup": 2}, "training": entries}
    (folder / "datalist.json").write_text(json.dumps(datalist))
    assert DATASET.read(folder).regions == ("disc", "cup")
    entries[2]["label"] = entries[2]["label"][:1]
    (folder / "datalist.json").write_text(json.dumps({"training": entries}))
    assert "scan-2.png: has 1 masks, others 2" in problems_of(folder)


def test_images_with_equal_names_are_distinguished_by_their_path(tmp_path: Path) -> None:
    folder = make_fake_monai(tmp_path)
    (folder / "other").mkdir()
    shutil.copy(folder / "images" / "scan-0.png", folder / "other" / "scan-0.png")
    entries = entries_of(folder)
    entries.append({**entries[0], "image": "other/scan-0.png"})
    (folder / "datalist.json").write_text(json.dumps({"training": entries}))
    assert {"images__scan-0", "other__scan-0"} <= set(DATASET.read(folder).keys)
    (folder / "datalist.json").write_text(json.dumps({"training": entries + entries[-1:]}))
    assert "'other__scan-0' is listed 2 times" in problems_of(folder)


def test_datalist_file_can_be_passed_and_is_required_if_there_are_several(tmp_path: Path) -> None:
    folder = make_fake_monai(tmp_path)
    expected = DATASET.read(folder).content_digest()
    (folder / "dataset_fold0.json").write_text(json.dumps({"training": entries_of(folder)[:2]}))
    assert recognise(folder / "datalist.json").name == "monai"
    assert open_dataset(folder / "datalist.json").content_digest() == expected
    assert len(open_dataset(f"monai={folder / 'dataset_fold0.json'}").samples) == 2
    with pytest.raises(DataError, match=r"several datalists \(datalist\.json, dataset_fold0\.json\)\. Pass one"):
        open_dataset(folder)


def test_nnunet_index_is_not_read_as_datalist(tmp_path: Path) -> None:
    folder = make_fake_nnunet(tmp_path)
    assert recognise(folder).name == "nnunet"
    with pytest.raises(DataError, match=r"no list 'training'.*format of nnU-Net pass the folder"):
        open_dataset(folder / "dataset.json")


@pytest.mark.parametrize(
    ("change", "expected_text"),
    [
        ({"image": "../scan.png"}, "'../scan.png' must be relative to the JSON's folder"),
        ({"image": "/scan.png"}, "'/scan.png' must be relative"),
        ({"label": "images\\scan.png"}, "with forward slashes"),
        ({"image": ""}, "'' must be relative"),
        ({"image": "scan.nii.gz"}, "not a 2D image"),
        ({"image": "images/gone.png"}, "gone.png: is listed, but missing"),
        ({"image": f"images/{'7' * 300}.png"}, "7.png: is listed, but missing"),
        ({"image": ["a.png", "b.png"]}, "'image' must be one path"),
        ({"label": 1}, "'label' must be the path"),
        ({"fold": "0"}, "'fold' must be a whole number from 0, not '0'"),
    ],
)
def test_invalid_entry_is_reported_together_with_others(
    change: dict[str, Any], expected_text: str, tmp_path: Path
) -> None:
    folder = make_fake_monai(tmp_path)
    entries = entries_of(folder)
    entries[1] = {**entries[1], **change}
    entries[3] = {**entries[3], "label": "labels/absent.png"}
    (folder / "datalist.json").write_text(json.dumps({"training": entries}))
    problems = problems_of(folder)
    assert expected_text in problems
    assert "absent.png: is listed, but missing" in problems


def test_recorded_patients_are_restored_and_testing_is_the_test_part(tmp_path: Path) -> None:
    folder = make_fake_monai(tmp_path)
    entries = entries_of(folder)
    case = {"key": "benign (1)", "label": "benign", "patient": "p7", "part": "train"}
    index = {"training": entries[:4], "testing": entries[4:], "taichinet": {"cases": {"scan-0": case}}}
    (folder / "datalist.json").write_text(json.dumps(index))
    samples = [(sample.key, sample.patient, sample.part) for sample in DATASET.read(folder)]
    remaining = [(f"scan-{number}", None, "train") for number in (1, 2, 3)]
    assert samples == [("benign (1)", "p7", "train"), *remaining, ("scan-4", None, "test")]
