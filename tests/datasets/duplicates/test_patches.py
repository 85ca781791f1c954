"""The patch search equals a search written with loops if exact, and finds almost the same pairs if indexed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from taichinet.datasets.duplicates.fingerprint import take_fingerprint
from taichinet.datasets.duplicates.patches import Candidates, find_shared_patches, search_view
from taichinet.datasets.duplicates.sketches import ProbeIndex, best_of_each


def texture(seed: int, height: int = 180, width: int = 220) -> np.ndarray:
    field = gaussian_filter(np.random.default_rng(seed).standard_normal((height, width)), 6)
    pixels: np.ndarray = np.clip(128 + 40 * field / field.std(), 0, 255)
    return pixels.astype(np.uint8)


@cache
def unrelated_images_and_crops(count: int = 14) -> tuple[np.ndarray, ...]:
    """Unrelated images, then crops of the first three."""
    images = [texture(seed) for seed in range(count)]
    images += [image[20:160, 25:190] for image in images[:3]]
    reduced = [take_fingerprint(image).reduced for image in images]
    return tuple(image for image in reduced if image is not None)


def searched_by_loops(reduced: tuple[np.ndarray, ...]) -> dict[tuple[int, int], float]:
    """For each pair, the best correlation of a probe of one image with a window of the other, if it is at least 0.8."""
    probes = []
    for image in reduced:
        view = search_view(image, 1.0, 10)
        row = (view.shape[0] - 10 + 1) // 2
        columns = [int(place * (view.shape[1] - 10)) for place in (0.2, 0.5, 0.8)]
        probes.append([view[row : row + 10, column : column + 10].ravel() for column in columns])
    best: dict[tuple[int, int], float] = {}
    for target, image in enumerate(reduced):
        for magnification in (1.0, 1.18, 1.4):
            view = search_view(image, magnification, 10)
            windows = [
                view[row : row + 10, column : column + 10].ravel()
                for row in range(view.shape[0] - 9)
                for column in range(view.shape[1] - 9)
            ]
            for source, own_probes in enumerate(probes):
                if source != target:
                    pair = min(source, target), max(source, target)
                    highest = np.corrcoef(own_probes, windows)[:3, 3:].max()
                    best[pair] = max(best.get(pair, 0.0), float(highest))
    return {pair: score for pair, score in best.items() if score >= 0.8}


def as_pairs(candidates: Candidates) -> set[tuple[int, int]]:
    return {(min(a, b), max(a, b)) for a, b in zip(candidates.first.tolist(), candidates.second.tolist(), strict=True)}


def test_exact_search_equals_loops() -> None:
    expected = searched_by_loops(unrelated_images_and_crops())
    assert as_pairs(find_shared_patches(unrelated_images_and_crops())) == expected.keys()
    assert expected.keys() >= {(0, 14), (1, 15), (2, 16)}


def test_patch_of_a_crop_gives_the_position_of_the_crop() -> None:
    candidates = find_shared_patches(unrelated_images_and_crops())
    transform_of = {
        (a, b): t
        for a, b, t in zip(candidates.first.tolist(), candidates.second.tolist(), candidates.transform, strict=True)
    }
    crop_transform = {
        (14, 0): (165 / 220, 25 / 220, 140 / 180, 20 / 180),
        (0, 14): (220 / 165, -25 / 165, 180 / 140, -20 / 140),
    }
    (direction,) = crop_transform.keys() & transform_of.keys()
    assert transform_of[direction] == pytest.approx(np.array(crop_transform[direction]), abs=0.12)


def test_indexed_search_returns_only_the_best_matches_of_each_image() -> None:
    reduced = tuple(take_fingerprint(texture(seed)).reduced for seed in range(100, 140)) + unrelated_images_and_crops()
    exact, indexed = as_pairs(find_shared_patches(reduced)), as_pairs(find_shared_patches(reduced, most=2))
    assert indexed <= exact
    assert indexed >= {(40, 54), (41, 55), (42, 56)}
    assert len(indexed) <= 2 * len(reduced)


def test_zero_or_one_image_share_no_patch() -> None:
    assert len(find_shared_patches(())) == len(find_shared_patches(unrelated_images_and_crops()[:1], most=3)) == 0


def unit_rows(seed: int, count: int, size: int = 100) -> torch.Tensor:
    """Rows of unit norm that vary much more in some directions than in others, as images do."""
    spread = torch.linspace(3, 0.1, size) ** 2
    rows = torch.randn(count, size, generator=torch.Generator().manual_seed(seed)) * spread
    return torch.nn.functional.normalize(rows)


@pytest.mark.parametrize("least", [0.3, 0.5, 0.7])
def test_bound_of_exact_search_excludes_no_correlated_patch(least: float) -> None:
    patches, windows = unit_rows(0, 400), unit_rows(1, 700)
    hits = ProbeIndex.of(patches, in_cells=False).search(windows, least)
    product = windows.numpy() @ patches.numpy().T
    assert set(zip(hits.window.tolist(), hits.patch.tolist(), strict=True)) == {
        (int(a), int(b)) for a, b in np.argwhere(product >= least)
    }
    assert hits.correlation == pytest.approx(product[hits.window, hits.patch], abs=1e-5)


def test_cells_find_nearly_every_close_patch_without_repeated_pairs() -> None:
    patches = unit_rows(0, 3000)
    noise = torch.randn(3000, 100, generator=torch.Generator().manual_seed(2))
    windows = torch.nn.functional.normalize(patches + 0.06 * noise)
    hits = ProbeIndex.of(patches, in_cells=True).search(windows, 0.8)
    pairs = list(zip(hits.window.tolist(), hits.patch.tolist(), strict=True))
    product = windows.numpy() @ patches.numpy().T
    expected = {(int(a), int(b)) for a, b in np.argwhere(product >= 0.8)}
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) <= expected
    assert len(pairs) > 0.985 * len(expected)


def test_few_patches_are_searched_exactly() -> None:
    patches = unit_rows(3, 5)
    hits = ProbeIndex.of(patches, in_cells=True).search(patches, 0.99)
    assert hits.window.tolist() == hits.patch.tolist() == list(range(5))


def test_best_of_each_equals_sorting() -> None:
    rng = np.random.default_rng(0)
    owner, score = rng.integers(0, 7, 60), rng.integers(0, 9, 60).astype(np.float32)
    best = best_of_each(owner, score, 4)
    expected = []
    for number_of_owner in range(7):
        candidates = [number for number in range(60) if owner[number] == number_of_owner]
        expected += sorted(candidates, key=lambda number: (-score[number], number))[:4]
    assert best.tolist() == sorted(expected)
