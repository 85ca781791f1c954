"""Training images are recognised by file bytes and by pixels, and changed copies by thumbnails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taichinet.datasets.duplicates.known_images import (
    SEEN_FILE,
    ImageDigests,
    check_leaks,
    read_seen_thumbnails,
    record_seen,
)
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.datasets.phantoms.phantom import make_phantom


def manifest(folder: Path, phantoms: dict[str, np.ndarray], name: str = "busi") -> Manifest:
    folder.mkdir(parents=True, exist_ok=True)
    for key, pixels in phantoms.items():
        Image.fromarray(pixels).save(folder / f"{key}.png")
    return Manifest(name, tuple(Sample(key, "benign", folder / f"{key}.png", ()) for key in phantoms))


@pytest.fixture(scope="module")
def phantoms() -> dict[str, np.ndarray]:
    return {str(seed): make_phantom(np.random.default_rng(seed), "benign", 96, 128).image for seed in range(12)}


def test_recorded_thumbnails_correlate_like_the_images(tmp_path: Path, phantoms: dict[str, np.ndarray]) -> None:
    images = manifest(tmp_path / "images", {**phantoms, "flat": np.full((96, 128), 9, np.uint8)})
    stored = read_seen_thumbnails(record_seen(images, tmp_path), tmp_path)
    assert stored is not None
    exact = ImageDigests(images).thumbnails
    np.testing.assert_allclose(stored @ stored.T, exact @ exact.T, atol=2e-3)
    assert (tmp_path / SEEN_FILE).stat().st_size < 2304 * len(exact) + 200


def test_changed_copies_are_near_duplicates_and_unrelated_images_are_not(
    tmp_path: Path, phantoms: dict[str, np.ndarray]
) -> None:
    trained = manifest(tmp_path / "trained", {key: phantoms[key] for key in "0123"})
    provenance = record_seen(trained, tmp_path)
    darker = (0.6 * phantoms["0"] + 20).astype(np.uint8)
    larger = np.asarray(Image.fromarray(phantoms["1"]).resize((256, 192), Image.Resampling.BICUBIC))
    candidates = manifest(
        tmp_path / "asked", {"same": phantoms["2"], "darker": darker, "larger": larger, "a": phantoms["7"]}
    )
    matches = check_leaks(provenance, ImageDigests(candidates), read_seen_thumbnails(provenance, tmp_path))
    assert (matches.known, matches.near) == (frozenset({"same"}), frozenset({"darker", "larger"}))
    assert matches.done == "compared by file bytes and decoded pixels; near-duplicates: 2 found by thumbnails"


def test_near_duplicates_are_not_checked_without_the_thumbnails_of_the_run(
    tmp_path: Path, phantoms: dict[str, np.ndarray]
) -> None:
    trained = manifest(tmp_path / "trained", {key: phantoms[key] for key in "0123"})
    provenance = record_seen(trained, tmp_path / "run")
    record_seen(manifest(tmp_path / "unrelated", {"7": phantoms["7"]}), tmp_path / "other run")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / SEEN_FILE).write_bytes((tmp_path / "run" / SEEN_FILE).read_bytes()[:500])
    for run in ("other run", "torn", "nowhere"):
        assert read_seen_thumbnails(provenance, tmp_path / run) is None
    for known in (provenance, {}):
        matches = check_leaks(known, ImageDigests(trained))
        assert not matches.by_thumbnails
        assert "not checked" in matches.done
    old = {"seen_images": provenance["seen_images"]}
    assert read_seen_thumbnails(old, tmp_path / "run") is None
    assert check_leaks(old, ImageDigests(trained)).done.endswith("near-duplicates: not checked")


def test_thumbnails_are_not_used_for_fundus_images(tmp_path: Path, phantoms: dict[str, np.ndarray]) -> None:
    fundus = manifest(tmp_path / "images", {"0": phantoms["0"]}, name="refuge")
    provenance = record_seen(fundus, tmp_path)
    matches = check_leaks({}, ImageDigests(fundus), read_seen_thumbnails(provenance, tmp_path))
    assert (matches.near, matches.by_thumbnails) == (frozenset(), False)
