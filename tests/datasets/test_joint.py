"""Joined data sets: keys, patients and folds of each data set, and the protocol leave-one-dataset-out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.drawing import lesion_and_mask
from helpers import file_manifest
from PIL import Image

from taichinet.datasets.decoded import DecodedFiles
from taichinet.datasets.folds import make_folds, read_folds, verify_folds, write_folds
from taichinet.datasets.joint import join_folds, join_manifests, joined_groups, refuse_shared_images
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.errors import DataError, FoldError, SettingError

GROUPS = (("benign (1)", "benign (2)"), ("benign (3)", "malignant (1)"))


def part(folder: Path, name: str, salt: str = "", patients: bool = False) -> Manifest:
    labels = {f"{label} ({n})": label for label in ("benign", "malignant") for n in range(1, 7)}
    manifest = file_manifest(folder / name, labels, salt)
    samples = [replace(s, patient=f"P{i // 2}") for i, s in enumerate(manifest)] if patients else manifest.samples
    return replace(manifest, name=name, samples=tuple(samples))


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Manifest, Manifest]:
    return part(tmp_path, "busi"), part(tmp_path, "folder", "other ", patients=True)


def test_keys_patients_and_reports_begin_with_the_data_set(parts: tuple[Manifest, Manifest]) -> None:
    first, second = parts
    joint = join_manifests([replace(first, left_out=("a.png: damaged.",), normal_left_out=2), second])
    assert (joint.name, joint.datasets) == ("busi+folder", ("busi", "folder"))
    assert joint.keys == tuple(f"{part.name}/{key}" for part in parts for key in part.keys)
    assert set(joint.labels.values()) == {"benign", "malignant"}
    assert joint.strata["folder/benign (1)"] == "folder/benign"
    assert joint.patients[0] == ("folder/benign (1)", "folder/benign (2)")
    assert (joint.left_out, joint.normal_left_out) == (("busi: a.png: damaged.",), 2)


def test_a_single_data_set_is_stratified_by_class(parts: tuple[Manifest, Manifest]) -> None:
    assert parts[0].strata == parts[0].labels
    assert parts[0].datasets == ()


def test_data_sets_of_one_name_are_refused(parts: tuple[Manifest, Manifest]) -> None:
    with pytest.raises(SettingError, match="Two data sets are called 'busi'"):
        join_manifests([parts[0], parts[0]])


def test_data_sets_with_other_regions_are_refused(parts: tuple[Manifest, Manifest]) -> None:
    with pytest.raises(DataError, match="busi has the regions lesion, folder has disc, cup"):
        join_manifests([parts[0], replace(parts[1], regions=("disc", "cup"))])


@pytest.mark.parametrize("protocol", ["grouped", "paper"])
def test_an_image_is_tested_in_the_fold_of_its_own_data_set(
    parts: tuple[Manifest, Manifest], protocol: str, tmp_path: Path
) -> None:
    plans = [make_folds(manifest, GROUPS, protocol, count=3) for manifest in parts]  # type: ignore[arg-type]
    joint = join_manifests(parts)
    plan = join_folds(joint, plans)
    for own in plans:
        assert {key: plan.fold_of[f"{own.dataset}/{key}"] for key in own.fold_of} == own.fold_of
    assert plan.groups == joined_groups(plans)
    assert "busi/benign (1)" in plan.groups[0]
    verify_folds(plan, joint)
    write_folds(plan, tmp_path / "folds.json")
    assert read_folds(tmp_path / "folds.json") == plan


def test_official_splits_are_not_joined(parts: tuple[Manifest, Manifest]) -> None:
    plans = [replace(make_folds(manifest, (), count=3), protocol="official") for manifest in parts]
    with pytest.raises(FoldError, match=r"Official splits are not available .*busi\+folder"):
        join_folds(join_manifests(parts), plans)


def test_leave_one_dataset_out_tests_each_data_set_with_the_others(
    parts: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    joint = join_manifests(parts)
    groups = tuple(tuple(f"busi/{key}" for key in group) for group in GROUPS)
    plan = make_folds(joint, groups, "leave-one-dataset-out")
    assert plan.count == 2
    write_folds(plan, tmp_path / "folds.json")
    assert read_folds(tmp_path / "folds.json") == plan
    for fold, name in enumerate(joint.datasets):
        split = plan.split(fold, joint.strata, 0.5)
        assert {key for key in joint.keys if key.startswith(f"{name}/")} == set(split.test)
        assert split.train
        assert split.validation
        assert {*split.train, *split.validation, *split.test} == set(joint.keys)
        for group in plan.groups:
            assert len({key in split.validation for key in group}) == 1


def test_leave_one_dataset_out_needs_several_data_sets(parts: tuple[Manifest, Manifest]) -> None:
    with pytest.raises(FoldError, match="needs several data sets, but was given busi"):
        make_folds(parts[0], (), "leave-one-dataset-out")


def test_a_fold_file_that_splits_a_patient_is_refused(parts: tuple[Manifest, Manifest]) -> None:
    _, with_patients = parts
    without = replace(with_patients, samples=tuple(replace(s, patient=None) for s in with_patients))
    with pytest.raises(FoldError, match=r"splits the images .* of one patient.*Delete it"):
        verify_folds(make_folds(without, (), count=3), with_patients)


def write_images(folder: Path, seed: int) -> Manifest:
    rng = np.random.default_rng(seed)
    folder.mkdir()
    samples = []
    for number in range(2):
        image = folder / f"{number}.png"
        lesion_and_mask((48, 64), rng)[0].save(image)
        samples.append(Sample(str(number), "lesion", image, ()))
    return Manifest(folder.name, tuple(samples))


def test_images_that_two_data_sets_share_are_refused(tmp_path: Path) -> None:
    first, second = write_images(tmp_path / "first", 0), write_images(tmp_path / "second", 1)
    refuse_shared_images(join_manifests([first, second]))
    Image.open(tmp_path / "first" / "1.png").save(tmp_path / "second" / "0.png")
    with pytest.raises(DataError) as caught:
        refuse_shared_images(join_manifests([replace(first, files=DecodedFiles()), second]))
    assert caught.value.problems == ("first/1 and second/0 (identical, 1.00)",)
