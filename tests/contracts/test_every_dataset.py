"""Requirements for every data set of the catalogue, tested on its fake."""

from __future__ import annotations

import shutil
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fakes.catalogue import FAKES

from taichinet.datasets import catalogue
from taichinet.datasets.catalogue import (
    CATALOGUE,
    find_dataset,
    list_datasets,
    open_dataset,
    recognise,
    register_dataset,
)
from taichinet.datasets.dataset import Dataset, Reading
from taichinet.datasets.decoded import region_masks
from taichinet.datasets.image_io import read_grey
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.prepared import count_empty_masks, prepare
from taichinet.datasets.readers.layout import holds_folders, paired_samples
from taichinet.errors import DataError, SettingError

every_dataset = pytest.mark.parametrize("name", list_datasets())


def test_every_data_set_has_a_fake() -> None:
    assert FAKES.keys() == CATALOGUE.keys()


@every_dataset
def test_entry_has_licence_source_citation_and_regions(name: str) -> None:
    entry = find_dataset(name)
    assert entry.name == name
    assert entry.licence
    assert entry.source
    assert entry.citation
    assert entry.regions


@every_dataset
def test_layout_is_recognised_and_read(name: str, tmp_path: Path) -> None:
    entry, folder = find_dataset(name), FAKES[name](tmp_path)
    try:
        assert recognise(folder) == entry
    except DataError as error:  # a layout shared by several data sets requires a name
        assert f"{name}=" in str(error) or name in str(error)  # noqa: PT017
    manifest = open_dataset(f"{name}={folder}")
    assert manifest.name == name
    assert manifest.regions == entry.regions
    assert len(manifest.samples) >= 4
    assert len(set(manifest.keys)) == len(manifest.keys)
    assert all(sample.key and "/" not in sample.key and sample.label for sample in manifest)


@every_dataset
def test_masks_match_image_size_and_inner_regions_lie_in_outer_ones(name: str, tmp_path: Path) -> None:
    manifest = open_dataset(f"{name}={FAKES[name](tmp_path)}")
    present = np.zeros(len(manifest.regions), dtype=bool)
    for sample in manifest:
        masks = region_masks(sample, len(manifest.regions))
        assert masks.shape == (len(manifest.regions), *read_grey(sample.image).shape)
        for outer, inner in pairwise(masks):
            assert not (inner & ~outer).any()
        present |= masks.any(axis=(1, 2))
        assert not masks.all()
    assert present.all()


@every_dataset
def test_normal_images_not_requested_are_counted_as_skipped(name: str, tmp_path: Path) -> None:
    folder = FAKES[name](tmp_path)
    complete, lesions = (open_dataset(f"{name}={folder}", include_normal=normal) for normal in (True, False))
    left_out = len(complete.samples) - len(lesions.samples)
    assert find_dataset(name).has_normal or not left_out
    counts = lesions.count_images(count_empty_masks(lesions))
    assert (counts.used, counts.empty, counts.normal) == (len(lesions.samples), 0, left_out)
    assert counts.skipped == left_out + len(lesions.left_out)
    assert complete.count_images(count_empty_masks(complete)).normal == 0
    assert count_empty_masks(complete) == left_out
    assert complete.without_normal().normal_left_out == left_out


@every_dataset
def test_zip_and_parent_folder_give_the_same_manifest(name: str, tmp_path: Path) -> None:
    folder = FAKES[name](tmp_path / "plain")
    expected = open_dataset(f"{name}={folder}")
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                target.write(file, file.relative_to(folder.parent))
    for other in (open_dataset(f"{name}={archive}"), open_dataset(f"{name}={folder.parent}")):
        assert other.keys == expected.keys
        assert other.content_digest() == expected.content_digest()


@every_dataset
def test_manifest_does_not_depend_on_file_order(name: str, tmp_path: Path) -> None:
    folder = FAKES[name](tmp_path / "a")
    copied = tmp_path / "b" / folder.name
    for file in sorted((f for f in folder.rglob("*") if f.is_file()), reverse=True):
        target = copied / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    first, second = open_dataset(f"{name}={folder}"), open_dataset(f"{name}={copied}")
    assert first.keys == second.keys
    assert first.content_digest() == second.content_digest()


@every_dataset
def test_damaged_image_and_mask_are_reported_together(name: str, tmp_path: Path) -> None:
    folder = FAKES[name](tmp_path)
    sample = next(sample for sample in open_dataset(f"{name}={folder}") if sample.masks)
    for file in (Path(str(sample.image)), Path(str(sample.masks[0].file))):
        file.write_bytes(file.read_bytes()[:-20][:60])
    with pytest.raises(DataError) as caught:
        open_dataset(f"{name}={folder}")
    problems = " ".join(caught.value.problems)
    assert Path(str(sample.image)).name in problems
    assert Path(str(sample.masks[0].file)).name in problems


@every_dataset
def test_empty_and_missing_folders_are_rejected_with_remedy(name: str, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="Pass "):
            open_dataset(f"{name}={path}")


@every_dataset
def test_data_set_can_be_prepared_for_a_network(name: str, tmp_path: Path) -> None:
    manifest = open_dataset(f"{name}={FAKES[name](tmp_path)}")
    prepared = prepare(manifest, 32, 3 if find_dataset(name).colour else 1)
    assert prepared.lesion.shape == (len(manifest.samples), len(manifest.regions), 32, 32)


def test_external_data_set_is_registered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "CATALOGUE", dict(CATALOGUE))

    def list_samples(reading: Reading) -> Manifest:
        folder = reading.folder
        pairs = paired_samples(folder / "scans", folder / "lesions", "lesion", reading.problems)
        return Manifest("toy", tuple(pairs))

    toy = Dataset(
        name="toy",
        title="Toy",
        list_samples=list_samples,
        recognises=lambda folder: holds_folders(folder, "scans", "lesions"),
        layout="scans and lesions in it",
        licence="internal",
        source="our clinic",
        citation="none",
    )
    register_dataset(toy)
    folder = FAKES["ddti"](tmp_path)
    (folder / "image").rename(folder / "scans")
    (folder / "mask").rename(folder / "lesions")
    assert recognise(folder) is toy
    assert open_dataset(folder).name == "toy"
    with pytest.raises(SettingError, match="There already is a data set 'toy'"):
        register_dataset(toy)
    (folder / "lesions" / "1.PNG").unlink()
    with pytest.raises(DataError, match=r"data set toy: 1 problem\..*Pass the folder with scans and lesions"):
        open_dataset(f"toy={folder}")


def test_unknown_data_set_name_suggests_nearest(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="Did you mean 'busi'"):
        open_dataset(f"bsi={tmp_path}")


def test_unknown_layout_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(DataError, match="layout of no known data set"):
        open_dataset(tmp_path)
