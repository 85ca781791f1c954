"""BUS-UCLM: the class comes from mask colours; masks of another size are left out, other faults are errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.bus_uclm import make_fake_bus_uclm
from PIL import Image

from taichinet.datasets.decoded import united_mask
from taichinet.datasets.readers.bus_uclm import DATASET
from taichinet.errors import DataError


@pytest.fixture
def bus_uclm(tmp_path: Path) -> Path:
    return make_fake_bus_uclm(tmp_path)


@pytest.mark.parametrize("verify", [True, False])
def test_green_is_benign_red_or_both_malignant_and_black_normal(verify: bool, bus_uclm: Path) -> None:
    manifest = DATASET.read(bus_uclm, verify=verify)
    assert manifest.labels == {
        "ALWI_000": "benign",
        "ALWI_001": "malignant",
        "ALWI_003": "malignant",
        "ANFO_000": "benign",
        "ANFO_001": "malignant",
        "ANFO_002": "normal",
        "ANFO_003": "malignant",
    }
    assert all(united_mask(sample).any() == (sample.label != "normal") for sample in manifest)


def test_mask_contains_lesions_of_both_colours(bus_uclm: Path) -> None:
    (sample,) = (sample for sample in DATASET.read(bus_uclm) if sample.key == "ANFO_003")
    mask = united_mask(sample)
    half = mask.shape[1] // 2
    assert mask[:, :half].any()
    assert mask[:, half:].any()


def test_letters_of_the_file_name_are_the_patient(bus_uclm: Path) -> None:
    first, second = DATASET.read(bus_uclm).patients
    assert first == ("ALWI_000", "ALWI_001", "ALWI_003")
    assert all(key.startswith("ANFO_") for key in second)


@pytest.mark.parametrize("verify", [True, False])
def test_mask_of_another_size_is_left_out_with_both_sizes(verify: bool, bus_uclm: Path) -> None:
    manifest = DATASET.read(bus_uclm, verify=verify)
    assert "ALWI_002" not in manifest.keys
    assert manifest.left_out == ("masks/ALWI_002.png: the mask is 48 x 60 pixels, its image 48 x 64 (height x width).",)


def test_damaged_image_is_an_error_even_if_its_mask_has_another_size(bus_uclm: Path) -> None:
    image = bus_uclm / "images" / "ALWI_002.png"
    image.write_bytes(image.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"ALWI_002\.png: is cut short"):
        DATASET.read(bus_uclm)


def test_unknown_colour_is_rejected(bus_uclm: Path) -> None:
    mask = Image.open(bus_uclm / "masks" / "ALWI_000.png")
    mask.putpixel((0, 0), (0, 0, 255))
    mask.save(bus_uclm / "masks" / "ALWI_000.png")
    with pytest.raises(DataError) as caught:
        DATASET.read(bus_uclm, verify=False)
    (problem,) = caught.value.problems
    assert "ALWI_000.png: a pixel has the colour (0, 0, 255)" in problem


def test_normal_images_can_be_left_out(bus_uclm: Path) -> None:
    assert set(DATASET.read(bus_uclm, include_normal=False).labels.values()) == {"benign", "malignant"}
