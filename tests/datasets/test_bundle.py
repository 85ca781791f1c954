"""A bundle has everything of a data set that trainings and scores need, and damaged bundles are refused."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import change_record, rewrite
from fakes.busi import make_fake_busi
from fakes.catalogue import FAKES

from taichinet.datasets import catalogue
from taichinet.datasets.bundle.read import BundledFiles, is_bundle, read_record
from taichinet.datasets.bundle.record import MARK
from taichinet.datasets.bundle.verify import verify_bundle
from taichinet.datasets.bundle.write import make_bundle, write_bundle
from taichinet.datasets.catalogue import CATALOGUE, find_dataset, list_datasets, open_dataset, recognise
from taichinet.datasets.duplicates.known_images import ImageDigests
from taichinet.datasets.duplicates.search import manifest_duplicates
from taichinet.datasets.folds import PROTOCOLS, make_folds
from taichinet.datasets.image_io import read_grey
from taichinet.datasets.prepared import count_empty_masks, prepare
from taichinet.errors import DataError, FoldError, SettingError

SIZE = 32


def bundle_of(spec: str | Path, path: Path, channels: int = 1) -> Path:
    write_bundle(make_bundle(spec, SIZE, channels), path)
    return path


@pytest.fixture
def busi(tmp_path: Path) -> Path:
    """A fake of BUSI in which two images are equal."""
    folder = make_fake_busi(tmp_path / "source", benign=5, malignant=5, normal=5)
    for name in ("benign (1)", "benign (1)_mask", "benign (1)_mask_1"):
        copy = folder / "benign" / f"{name.replace('(1)', '(3)')}.png"
        copy.write_bytes((folder / "benign" / f"{name}.png").read_bytes())
    return folder


@pytest.fixture
def bundle(busi: Path, tmp_path: Path) -> Path:
    return bundle_of(busi, tmp_path / "busi.zip")


@pytest.mark.parametrize("name", list_datasets())
def test_a_bundle_is_read_as_the_original_data_set(name: str, tmp_path: Path) -> None:
    spec = f"{name}={FAKES[name](tmp_path / 'source')}"
    channels = 3 if find_dataset(name).colour else 1
    path = bundle_of(spec, tmp_path / "data.zip", channels)
    assert is_bundle(path)
    assert recognise(path).name == name
    for include_normal in (True, False):
        expected = open_dataset(spec, include_normal)
        groups = manifest_duplicates(expected).groups
        for given in (str(path), f"{name}={path}"):
            read = open_dataset(given, include_normal)
            assert (read.name, read.regions, read.keys, read.labels) == (
                *(expected.name, expected.regions, expected.keys, expected.labels),
            )
            assert read.patients == expected.patients
            assert [(s.part, s.fold) for s in read] == [(s.part, s.fold) for s in expected]
            assert (read.normal_left_out, len(read.left_out)) == (expected.normal_left_out, len(expected.left_out))
            assert read.digest() == expected.digest()
            assert read.content_digest() == expected.content_digest()
            assert ImageDigests(read).files == ImageDigests(expected).files
            assert ImageDigests(read).pixels == ImageDigests(expected).pixels
            assert np.array_equal(ImageDigests(read).thumbnails, ImageDigests(expected).thumbnails)
            assert count_empty_masks(read) == count_empty_masks(expected)
        for one, other in zip(read, expected, strict=True):
            assert np.array_equal(read.region_masks(one), expected.region_masks(other))
        assert isinstance(read.files, BundledFiles)
        assert read.files.selection.groups == groups
        for protocol in PROTOCOLS:
            try:
                plan = make_folds(expected, groups, protocol)
            except FoldError:
                plan = None
            assert read.files.plan(protocol, 0, 5) == plan
        for one_tensor, other_tensor in zip(
            *((p.image, p.lesion) for p in (prepare(m, SIZE, channels) for m in (read, expected))), strict=True
        ):
            assert torch.equal(one_tensor, other_tensor)


def test_the_prepared_images_have_the_same_cache_entry(busi: Path, bundle: Path, tmp_path: Path) -> None:
    for data in (busi, bundle):
        prepare(open_dataset(data), SIZE, 1, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_images_resized_by_another_pillow_have_another_cache_entry(busi: Path, bundle: Path, tmp_path: Path) -> None:
    change_record(bundle, lambda record: record.update(pillow="1.0"))
    for data in (busi, bundle):
        prepare(open_dataset(data), SIZE, 1, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_equal_content_gives_equal_bytes_without_the_folder_of_the_source(bundle: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    (tmp_path / "source").rename(moved)
    again = bundle_of(moved / "Dataset_BUSI_with_GT", tmp_path / "again.zip")
    assert again.read_bytes() == bundle.read_bytes()
    assert bundle.read_bytes()[:200].count(MARK.encode()) == 1


def test_lines_on_left_out_images_do_not_have_the_folder_of_the_source(tmp_path: Path) -> None:
    path = bundle_of(f"bus-uclm={FAKES['bus-uclm'](tmp_path / 'private')}", tmp_path / "data.zip")
    (line,) = open_dataset(path).left_out
    assert "ALWI_002" in line
    assert "private" not in line


@pytest.mark.parametrize(
    ("size", "channels", "option"), [(48, 1, "--size 48 --grey"), (SIZE, 3, f"--size {SIZE} --colour")]
)
def test_another_input_is_refused_with_the_command_for_it(bundle: Path, size: int, channels: int, option: str) -> None:
    with pytest.raises(DataError, match=rf"busi.zip has grey images of {SIZE} px.*{option}"):
        prepare(open_dataset(bundle), size, channels)


def test_the_original_files_cannot_be_read_from_a_bundle(bundle: Path, tmp_path: Path) -> None:
    manifest = open_dataset(bundle)
    sample = manifest.samples[0]
    for read in (
        read_grey,
        lambda file: manifest.files.mask(sample.masks[0]),
        lambda file: manifest_duplicates(manifest),
    ):
        with pytest.raises(DataError, match=r"busi.zip/benign \(1\).*pass the original data set"):
            read(sample.image)
    with pytest.raises(DataError, match=r"busi.zip: a bundle.*another bundle needs.*Pass the original"):
        make_bundle(bundle, SIZE, 1)


def test_a_name_of_another_data_set_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"busi.zip is a bundle of data set busi, not of ddti. Pass busi="):
        open_dataset(f"ddti={bundle}")
    monkeypatch.setattr(catalogue, "CATALOGUE", {k: v for k, v in CATALOGUE.items() if k != "busi"})
    with pytest.raises(DataError, match=r"data set 'busi', which is not registered"):
        open_dataset(bundle)


@pytest.mark.parametrize("size", [0, 2049])
def test_a_size_out_of_range_is_refused(busi: Path, size: int) -> None:
    with pytest.raises(SettingError, match=f"size = {size}"):
        make_bundle(busi, size, 1)


def test_a_truncated_bundle_is_refused(bundle: Path) -> None:
    content = bundle.read_bytes()
    for length in (0, 100, len(content) // 2, len(content) - 1):
        bundle.write_bytes(content[:length])
        for spec in (str(bundle), f"busi={bundle}"):
            with pytest.raises(DataError, match=r"busi.zip is a zip cut short or damaged"):
                open_dataset(spec)


def test_all_damaged_members_are_named(bundle: Path) -> None:
    content = bytearray(bundle.read_bytes())
    with zipfile.ZipFile(bundle) as archive:
        for name in ("images/00001.png", "masks/00002-0.png"):
            content[archive.getinfo(name).header_offset + 70] ^= 1
    bundle.write_bytes(content)
    with pytest.raises(DataError, match=r"2 of its members.*Copy the bundle again") as caught:
        open_dataset(bundle)
    assert "images/00001.png" in caught.value.problems[0]
    assert "masks/00002-0.png" in caught.value.problems[1]
    assert len(open_dataset(bundle, verify=False).samples) == 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(version=2), "version"),
        (lambda record: record.update(extra=1), "extra"),
        (lambda record: record.update(size=10**9), "size"),
        (lambda record: record.update(preparation=1), "resized by rule 1"),
        (lambda record: record.update(samples=[]), "samples"),
        (lambda record: record["samples"].append(record["samples"][0]), "a key occurs twice"),
        (lambda record: record["samples"][0].update(height=2**25, width=2), "exceed the limit"),
        (lambda record: record["samples"][0].update(file="../secret"), "samples.0.file"),
        (lambda record: record["samples"][0]["masks"][0].update(region=1), "not among the 1 of 'regions'"),
        (lambda record: record["samples"].pop(), r"thumbnails.npy does not have finite float32 values \(14, 2304\)"),
        (lambda record: record["members"].pop("thumbnails.npy"), "thumbnails.npy is not listed"),
        (lambda record: record["members"].pop("images/00000.png"), "images/00000.png is not listed"),
        (lambda record: record["samples"][0].update(height=9), r"00000-0.png has mode 1 and shape .*not 1 and \(9,"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    bundle: Path, change: Callable[[dict[str, object]], None], message: str
) -> None:
    change_record(bundle, change)
    with pytest.raises(DataError, match=message):
        open_dataset(bundle)


@pytest.mark.parametrize("name", ["images/00000.png", "masks/00000-0.png", "thumbnails.npy"])
def test_a_member_with_other_content_is_refused(bundle: Path, name: str) -> None:
    rewrite(bundle, lambda members: members.update({name: b"other"}))
    with pytest.raises(DataError, match=rf"(?s){name} does not have the SHA-256 recorded in bundle.json"):
        open_dataset(bundle)
    rewrite(bundle, lambda members: members.__delitem__(name))
    with pytest.raises(DataError, match=rf"(?s){name}: this member of the zip cannot be read"):
        open_dataset(bundle)


def test_nothing_pickled_is_loaded(bundle: Path) -> None:
    import hashlib
    from io import BytesIO

    content = BytesIO()
    np.save(content, np.array([print], dtype=object), allow_pickle=True)

    def change(members: dict[str, bytes]) -> None:
        members["thumbnails.npy"] = content.getvalue()

    rewrite(bundle, change)
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    change_record(bundle, lambda record: record["members"].update({"thumbnails.npy": digest}))
    with pytest.raises(DataError, match=r"thumbnails.npy cannot be read .*allow_pickle=False"):
        open_dataset(bundle)


def test_an_unchanged_original_agrees(busi: Path, bundle: Path) -> None:
    assert verify_bundle(bundle, busi) == read_record(bundle)


def test_equal_pixels_that_another_library_compressed_agree(busi: Path, bundle: Path) -> None:
    import hashlib
    from io import BytesIO

    from PIL import Image

    name, encoded = "images/00000.png", BytesIO()
    with zipfile.ZipFile(bundle) as archive:
        Image.open(BytesIO(archive.read(name))).save(encoded, "PNG", compress_level=0)
    content = encoded.getvalue()
    rewrite(bundle, lambda members: members.update({name: content}))
    digest = hashlib.sha256(content).hexdigest()
    change_record(bundle, lambda record: record["members"].update({name: digest}))
    verify_bundle(bundle, busi)


def test_each_difference_from_the_original_is_named(busi: Path, bundle: Path, tmp_path: Path) -> None:
    image, mask = (busi / "malignant" / f"malignant (1){end}.png" for end in ("", "_mask"))
    image.write_bytes((busi / "malignant" / "malignant (2).png").read_bytes())
    mask.write_bytes((busi / "malignant" / "malignant (2)_mask.png").read_bytes())
    for file in (busi / "normal").glob("normal (5)*"):
        file.unlink()
    with pytest.raises(DataError, match="differs from") as caught:
        verify_bundle(bundle, busi)
    told = "\n".join(caught.value.problems)
    assert "1 images that the original does not contain: normal (5)" in told
    assert "1 images with another 'file': malignant (1)" in told
    assert "1 images with another 'pixels': malignant (1)" in told
    assert "1 images with another 'masks': malignant (1)" in told
    assert "the 'groups' of the selection with all images" in told
    assert "members with other values: images/" in told
    with pytest.raises(DataError, match=r"is a bundle of busi, but .* is ddti"):
        verify_bundle(bundle, f"ddti={FAKES['ddti'](tmp_path / 'other')}")
