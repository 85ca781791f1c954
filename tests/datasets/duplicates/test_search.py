"""Near-duplicates are found after common changes of a copy, and unrelated images are not grouped."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.dataset import DuplicateThresholds
from taichinet.datasets.duplicates.fingerprint import take_fingerprint
from taichinet.datasets.duplicates.search import DuplicateReport, manifest_duplicates, match_fingerprints
from taichinet.errors import DataError, SettingError

BUSI = Path(os.environ.get("TAICHINET_DATA", ""), "Dataset_BUSI_with_GT")
DDTI = Path(os.environ.get("TAICHINET_DATA", ""), "DDTI")


@cache
def scene(seed: int, height: int = 300, width: int = 380) -> np.ndarray:
    """A synthetic scan: layers common to all scenes (bright above, dark below), with a blob and speckle of its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    layers = 140 - 80 * y / height + 15 * np.sin(y / 17)
    tissue = 60 * gaussian_filter(rng.standard_normal((height, width)), (5, 12)) * 10
    speckle = np.abs(gaussian_filter(rng.standard_normal((height, width)), 1.5)) * 5
    centre_y, centre_x = rng.uniform(0.3, 0.6) * height, rng.uniform(0.3, 0.7) * width
    radius_y, radius_x = rng.uniform(25, 50), rng.uniform(30, 70)
    blob = 1 / (1 + np.exp(6 * (1 - np.hypot((y - centre_y) / radius_y, (x - centre_x) / radius_x))))
    scan: np.ndarray = np.clip((layers + 0.5 * tissue) * (0.4 + speckle) * (0.25 + 0.75 * blob), 0, 255)
    return scan.astype(np.uint8)


def rescaled(image: np.ndarray) -> np.ndarray:
    height, width = image.shape
    return np.asarray(Image.fromarray(image).resize((int(0.7 * width), int(0.7 * height))))


def cropped(image: np.ndarray) -> np.ndarray:
    height, width = image.shape
    return image[int(0.10 * height) : int(0.87 * height), int(0.15 * width) : int(0.88 * width)]


def with_marks(image: np.ndarray) -> np.ndarray:
    """Four caliper crosses, the dotted line between two of them, and strokes like a line of text."""
    copy = image.copy()
    for y, x in ((90, 120), (90, 260), (60, 190), (170, 190)):
        copy[y - 5 : y + 6, x] = copy[y, x - 5 : x + 6] = 255
    copy[90, 120:260:4] = 255
    for x in range(20, 110, 7):
        copy[265:277, x : x + 3] = 255
    return copy


def darkened(image: np.ndarray) -> np.ndarray:
    return (240 * (image / 255) ** 1.5).astype(np.uint8)


COPIES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "identical": (np.copy, "identical"),
    "rescaled": (rescaled, "rescaled"),
    "cropped": (cropped, "cropped"),
    "cropped and rescaled": (lambda image: rescaled(cropped(image)), "cropped"),
    "marked": (with_marks, "altered"),
    "marked and cropped": (lambda image: cropped(with_marks(image)), "cropped"),
    "darkened": (darkened, "altered"),
}


def find_near_duplicates(images: Mapping[str, np.ndarray]) -> DuplicateReport:
    return match_fingerprints({key: take_fingerprint(image, key) for key, image in images.items()})


def unrelated_scenes(count: int = 8) -> dict[str, np.ndarray]:
    return {f"scene {seed}": scene(seed) for seed in range(count)}


def pairs(report: DuplicateReport) -> set[tuple[str, str]]:
    return {(pair.first, pair.second) for pair in report.pairs}


@pytest.mark.parametrize("change", COPIES)
def test_changed_copy_is_grouped_with_its_original_only(change: str) -> None:
    alter, kind = COPIES[change]
    images = unrelated_scenes()
    images |= {f"copy {seed}": alter(images[f"scene {seed}"]) for seed in range(3)}

    report = find_near_duplicates(images)

    assert report.groups == tuple((f"copy {seed}", f"scene {seed}") for seed in range(3))
    assert {pair.kind for pair in report.pairs} == {kind}
    assert all(0.5 <= pair.score <= 1 for pair in report.pairs)


@pytest.mark.parametrize("change", COPIES)
def test_search_for_large_data_sets_gives_the_same_groups(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = unrelated_scenes(20)
    images |= {f"copy {seed}": COPIES[change][0](images[f"scene {seed}"]) for seed in range(3)}
    exact = find_near_duplicates(images)
    monkeypatch.setattr("taichinet.datasets.duplicates.search.EXACT_UP_TO", 0)
    monkeypatch.setattr("taichinet.datasets.duplicates.search.MOST_NEIGHBOURS", 4)
    indexed = find_near_duplicates(images)
    assert (indexed.groups, pairs(indexed)) == (exact.groups, pairs(exact))
    assert find_near_duplicates(dict(reversed(images.items()))) == indexed


def test_different_scenes_of_one_generator_are_not_grouped() -> None:
    report = find_near_duplicates(unrelated_scenes(24))
    assert report.pairs == ()
    assert report.groups == ()


def test_overlapping_crops_of_one_scene_are_grouped() -> None:
    original = scene(3)
    images = unrelated_scenes(3) | {"left": original[:250, :300], "right": original[40:, 70:]}
    assert find_near_duplicates(images).groups == (("left", "right"),)


def test_copies_of_a_copy_form_one_group() -> None:
    original = scene(1)
    report = find_near_duplicates(
        {"a": original, "b": cropped(original), "c": rescaled(cropped(original)), "d": scene(2)}
    )
    assert report.groups == (("a", "b", "c"),)
    assert report.covered == 3


def test_result_is_independent_of_input_order_and_repetition() -> None:
    images = unrelated_scenes(4)
    images |= {f"copy {seed}": cropped(images[f"scene {seed}"]) for seed in range(3)}
    first = find_near_duplicates(images)
    assert find_near_duplicates(images) == first
    assert find_near_duplicates(dict(reversed(images.items()))) == first
    assert list(first.pairs) == sorted(first.pairs, key=lambda pair: (pair.first, pair.second))


def test_constant_image_matches_only_its_exact_copy() -> None:
    images = unrelated_scenes(4) | {
        "black": np.zeros((90, 120), np.uint8),
        "black again": np.zeros((90, 120), np.uint8),
        "black, smaller": np.zeros((60, 80), np.uint8),
        "grey": np.full((90, 120), 127, np.uint8),
    }
    assert find_near_duplicates(images).groups == (("black", "black again"),)


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (500, 3), (8, 8)])
def test_tiny_and_thin_images_raise_no_error(shape: tuple[int, int]) -> None:
    odd = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images = unrelated_scenes(2) | {"odd": odd, "odd again": odd.copy()}
    assert find_near_duplicates(images).groups == (("odd", "odd again"),)


def test_input_is_unchanged() -> None:
    image = scene(0)
    image.flags.writeable = False  # as Pillow's arrays are
    before = image.copy()
    find_near_duplicates({"a": image, "b": scene(1)})
    assert np.array_equal(image, before)


def test_zero_or_one_image_has_no_duplicates() -> None:
    assert find_near_duplicates({}) == DuplicateReport((), ())
    assert find_near_duplicates({"only": scene(0)}) == DuplicateReport((), ())


def test_colour_image_is_rejected_with_its_key() -> None:
    with pytest.raises(DataError, match="benign 7: uint8 of shape"):
        find_near_duplicates({"benign 7": np.zeros((5, 5, 3), np.uint8)})


@pytest.mark.parametrize("correlation", [0.1, 1.5])
def test_threshold_outside_its_range_is_rejected(correlation: float) -> None:
    with pytest.raises(SettingError, match="thumbnail"):
        DuplicateThresholds(correlation)
    with pytest.raises(SettingError, match="detail"):
        DuplicateThresholds(detail=correlation)


@pytest.mark.real
@pytest.mark.skipif(not BUSI.is_dir(), reason="TAICHINET_DATA has no folder Dataset_BUSI_with_GT")
def test_known_duplicates_of_real_busi_are_grouped_by_both_searches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [file for file in BUSI.rglob("*.png") if "_mask" not in file.stem]
    images = {file.stem: np.asarray(Image.open(file).convert("L")) for file in files}

    report = find_near_duplicates(images)
    assert len(images) == 780
    known = (  # the images of each tuple show one scene
        ("benign (433)", "malignant (145)"),
        ("benign (437)", "normal (34)"),
        ("benign (269)", "normal (1)"),
        ("benign (131)", "benign (42)", "malignant (51)"),
        ("benign (399)", "malignant (93)"),
        ("benign (164)", "benign (85)", "malignant (52)"),
    )
    for scene_keys in known:
        assert any(set(scene_keys) <= set(group) for group in report.groups), scene_keys
    assert {pair for pair in pairs(report) if "malignant (145)" in pair} == {("benign (433)", "malignant (145)")}
    assert [(p.first, p.second) for p in report.pairs if p.kind == "identical"] == [("benign (433)", "malignant (145)")]
    together = {pair for group in report.groups for pair in combinations(group, 2)}
    assert pairs(report) <= together
    assert (len(report.groups), report.covered) == (153, 346)
    assert max(map(len, report.groups)) == 7  # seven frames of one sweep, benign (61) to (122)

    monkeypatch.setattr("taichinet.datasets.duplicates.search.EXACT_UP_TO", 0)
    indexed = find_near_duplicates(images)
    assert indexed.groups == report.groups
    assert pairs(indexed) == pairs(report)


@pytest.mark.real
@pytest.mark.skipif(not DDTI.is_dir(), reason="TAICHINET_DATA has no folder DDTI")
def test_unrelated_images_of_real_ddti_are_not_grouped_by_their_screen_border() -> None:
    report = manifest_duplicates(open_dataset(DDTI))
    assert report.groups == (  # by visual inspection; 424 and 426 are from one sweep
        ("1", "2"),
        ("181", "294", "295", "325", "71"),
        ("183", "184"),
        ("251", "252"),
        ("332", "389"),
        ("424", "426"),
        ("467", "468"),
    )
