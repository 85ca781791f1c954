"""BrEaST: the clinical data list the tumor masks of each image; other findings are not part of the lesion."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes.breast import IMAGES, TABLE, make_fake_breast
from openpyxl import load_workbook
from PIL import Image

from taichinet.datasets.decoded import united_mask
from taichinet.datasets.readers.breast import DATASET
from taichinet.errors import DataError


@pytest.fixture
def breast(tmp_path: Path) -> Path:
    return make_fake_breast(tmp_path)


def problems_of(root: Path) -> tuple[str, ...]:
    with pytest.raises(DataError, match="cannot be read as data set breast") as caught:
        DATASET.read(root)
    return caught.value.problems


def write_cell(root: Path, cell: str, value: str | None) -> None:
    book = load_workbook(root / TABLE)
    book.worksheets[0][cell] = value
    book.save(root / TABLE)


def test_classes_come_from_the_clinical_data(breast: Path) -> None:
    assert DATASET.read(breast).labels == {
        "case001": "benign",
        "case002": "malignant",
        "case003": "normal",
        "case004": "benign",
        "case005": "benign",
        "case006": "malignant",
    }


def test_only_the_tumor_is_part_of_the_lesion(breast: Path) -> None:
    sample = DATASET.read(breast).samples[0]
    tumor, other = (np.asarray(Image.open(breast / IMAGES / f"case001_{end}.png")) > 127 for end in ("tumor", "other1"))
    np.testing.assert_array_equal(united_mask(sample), tumor)
    assert (other & ~tumor).any()


def test_several_tumor_masks_are_united(breast: Path) -> None:
    shutil.move(breast / IMAGES / "case001_other1.png", breast / IMAGES / "case001_tumor2.png")
    write_cell(breast, "C2", "case001_tumor.png&case001_tumor2.png")
    sample = DATASET.read(breast).samples[0]
    both = (np.asarray(Image.open(breast / IMAGES / f"case001_{end}.png")) > 127 for end in ("tumor", "tumor2"))
    np.testing.assert_array_equal(united_mask(sample), np.logical_or(*both))


def test_normal_image_has_empty_mask_and_can_be_left_out(breast: Path) -> None:
    (normal,) = (sample for sample in DATASET.read(breast) if sample.label == "normal")
    assert normal.masks == ()
    assert not united_mask(normal).any()
    assert "normal" not in DATASET.read(breast, include_normal=False).labels.values()


def test_table_can_be_among_the_images_or_a_csv(breast: Path) -> None:
    expected = DATASET.read(breast)
    shutil.move(breast / TABLE, breast / IMAGES / TABLE)
    assert DATASET.read(breast / IMAGES) == expected
    (breast / IMAGES / TABLE).unlink()
    rows = ["Image_filename;Mask_tumor_filename;Classification"]
    rows += [f"{s.key}.png;{s.masks[0].file.name if s.masks else ''};{s.label}" for s in expected]
    (breast / IMAGES / "clinical data.csv").write_text("\n".join(rows), encoding="utf-8-sig")
    assert DATASET.read(breast) == expected


def test_mismatches_of_table_and_folder_are_reported(breast: Path) -> None:
    (breast / IMAGES / "case002_tumor.png").unlink()
    write_cell(breast, "B5", "case099.png")
    problems = sorted(problems_of(breast))
    expected = {
        "row 'case002.png': there is no case002_tumor.png",
        "row 'case099.png': there is no case099.png",
        "case004.png: is not named in",
    }
    assert {text for text in expected if any(text in problem for problem in problems)} == expected
    assert len(problems) == len(expected)


@pytest.mark.parametrize(
    ("cell", "value", "expected_text"),
    [
        ("F2", "cyst", "Classification is 'cyst', not one of benign, malignant, normal"),
        ("F2", "normal", "Classification is 'normal', but Mask_tumor_filename is 'case001_tumor.png'"),
        ("F4", "benign", "Classification is 'benign', but Mask_tumor_filename is ''"),
        ("F1", "Class", "has no column 'Classification'"),
        ("B3", "case001.png", "this image is in a row above too"),
    ],
)
def test_invalid_cell_is_reported(cell: str, value: str, expected_text: str, breast: Path) -> None:
    write_cell(breast, cell, value)
    assert any(expected_text in problem for problem in problems_of(breast))


def test_images_without_clinical_data_are_rejected_with_remedy(breast: Path) -> None:
    (breast / TABLE).unlink()
    with pytest.raises(DataError, match=r"is not a data set of type breast.*Pass the folder with the images"):
        DATASET.read(breast)
