"""Exports restore keys, classes, patients, folds, pixels and regions, and overwrite no other files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.busi import make_fake_busi
from fakes.catalogue import FAKES
from fakes.ddti import make_fake_ddti
from fakes.monai import make_fake_monai
from fakes.nnunet import make_fake_nnunet
from monai.auto3dseg import datafold_read
from monai.data import load_decathlon_datalist
from monai.transforms import LoadImage
from PIL import Image

from taichinet.datasets.catalogue import find_dataset, list_datasets, open_dataset, recognise
from taichinet.datasets.decoded import DecodedFiles, region_masks
from taichinet.datasets.folds import FoldPlan, make_folds
from taichinet.datasets.image_io import read_grey, read_rgb
from taichinet.datasets.interchange.cases import case_names
from taichinet.datasets.interchange.export import export_monai, export_nnunet
from taichinet.datasets.manifest import Manifest, Part, Sample
from taichinet.datasets.readers.busi import DATASET
from taichinet.datasets.readers.nnunet import DATASET as NNUNET
from taichinet.errors import DataError, FoldError, SettingError, TaiChiNetError

Export = Callable[..., Path]
both_formats = pytest.mark.parametrize("export", [export_nnunet, export_monai])
GROUPS = (("benign (1)", "malignant (1)"), ("benign (2)", "benign (3)"))


def busi_with_patients(folder: Path) -> Manifest:
    """The fake BUSI with its images assigned to three patients."""
    manifest = DATASET.read(make_fake_busi(folder))
    return replace(manifest, samples=tuple(replace(s, patient=f"P{n % 3}") for n, s in enumerate(manifest.samples)))


def nested_nnunet(folder: Path) -> Manifest:
    return NNUNET.read(make_fake_nnunet(folder, nested=True))


def plan_of(manifest: Manifest, groups: tuple[tuple[str, ...], ...] = ()) -> FoldPlan:
    return make_folds(manifest, groups, "grouped", seed=1, count=2)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def metadata(sample: Sample) -> tuple[Any, ...]:
    return (sample.key, sample.label, sample.patient, sample.part)


@both_formats
@pytest.mark.parametrize("make", [busi_with_patients, nested_nnunet])
@pytest.mark.parametrize("with_plan", [True, False])
def test_export_and_read_restore_the_manifest(
    export: Export, make: Callable[[Path], Manifest], with_plan: bool, tmp_path: Path
) -> None:
    manifest = make(tmp_path / "source")
    plan = plan_of(manifest) if with_plan else None
    written = export(manifest, tmp_path / "out", plan=plan)
    restored = open_dataset(written)
    assert restored.regions == manifest.regions
    assert [metadata(sample) for sample in restored] == [metadata(sample) for sample in manifest]
    assert {s.key: s.fold for s in restored} == (dict.fromkeys(manifest.keys) if plan is None else plan.fold_of)
    assert restored.patients == manifest.patients
    for original, restored_sample in zip(manifest, restored, strict=True):
        np.testing.assert_array_equal(read_grey(original.image), read_grey(restored_sample.image))
        regions = len(manifest.regions)
        np.testing.assert_array_equal(region_masks(original, regions), region_masks(restored_sample, regions))


@both_formats
@pytest.mark.parametrize("name", list_datasets())
def test_every_data_set_is_restored_with_regions_classes_patients_and_split(
    export: Export, name: str, tmp_path: Path
) -> None:
    manifest = open_dataset(f"{name}={FAKES[name](tmp_path / 'source')}")
    colour = find_dataset(name).colour
    restored = open_dataset(export(manifest, tmp_path / "out", colour=colour))
    assert restored.regions == manifest.regions
    assert {metadata(sample) for sample in restored} == {metadata(sample) for sample in manifest}
    assert {s.key: s.fold for s in restored} == {s.key: s.fold for s in manifest}
    restored_samples = {sample.key: sample for sample in restored}
    for original in manifest.samples[:3]:
        read = read_rgb if colour else read_grey
        np.testing.assert_array_equal(read(restored_samples[original.key].image), read(original.image))
        masks = region_masks(restored_samples[original.key], len(manifest.regions))
        np.testing.assert_array_equal(masks, region_masks(original, len(manifest.regions)))


@both_formats
def test_colour_is_kept_if_requested(export: Export, tmp_path: Path) -> None:
    folder = make_fake_ddti(tmp_path / "source")
    pixels = np.random.default_rng(0).integers(0, 256, (*read_grey(folder / "image" / "1.PNG").shape, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "image" / "1.PNG")
    restored = open_dataset(export(open_dataset(f"ddti={folder}"), tmp_path / "out", colour=True))
    np.testing.assert_array_equal(read_rgb(restored.samples[0].image), pixels)
    grey = open_dataset(export(open_dataset(f"ddti={folder}"), tmp_path / "grey"))
    with Image.open(str(grey.samples[0].image)) as image:
        assert image.mode == "L"


@both_formats
def test_repeated_exports_write_identical_bytes(export: Export, tmp_path: Path) -> None:
    manifest = busi_with_patients(tmp_path / "source")
    plan = plan_of(manifest)
    export(manifest.subset(set(manifest.keys[:7])), tmp_path / "a")
    for name in ("a", "b"):
        export(manifest, tmp_path / name, plan=plan)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@both_formats
def test_parts_and_folds_of_the_data_set_are_restored(export: Export, tmp_path: Path) -> None:
    unsplit = DATASET.read(make_fake_busi(tmp_path / "source"))
    parts: tuple[Part, ...] = ("train", "validation", "test")
    split = tuple(replace(s, part=parts[n % 3]) for n, s in enumerate(unsplit.samples))
    restored = open_dataset(export(replace(unsplit, samples=split), tmp_path / "a"))
    assert [sample.part for sample in restored] == [parts[n % 3] for n in range(len(split))]
    with_folds = tuple(replace(s, fold=n % 3) for n, s in enumerate(unsplit.samples))
    restored = open_dataset(export(replace(unsplit, samples=with_folds), tmp_path / "b"))
    assert [sample.fold for sample in restored] == [n % 3 for n in range(len(with_folds))]


@both_formats
def test_official_plan_keeps_the_parts_separate(export: Export, tmp_path: Path) -> None:
    manifest = nested_nnunet(tmp_path / "source")
    written = export(manifest, tmp_path / "out", plan=make_folds(manifest, (), "official"))
    assert contents(written.parent) == contents(export(manifest, tmp_path / "other").parent)
    assert [sample.part for sample in open_dataset(written)] == [sample.part for sample in manifest]


@both_formats
def test_folder_with_other_files_is_rejected_and_unchanged(export: Export, tmp_path: Path) -> None:
    manifest = busi_with_patients(tmp_path / "source")
    written = export(manifest, tmp_path / "out")
    folder = written if written.is_dir() else written.parent
    (folder / "notes.txt").write_text("mine")
    before = contents(tmp_path / "out")
    with pytest.raises(DataError, match=r"notes\.txt does not belong.*another folder"):
        export(manifest, tmp_path / "out")
    (folder / written.name if written.is_file() else folder / "dataset.json").unlink()
    with pytest.raises(DataError, match=r"not empty and is not an earlier export.*another folder"):
        export(manifest, tmp_path / "out")
    assert len(contents(tmp_path / "out")) == len(before) - 1


@both_formats
def test_failed_export_changes_nothing_and_names_every_file(export: Export, tmp_path: Path) -> None:
    manifest = busi_with_patients(tmp_path / "source")
    damaged = [Path(str(manifest.samples[0].image)), Path(str(manifest.samples[4].masks[0].file))]
    export(manifest, tmp_path / "out")
    before = contents(tmp_path / "out")
    for file in damaged:
        file.write_bytes(file.read_bytes()[:60])
    manifest = replace(manifest, files=DecodedFiles())
    for out in ("out", "new"):
        with pytest.raises(DataError, match="2 files of busi cannot be exported") as caught:
            export(manifest, tmp_path / out)
        assert all(any(file.name in problem for problem in caught.value.problems) for file in damaged)
    assert contents(tmp_path / "out") == before
    assert not contents(tmp_path / "new")


@both_formats
def test_folds_of_other_images_are_rejected(export: Export, tmp_path: Path) -> None:
    manifest = busi_with_patients(tmp_path / "source")
    plan = plan_of(manifest.subset(set(manifest.keys[:7])))
    with pytest.raises(FoldError, match="made for other images"):
        export(manifest, tmp_path / "out", plan=plan)
    with pytest.raises(DataError, match="nothing to export"):
        export(manifest.subset(set()), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nnunet_export_has_its_folders_labels_and_folds(tmp_path: Path) -> None:
    manifest = DATASET.read(make_fake_busi(tmp_path / "source"))
    plan = plan_of(manifest, GROUPS)
    folder = export_nnunet(manifest, tmp_path / "raw", 7, plan)
    assert folder == tmp_path / "raw" / "Dataset007_busi"
    index = json.loads((folder / "dataset.json").read_text())
    assert index["labels"] == {"background": 0, "lesion": 1}
    assert index["numTraining"] == len(list((folder / "imagesTr").iterdir())) == 9
    assert (index["channel_names"], index["file_ending"]) == ({"0": "grey"}, ".png")
    assert "dataset" not in index  # nnU-Net reads lists of files from this entry
    case_of = {entry["key"]: case for case, entry in index["taichinet"]["cases"].items()}
    splits = json.loads((folder / "splits_final.json").read_text())
    assert len(splits) == 2
    for fold, split in enumerate(splits):
        assert set(split["val"]) == {case_of[key] for key, where in plan.fold_of.items() if where == fold}
        assert set(split["train"]) == set(case_of.values()) - set(split["val"])
        for group in GROUPS:
            assert len({case_of[key] in split["val"] for key in group}) == 1
    for case in case_of.values():
        assert (folder / "imagesTr" / f"{case}_0000.png").is_file()
        assert set(np.unique(np.asarray(Image.open(folder / "labelsTr" / f"{case}.png")))) <= {0, 1}


def test_nnunet_export_declares_nested_regions(tmp_path: Path) -> None:
    manifest = nested_nnunet(tmp_path)
    folder = export_nnunet(manifest, tmp_path / "raw")
    index = json.loads((folder / "dataset.json").read_text())
    assert index["labels"] == {"background": 0, "whole": [1, 2], "core": 2}
    assert index["regions_class_order"] == [1, 2]
    assert sorted(file.name for file in (folder / "labelsTs").iterdir()) == ["case-5.png", "case-6.png"]
    for sample in manifest:
        name = f"{sample.key.replace('_', '-')}.png"
        written = np.asarray(Image.open(folder / ("labelsTs" if sample.part == "test" else "labelsTr") / name))
        outer, inner = region_masks(sample, 2)
        assert (written[outer & ~inner] == 1).all()
        assert (written[inner] == 2).all()
        assert not written[~outer].any()


def test_invalid_nnunet_number_is_rejected(tmp_path: Path) -> None:
    manifest = busi_with_patients(tmp_path / "source")
    for number in (0, 1000):
        with pytest.raises(SettingError, match=f"1 to 999, not {number}"):
            export_nnunet(manifest, tmp_path / "raw", number)
    export_nnunet(manifest, tmp_path / "raw", 500)
    with pytest.raises(SettingError, match="Dataset500_busi has the number 500 already"):
        export_nnunet(replace(manifest, name="other"), tmp_path / "raw", 500)


def test_monai_reads_pairs_pixels_and_folds_of_the_export(tmp_path: Path) -> None:
    manifest = NNUNET.read(make_fake_nnunet(tmp_path / "source", nested=True))
    plan = plan_of(manifest)
    file = export_monai(manifest, tmp_path / "out", plan)
    entries = load_decathlon_datalist(file)
    assert len(entries) == len(manifest.samples)
    load = LoadImage(image_only=True, dtype=np.uint8)
    for sample, entry in zip(manifest, entries, strict=True):
        assert entry["fold"] == plan.fold_of[sample.key]
        image, labels = (np.asarray(load(entry[name])).T for name in ("image", "label"))  # MONAI puts width first
        np.testing.assert_array_equal(image, read_grey(sample.image))
        outer, inner = region_masks(sample, 2)
        np.testing.assert_array_equal(labels, outer.astype(int) + inner)
    train, held_out = datafold_read(str(file), str(tmp_path / "out"), fold=1)
    assert len(held_out) == sum(fold == 1 for fold in plan.fold_of.values())
    assert len(train) == len(entries) - len(held_out)
    assert all(Path(entry[name]).is_file() for entry in train for name in ("image", "label"))


def test_export_is_recognised_as_its_format(tmp_path: Path) -> None:
    manifest = NNUNET.read(make_fake_nnunet(tmp_path / "source"))
    assert recognise(export_nnunet(manifest, tmp_path / "a")).name == "nnunet"
    assert recognise(export_monai(manifest, tmp_path / "b").parent).name == "monai"


def test_export_of_datalist_with_unlabelled_images_keeps_labelled_images(tmp_path: Path) -> None:
    manifest = open_dataset(make_fake_monai(tmp_path / "source"))
    restored = open_dataset(export_monai(manifest, tmp_path / "out"))
    assert [(metadata(s), s.fold) for s in restored] == [(metadata(s), s.fold) for s in manifest]
    assert restored.left_out == ()


def test_case_names_are_safe_and_distinct_on_every_file_system() -> None:
    keys = ["benign (12)", "benign 12", "Benign (12)", "benign-12-2", "_", "läsion", "a/../b", "x" * 300, "x" * 301]
    names = case_names(keys)
    assert names["benign (12)"] == "benign-12"
    assert len({name.lower() for name in names.values()}) == len(keys)
    assert all(name.replace("-", "").isalnum() and name.isascii() and len(name) < 90 for name in names.values())
    assert case_names(keys) == names


def test_export_overwrites_files_of_a_killed_export(tmp_path: Path) -> None:
    manifest = busi_with_patients(tmp_path / "source")
    stale = tmp_path / "out" / ".taichinet-export" / "images"
    stale.mkdir(parents=True)
    (stale / "half.png").write_bytes(b"")
    export_monai(manifest, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == ["datalist.json", "images", "labels"]


@both_formats
def test_export_that_cannot_move_its_files_has_no_index(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = busi_with_patients(tmp_path / "source")
    export(manifest, tmp_path / "out")

    def full_disk(self: Path, target: Path) -> Path:
        if Path(target).name.startswith("labels"):
            raise OSError("no space left")
        return self.rename(target)

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        export(manifest, tmp_path / "out")
    assert not [name for name in contents(tmp_path / "out") if name.endswith(("dataset.json", "datalist.json"))]


def test_missing_case_of_an_export_is_reported(tmp_path: Path) -> None:
    manifest = busi_with_patients(tmp_path / "source")
    folder = export_nnunet(manifest, tmp_path / "raw")
    (folder / "imagesTr" / "benign-1_0000.png").unlink()
    (folder / "labelsTr" / "benign-1.png").unlink()
    with pytest.raises(TaiChiNetError, match="its case 'benign-1' is missing"):
        NNUNET.read(folder)
