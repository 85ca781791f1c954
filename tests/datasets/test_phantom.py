"""Phantoms: shapes, speckle statistics and written files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull

from taichinet.datasets.duplicates.search import manifest_duplicates
from taichinet.datasets.phantoms.folder import MARKER, known_duplicates, write_phantom_busi
from taichinet.datasets.phantoms.phantom import LABELS, Label, Phantom, log_compress, make_phantom, speckle_envelope
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import DataError, SettingError
from taichinet.progress import progress_to


def draw(label: Label, count: int, height: int = 96, width: int = 128) -> list[Phantom]:
    return [make_phantom(np.random.default_rng([7, k]), label, height, width) for k in range(count)]


def files_of(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("label", LABELS)
def test_identical_seed_gives_identical_phantom_and_other_seed_another(label: Label) -> None:
    first, again, other = (make_phantom(np.random.default_rng(seed), label, 96, 128) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.lesion, again.lesion)
    assert (first.image != other.image).mean() > 0.5


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("shape", [(64, 64), (192, 256), (150, 70)])
def test_image_and_mask_have_the_requested_size_and_type(label: Label, shape: tuple[int, int]) -> None:
    phantom = make_phantom(np.random.default_rng(0), label, *shape)
    assert phantom.image.shape == phantom.lesion.shape == shape
    assert phantom.image.dtype == np.uint8
    assert phantom.lesion.dtype == bool
    assert phantom.label == label
    assert np.ptp(phantom.image) > 100


def test_normal_phantom_has_no_lesion() -> None:
    assert not any(phantom.lesion.any() for phantom in draw("normal", 20))


@pytest.mark.parametrize("label", ["benign", "malignant"])
def test_lesion_covers_2_to_25_per_cent_and_is_inside_the_image(label: Label) -> None:
    phantoms = draw(label, 60)
    shares = np.array([phantom.lesion.mean() for phantom in phantoms])
    assert shares.min() >= 0.02
    assert shares.max() <= 0.25
    assert shares.max() / shares.min() > 4
    for phantom in phantoms:
        edge = phantom.lesion.copy()
        edge[1:-1, 1:-1] = False
        assert not edge.any()


def test_some_images_have_two_lesions_but_most_have_one() -> None:
    counts = [ndimage.label(phantom.lesion, np.ones((3, 3)))[1] for phantom in draw("malignant", 80)]
    assert set(counts) == {1, 2}
    assert counts.count(1) > 60


@pytest.mark.slow
def test_lesions_are_darker_than_their_surroundings_on_average_but_not_always() -> None:
    contrasts = []
    for phantom in draw("benign", 50) + draw("malignant", 50):
        wide = ndimage.binary_dilation(phantom.lesion, iterations=6)
        near = ndimage.binary_dilation(phantom.lesion, iterations=2)
        contrasts.append(phantom.image[phantom.lesion].mean() - phantom.image[wide & ~near].mean())
    assert np.mean(contrasts) < -15
    assert 0.03 < np.mean(np.array(contrasts) > -15) < 0.4  # some lesions are iso- or hyperechoic


def test_malignant_lesion_fills_less_of_its_convex_hull_than_benign() -> None:
    def solidity(phantom: Phantom) -> float:
        pieces, _ = ndimage.label(phantom.lesion, np.ones((3, 3)))
        largest = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
        return float(largest.sum() / ConvexHull(np.argwhere(largest)).volume)  # in 2-D the volume is the area

    benign, malignant = (np.mean([solidity(p) for p in draw(label, 30)]) for label in ("benign", "malignant"))
    assert malignant < benign - 0.05


def test_one_look_of_uniform_tissue_has_rayleigh_statistics() -> None:
    envelope = speckle_envelope(np.random.default_rng(1), np.zeros((192, 256)), looks=1)
    assert envelope.mean() / envelope.std() == pytest.approx(1.91, abs=0.08)
    top, bottom = envelope[:48].mean(), envelope[-48:].mean()
    assert bottom / top == pytest.approx(1.0, abs=0.12)  # the widening beam does not change the level


def test_averaging_looks_reduces_speckle_by_the_root_of_their_number() -> None:
    rng = np.random.default_rng(2)
    single, four = (speckle_envelope(rng, np.zeros((192, 256)), looks) ** 2 for looks in (1, 4))
    assert (four.mean() / four.std()) / (single.mean() / single.std()) == pytest.approx(2.0, rel=0.15)


def test_ten_decibels_in_tissue_are_ten_decibels_in_the_envelope() -> None:
    weak, strong = (speckle_envelope(np.random.default_rng(3), np.full((96, 128), level)) for level in (-10.0, 0.0))
    np.testing.assert_allclose(20 * np.log10(strong / weak), 10.0, atol=1e-6)


def test_log_compression_keeps_the_order_of_levels() -> None:
    envelope = np.tile(10 ** (np.linspace(-45, 0, 96)[:, None] / 20), (1, 128))
    rows = log_compress(np.random.default_rng(0), envelope).mean(axis=1)
    assert (np.diff(rows[::8]) > 0).all()


def test_folder_has_the_layout_of_busi(tmp_path: Path) -> None:
    progress: list[tuple[str, int, int]] = []
    with progress_to(lambda *p: progress.append(p)):
        root = write_phantom_busi(tmp_path / "set", 3, 2, 1, seed=5, size=(64, 96))
    assert progress == [("simulating phantoms", k, 6) for k in range(1, 7)]
    for label, count in (("benign", 3), ("malignant", 2), ("normal", 1)):
        for number in range(1, count + 1):
            with Image.open(root / label / f"{label} ({number}).png") as image:
                assert (image.mode, image.size) == ("L", (96, 64))
            with Image.open(root / label / f"{label} ({number})_mask.png") as mask:
                assert (mask.mode, mask.size) == ("1", (96, 64))
                assert np.asarray(mask).any() == (label != "normal")
    images = list(root.rglob("*.png"))
    assert json.loads((root / MARKER).read_text())["files"] == len(images)


def test_second_lesion_has_its_own_mask_file(tmp_path: Path) -> None:
    root = write_phantom_busi(tmp_path / "set", 40, 0, 0, seed=0, size=(64, 64))
    seconds = sorted((root / "benign").glob("*_mask_1.png"))
    assert 1 <= len(seconds) <= 12
    for path in seconds:
        with (
            Image.open(path) as second,
            Image.open(path.with_name(path.name.replace("_1.png", ".png"))) as first,
        ):
            assert np.asarray(second).any()
            assert not (np.asarray(second) & np.asarray(first)).any()


def test_image_is_independent_of_the_number_of_images(tmp_path: Path) -> None:
    few = files_of(write_phantom_busi(tmp_path / "few", 1, 2, 1, seed=9, size=(64, 64)))
    many = files_of(write_phantom_busi(tmp_path / "many", 4, 3, 2, seed=9, size=(64, 64)))
    assert all(many[name] == content for name, content in few.items() if name != MARKER)
    assert len({content for name, content in many.items() if "mask" not in name}) == 4 + 3 + 2 + 1


def test_second_versions_are_near_duplicates_and_follow_the_other_images(tmp_path: Path) -> None:
    alone = files_of(write_phantom_busi(tmp_path / "alone", 4, 3, 1, seed=9, size=(96, 128)))
    root = write_phantom_busi(tmp_path / "twice", 4, 3, 1, seed=9, size=(96, 128), near_duplicates=2)
    twice = files_of(root)
    assert all(twice[name] == content for name, content in alone.items() if name != MARKER)
    known = known_duplicates(4, 3, near_duplicates=2)
    assert known == [
        ("benign (1)", "benign (5)"),
        ("benign (2)", "benign (6)"),
        ("malignant (1)", "malignant (4)"),
        ("malignant (2)", "malignant (5)"),
    ]
    report = manifest_duplicates(DATASET.read(root))
    assert [(pair.first, pair.second) for pair in report.pairs] == known
    assert "identical" not in {pair.kind for pair in report.pairs}


def test_complete_set_is_reused_and_damaged_set_rewritten(tmp_path: Path) -> None:
    def write() -> int:
        calls: list[int] = []
        with progress_to(lambda text, done, total: calls.append(done)):
            write_phantom_busi(tmp_path, 2, 1, 1, 0, (64, 64))
        return len(calls)

    assert write() == 4
    before = files_of(tmp_path)
    assert write() == 0
    (tmp_path / "benign" / "benign (2)_mask.png").unlink()
    assert write() == 4
    assert files_of(tmp_path) == before


def test_unfinished_set_is_rewritten(tmp_path: Path) -> None:
    def stop(text: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), progress_to(stop):
        write_phantom_busi(tmp_path / "a", 2, 1, 0, 0, (64, 64))
    write_phantom_busi(tmp_path / "a", 2, 1, 0, 0, (64, 64))
    write_phantom_busi(tmp_path / "b", 2, 1, 0, 0, (64, 64))
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_smaller_set_removes_old_phantoms_but_keeps_other_files(tmp_path: Path) -> None:
    write_phantom_busi(tmp_path, 4, 1, 1, 0, (64, 64))
    (tmp_path / "benign" / "notes.txt").write_text("mine")
    write_phantom_busi(tmp_path, 1, 1, 1, 0, (64, 64))
    names = {path.name for path in (tmp_path / "benign").iterdir()}
    assert names - {"benign (1)_mask_1.png"} == {"benign (1).png", "benign (1)_mask.png", "notes.txt"}


@pytest.mark.parametrize("name", ["holiday.png", MARKER])
def test_folder_with_other_files_is_rejected_unchanged(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("not a phantom set")
    with pytest.raises(DataError, match="new or empty folder") as caught:
        write_phantom_busi(tmp_path, 1, 1, 1, 0)
    assert str(tmp_path) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_file_instead_of_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("a file")
    with pytest.raises(DataError, match="set"):
        write_phantom_busi(tmp_path / "set", 1, 1, 1, 0)


def test_invalid_settings_are_reported_with_their_value(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(SettingError, match="Did you mean 'benign'"):
        make_phantom(rng, "bening")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="32 x 256"):
        make_phantom(rng, "benign", 32, 256)
    with pytest.raises(SettingError, match="malignant=-1"):
        write_phantom_busi(tmp_path / "set", 1, -1, 1, 0)
    with pytest.raises(SettingError, match="20 x 20"):
        write_phantom_busi(tmp_path / "set", 1, 1, 1, 0, (20, 20))
    assert not (tmp_path / "set").exists()
