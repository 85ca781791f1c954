"""BUSI: read completely from a folder or a zip, or rejected with all problems at once."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fakes.busi import FOLDER, make_fake_busi
from PIL import Image

from taichinet.datasets.catalogue import recognise
from taichinet.datasets.decoded import united_mask
from taichinet.datasets.image_io import read_grey, read_rgb
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import DataError


@pytest.fixture
def busi(tmp_path: Path) -> Path:
    return make_fake_busi(tmp_path / "data")


def zipped(folder: Path, target: Path, with_folder: bool) -> Path:
    """A zip of `folder` without entries for folders, as some tools write it."""
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder.parent if with_folder else folder))
    return target


def problems_of(root: Path, verify: bool = True) -> tuple[str, ...]:
    with pytest.raises(DataError, match="cannot be read as data set busi") as caught:
        DATASET.read(root, verify=verify)
    assert caught.value.exit_code == 3
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


def test_samples_are_ordered_by_class_and_number(tmp_path: Path) -> None:
    manifest = DATASET.read(make_fake_busi(tmp_path, benign=11, malignant=2, normal=1))
    expected = [f"benign ({n})" for n in range(1, 12)] + ["malignant (1)", "malignant (2)", "normal (1)"]
    assert manifest.name == "busi"
    assert list(manifest.keys) == expected
    assert manifest.labels == {key: key.split(" (")[0] for key in expected}


def test_normal_images_can_be_left_out_with_their_folder(busi: Path) -> None:
    assert set(DATASET.read(busi, include_normal=False).labels.values()) == {"benign", "malignant"}
    shutil.rmtree(busi / "normal")
    assert len(DATASET.read(busi, include_normal=False).samples) == 7


@pytest.mark.parametrize("absent", [True, False])
def test_folder_of_normal_images_may_be_absent_or_empty(absent: bool, busi: Path, tmp_path: Path) -> None:
    lesions = DATASET.read(busi, include_normal=False)
    shutil.rmtree(busi / "normal")
    if not absent:
        (busi / "normal").mkdir()
    assert recognise(busi) is DATASET
    for root in (busi, zipped(busi, tmp_path / "busi.zip", True)):
        assert DATASET.read(root).keys == DATASET.read(root, include_normal=False).keys == lesions.keys


def test_missing_folder_of_a_lesion_class_is_reported(busi: Path) -> None:
    shutil.rmtree(busi / "malignant")
    (problem,) = problems_of(busi)
    assert problem.endswith("malignant: this class folder is missing.")


def test_lesion_images_have_a_lesion_and_normal_images_none(busi: Path) -> None:
    for sample in DATASET.read(busi).samples:
        mask = united_mask(sample)
        assert mask.shape == read_grey(sample.image).shape == read_rgb(sample.image).shape[:2]
        assert mask.any() == (sample.label != "normal")
        assert not mask.all()


def test_several_masks_are_ordered_and_united(busi: Path) -> None:
    sample = DATASET.read(busi).samples[0]
    assert [mask.file.name for mask in sample.masks] == ["benign (1)_mask.png", "benign (1)_mask_1.png"]
    first, second = (
        np.asarray(Image.open(busi / "benign" / mask.file.name).convert("L")) > 127 for mask in sample.masks
    )
    assert first.any()
    assert second.any()
    np.testing.assert_array_equal(united_mask(sample), first | second)


def test_parent_folder_gives_the_same_manifest(busi: Path) -> None:
    assert DATASET.read(busi.parent) == DATASET.read(busi)


@pytest.mark.parametrize("with_folder", [True, False])
def test_zip_gives_the_same_samples_as_the_folder(with_folder: bool, busi: Path, tmp_path: Path) -> None:
    from_zip, from_folder = DATASET.read(zipped(busi, tmp_path / "busi.zip", with_folder)), DATASET.read(busi)
    assert from_zip.keys == from_folder.keys
    assert from_zip.digest() == from_folder.digest()
    for packed, plain in zip(from_zip.samples, from_folder.samples, strict=True):
        np.testing.assert_array_equal(united_mask(packed), united_mask(plain))


def test_files_of_operating_systems_are_ignored(busi: Path, tmp_path: Path) -> None:
    keys = DATASET.read(busi).keys
    (busi / "SOURCE.md").write_text("where from")
    (busi / "__MACOSX").mkdir()
    for name in (".DS_Store", "._benign (1).png", "Thumbs.db", "desktop.ini"):
        (busi / "benign" / name).write_bytes(b"x")
    (busi / "benign" / "__MACOSX").mkdir()
    assert DATASET.read(busi).keys == keys
    assert DATASET.read(zipped(busi, tmp_path / "busi.zip", True)).keys == keys


def test_all_problems_are_reported_at_once(busi: Path) -> None:
    (busi / "benign" / "benign (1)_mask.png").unlink()
    (busi / "benign" / "benign (2)_mask.png").unlink()
    (busi / "benign" / "benign (3).png").unlink()
    damaged = busi / "benign" / "benign (4).png"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    Image.new("1", (5, 5)).save(busi / "malignant" / "malignant (1)_mask.png")
    (busi / "malignant" / "malignant (2).png").write_text("an image, honestly")
    (busi / "malignant" / "malignant (3)_mask.png").write_bytes(b"")
    (busi / "malignant" / "benign (7).png").touch()
    (busi / "malignant" / "notes.txt").touch()
    problems = problems_of(busi)
    expected = {
        "benign (1)_mask.png: this mask is missing, but a later one",
        "benign (2).png: has no mask 'benign (2)_mask.png'",
        "benign (3).png: this image is missing, but its mask exists (benign (3)_mask.png)",
        "benign (4).png: is cut short or damaged",
        "malignant (1)_mask.png: the mask is 5 x 5 pixels",
        "malignant (2).png: is not an image",
        "malignant (3)_mask.png: holds zero bytes",
        "benign (7).png: does not belong to BUSI",
        "notes.txt: does not belong to BUSI",
    }
    assert {text for text in expected if any(text in problem for problem in problems)} == expected
    assert len(problems) == len(expected)


def test_unpaired_file_is_decoded_too(busi: Path) -> None:
    (busi / "benign" / "benign (2)_mask.png").unlink()
    (busi / "benign" / "benign (2).png").write_bytes(b"")
    first, second = problems_of(busi)
    assert "has no mask" in first
    assert "zero bytes" in second


def test_truncated_image_is_reported_only_if_verified(busi: Path) -> None:
    damaged = busi / "malignant" / "malignant (2).png"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert len(problems_of(busi)) == 1
    assert "malignant (2)" in DATASET.read(busi, verify=False).keys


def test_missing_mask_is_reported_without_verification(busi: Path) -> None:
    (busi / "normal" / "normal (1)_mask.png").unlink()
    assert len(problems_of(busi, verify=False)) == 1


@pytest.mark.parametrize("name", ["benign.png", "benign (01).png", "benign (1) copy.png", "benign (1)_mask_0.png"])
def test_unexpected_file_name_is_rejected(name: str, busi: Path) -> None:
    shutil.copy(busi / "benign" / "benign (1).png", busi / "benign" / name)
    (problem,) = problems_of(busi)
    assert f"{name}: does not belong to BUSI" in problem


def test_folder_among_the_images_is_rejected(busi: Path) -> None:
    (busi / "benign" / "benign (9).png").mkdir()
    (problem,) = problems_of(busi)
    assert "benign (9).png: does not belong to BUSI" in problem


def test_empty_class_folder_is_reported(tmp_path: Path) -> None:
    (problem,) = problems_of(make_fake_busi(tmp_path, malignant=0))
    assert problem.endswith("malignant: contains no image.")


def test_damaged_file_in_a_zip_is_reported(busi: Path, tmp_path: Path) -> None:
    damaged = busi / "benign" / "benign (2).png"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    (problem,) = problems_of(zipped(busi, tmp_path / "busi.zip", True))
    assert f"busi.zip/{FOLDER}/benign/benign (2).png: is cut short" in problem


def test_missing_path_is_rejected_with_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist.*Pass the folder with benign, malignant and normal"):
        DATASET.read(tmp_path / "nowhere")


def test_folder_without_class_folders_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a data set of type busi"):
        DATASET.read(tmp_path)


def test_zip_without_class_folders_is_rejected(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    with pytest.raises(DataError, match="is not a data set of type busi"):
        DATASET.read(tmp_path / "a.zip")


def test_truncated_zip_is_rejected(busi: Path, tmp_path: Path) -> None:
    archive = zipped(busi, tmp_path / "busi.zip", True)
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"cut short or damaged.*Pass the folder"):
        DATASET.read(archive)


def test_file_that_is_not_a_zip_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="neither a folder nor a zip"):
        DATASET.read(tmp_path / "notes.txt")


def test_fake_depends_on_its_seed_only(tmp_path: Path) -> None:
    digests = [DATASET.read(make_fake_busi(tmp_path / str(i), seed=seed)).digest() for i, seed in enumerate((0, 0, 1))]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.real
def test_real_busi_is_complete() -> None:
    root = Path(os.environ.get("TAICHINET_DATA", "")) / FOLDER
    if "TAICHINET_DATA" not in os.environ or not root.is_dir():
        pytest.skip(f"TAICHINET_DATA is not set to a folder that contains {FOLDER}")
    manifest = DATASET.read(root)
    labels = list(manifest.labels.values())
    assert [labels.count(label) for label in ("benign", "malignant", "normal")] == [437, 210, 133]
    assert sum(len(sample.masks) > 1 for sample in manifest.samples) == 17
