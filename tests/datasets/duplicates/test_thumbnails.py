"""Similar thumbnails are those that numpy's correlation finds, whatever the sketches rule out beforehand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from taichinet.datasets.duplicates.sketches import similar_thumbnails


def rows(count: int, alike: float, seed: int = 0) -> np.ndarray:
    """Smooth pictures as unit rows; the greater `alike`, the more they share."""
    rng = np.random.default_rng(seed)
    shared = gaussian_filter(rng.standard_normal((20, 20)), 2)
    pictures = np.stack([alike * shared + gaussian_filter(rng.standard_normal((20, 20)), 2) for _ in range(count)])
    flat = pictures.reshape(count, -1) - pictures.reshape(count, -1).mean(axis=1, keepdims=True)
    flat[7] = 0  # a picture that shows nothing
    unit: np.ndarray = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    return unit.astype(np.float32)


@pytest.mark.parametrize("alike", [1.0, 3.0, 20.0])  # the last: nearly all pairs, as in fundus pictures
def test_pairs_are_those_of_numpy_across_blocks(alike: float) -> None:
    thumbnails = rows(600, alike)
    pairs, score = similar_thumbnails(thumbnails, 0.9)
    with np.errstate(invalid="ignore"):
        whole = np.corrcoef(thumbnails)
    expected = {(a, b) for a, b in combinations(range(600), 2) if whole[a, b] >= 0.9}
    assert {(int(a), int(b)) for a, b in pairs} == expected
    assert score == pytest.approx(whole[pairs[:, 0], pairs[:, 1]], abs=1e-5)
    assert len(expected) > 0 or alike == 1.0


def test_each_is_offered_its_most_alike_only() -> None:
    thumbnails = rows(300, 20.0)
    pairs, score = similar_thumbnails(thumbnails, 0.5, most=3)
    whole = thumbnails @ thumbnails.T
    np.fill_diagonal(whole, -1)
    expected = {tuple(sorted((a, int(b)))) for a in range(300) if a != 7 for b in np.argsort(-whole[a])[:3]}
    assert {(int(a), int(b)) for a, b in pairs} == expected
    assert len(score) == len(pairs)


def test_one_thumbnail_is_like_no_other() -> None:
    pairs, score = similar_thumbnails(rows(8, 1.0)[:1], 0.5)
    assert pairs.shape == (0, 2)
    assert len(score) == 0
