"""Similar thumbnails equal those found by numpy's correlation, although sketches exclude pairs beforehand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from taichinet.datasets.duplicates.sketches import similar_thumbnails


def thumbnail_rows(count: int, similarity: float, seed: int = 0) -> np.ndarray:
    """Smooth images as unit rows; the greater `similarity`, the more they share."""
    rng = np.random.default_rng(seed)
    shared = gaussian_filter(rng.standard_normal((20, 20)), 2)
    images = np.stack([similarity * shared + gaussian_filter(rng.standard_normal((20, 20)), 2) for _ in range(count)])
    flat = images.reshape(count, -1) - images.reshape(count, -1).mean(axis=1, keepdims=True)
    flat[7] = 0  # a constant image
    unit: np.ndarray = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    return unit.astype(np.float32)


@pytest.mark.parametrize("similarity", [1.0, 3.0, 20.0])  # the last value gives nearly all pairs, as fundus images do
def test_pairs_equal_those_of_numpy_across_blocks(similarity: float) -> None:
    thumbnails = thumbnail_rows(600, similarity)
    pairs, score = similar_thumbnails(thumbnails, 0.9)
    with np.errstate(invalid="ignore"):
        correlation = np.corrcoef(thumbnails)
    expected = {(a, b) for a, b in combinations(range(600), 2) if correlation[a, b] >= 0.9}
    assert {(int(a), int(b)) for a, b in pairs} == expected
    assert score == pytest.approx(correlation[pairs[:, 0], pairs[:, 1]], abs=1e-5)
    assert len(expected) > 0 or similarity == 1.0


def test_only_the_most_similar_thumbnails_are_returned() -> None:
    thumbnails = thumbnail_rows(300, 20.0)
    pairs, score = similar_thumbnails(thumbnails, 0.5, most=3)
    correlation = thumbnails @ thumbnails.T
    np.fill_diagonal(correlation, -1)
    expected = {tuple(sorted((a, int(b)))) for a in range(300) if a != 7 for b in np.argsort(-correlation[a])[:3]}
    assert {(int(a), int(b)) for a, b in pairs} == expected
    assert len(score) == len(pairs)


def test_single_thumbnail_has_no_pair() -> None:
    pairs, score = similar_thumbnails(thumbnail_rows(8, 1.0)[:1], 0.5)
    assert pairs.shape == (0, 2)
    assert len(score) == 0
