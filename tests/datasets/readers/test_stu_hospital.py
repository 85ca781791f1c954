"""STU-Hospital: images and masks in one folder, distinguished by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fakes.stu_hospital import make_fake_stu_hospital

from taichinet.datasets.catalogue import open_dataset, recognise
from taichinet.datasets.readers.paired import STU_HOSPITAL
from taichinet.errors import DataError


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    return make_fake_stu_hospital(tmp_path / "STU-Hospital-master")


def test_images_are_paired_with_masks_by_number_in_order(hospital: Path) -> None:
    manifest = STU_HOSPITAL.read(hospital)
    assert list(manifest.keys) == [f"Test_Image_{n}" for n in range(1, 12)]
    assert [sample.masks[0].file.name for sample in manifest] == [f"mask_{n}.png" for n in range(1, 12)]
    assert set(manifest.labels.values()) == {"lesion"}


def test_repository_is_read_from_itself_and_from_its_parent(hospital: Path) -> None:
    repository = hospital.parent
    for name in ("demo", "Dataset B"):
        (repository / name).mkdir()
        shutil.copy(hospital / "Test_Image_1.png", repository / name)
    for root in (repository, repository.parent):
        assert recognise(root).name == "stu-hospital"
        assert open_dataset(root).keys == STU_HOSPITAL.read(hospital).keys


def test_unpaired_and_unexpected_files_are_reported(hospital: Path) -> None:
    (hospital / "mask_3.png").unlink()
    (hospital / "Test_Image_10.png").unlink()
    shutil.copy(hospital / "mask_1.png", hospital / "mask_01.png")
    with pytest.raises(DataError, match="cannot be read as data set stu-hospital: 3 problems") as caught:
        STU_HOSPITAL.read(hospital)
    problems = " ".join(caught.value.problems)
    assert "Test_Image_3.png: has no mask 'mask_3.png'" in problems
    assert "mask_10.png: has no image 'Test_Image_10.png'" in problems
    assert "mask_01.png: does not belong" in problems
