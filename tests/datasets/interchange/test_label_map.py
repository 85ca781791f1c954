"""Label maps: nested regions in one file are read by their declaration or rejected with a remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from taichinet.datasets.decoded import DecodedFiles, region_masks
from taichinet.datasets.interchange.label_map import NOT_BACKGROUND, declare, encode, read_scheme
from taichinet.datasets.manifest import MaskRule, Sample
from taichinet.errors import DataError

HERE = Path("dataset.json")


def nested_masks(regions: int, seed: int = 0) -> np.ndarray:
    """Random masks (R, 9, 11), each inside the one before."""
    masks = np.random.default_rng(seed).random((regions, 9, 11)) < 0.7
    for region in range(1, regions):
        masks[region] &= masks[region - 1]
    return masks


@pytest.mark.parametrize("regions", [1, 2, 3, 4])
def test_encoded_and_declared_regions_are_read_back(regions: int, tmp_path: Path) -> None:
    names = ("whole", "middle", "core", "spot")[:regions]
    masks = nested_masks(regions)
    Image.fromarray(encode(masks)).save(tmp_path / "labels.png")
    Image.new("L", (11, 9)).save(tmp_path / "image.png")
    scheme = read_scheme(declare(names), HERE)
    sample = Sample("a", "lesion", tmp_path / "image.png", scheme.masks(tmp_path / "labels.png"))
    assert scheme.names == names
    assert scheme.values == set(range(regions + 1))
    np.testing.assert_array_equal(region_masks(sample, regions), masks)


def test_pixel_value_is_the_number_of_regions_that_contain_it() -> None:
    labels = encode(nested_masks(3))
    for row, column in np.ndindex(labels.shape):
        assert labels[row, column] == sum(bool(mask[row, column]) for mask in nested_masks(3))


def test_mask_of_one_region_includes_every_nonzero_pixel() -> None:
    assert (NOT_BACKGROUND.low, NOT_BACKGROUND.high) == (1, 255)


def test_two_regions_are_declared_in_nnunet_format() -> None:
    assert declare(("disc", "cup")) == {"background": 0, "disc": [1, 2], "cup": 2}
    assert declare(("lesion",)) == {"background": 0, "lesion": 1}


@pytest.mark.parametrize(
    ("labels", "names", "rules"),
    [
        ({"background": 0, "lesion": 1}, ("lesion",), (MaskRule(1, 1),)),
        ({"background": 0, "cup": 2, "disc": [1, 2]}, ("disc", "cup"), (MaskRule(1, 2), MaskRule(2, 2))),
        ({"disc": [2, 1], "cup": [2]}, ("disc", "cup"), (MaskRule(1, 2), MaskRule(2, 2))),
        ({"0": "background", "1": "nodule"}, ("nodule",), (MaskRule(1, 1),)),
        ({"background": 0, "whole": [1, 2, 3], "core": [1, 2]}, ("whole", "core"), (MaskRule(1, 3), MaskRule(1, 2))),
    ],
)
def test_regions_are_ordered_from_outer_to_inner(
    labels: dict[str, Any], names: tuple[str, ...], rules: tuple[MaskRule, ...]
) -> None:
    scheme = read_scheme(labels, HERE)
    assert (scheme.names, scheme.rules) == (names, rules)


@pytest.mark.parametrize(
    ("labels", "expected_text"),
    [
        ({"background": 0, "a": 1, "b": 2}, r"not part of 'a'.*\"a\": \[1, 2\], \"b\": 2"),
        ({"background": 0, "a": [1, 2], "b": [2, 3]}, "'b' .* is not part of 'a'"),
        ({"background": 0, "a": [1, 2], "b": [1, 2]}, "not part of"),
        ({"background": 0, "a": [1, 3], "b": 2}, r"'a' have a gap \(\[1, 3\]\).*Renumber"),
        ({"background": 0, "a": 1, "ignore": 2}, "'ignore'.*all pixels are evaluated"),
        ({"background": 1, "a": 2}, "'background' must be 0"),
        ({"background": 0, "a": [0, 1]}, "'a' contains 0"),
        ({"background": 0, "a": "1"}, "'a' must be a whole number.*'1'"),
        ({"background": 0, "a": True}, "must be a whole number"),
        ({"background": 0, "a": 256}, r"0\.\.255"),
        ({"background": 0, "a": []}, "must be a whole number"),
        ({"background": 0}, "names no region"),
        ({}, "names no region"),
        (["background", "a"], "must be like"),
        (None, "must be like"),
    ],
)
def test_invalid_declaration_is_rejected_with_file_value_and_remedy(labels: object, expected_text: str) -> None:
    with pytest.raises(DataError, match=rf"dataset\.json: .*{expected_text}"):
        read_scheme(labels, HERE)


@pytest.mark.parametrize("mode", ["P", "RGB", "I;16", "LA"])
def test_label_map_in_unsupported_mode_is_rejected(mode: str, tmp_path: Path) -> None:
    labels = Image.fromarray(np.eye(5, dtype=np.uint16 if mode == "I;16" else np.uint8))
    (labels if mode == "I;16" else labels.convert(mode)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=rf"a\.png: mode {mode} is not supported.*8-bit grey"):
        DecodedFiles().label_values(tmp_path / "a.png")


def test_label_values_are_returned(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 2, 7]], dtype=np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.array([[0, 2, 7]]) > 0).save(tmp_path / "b.png")
    assert DecodedFiles().label_values(tmp_path / "a.png") == {0, 2, 7}
    assert DecodedFiles().label_values(tmp_path / "b.png") == {0, 255}
