"""Alignment recovers a known scale and shift, and its correlation equals numpy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from taichinet.datasets.duplicates.alignment import align
from taichinet.datasets.duplicates.patches import Candidates

SIDE = 64
KNOWN = (0.9, 0.06, 0.95, 0.03)  # x scale, x shift, y scale, y shift


def crop_image_and_unrelated() -> torch.Tensor:
    """The crop by `KNOWN` of an image, the image itself, and an unrelated image."""
    rng = np.random.default_rng(0)
    moving, unrelated = (gaussian_filter(rng.standard_normal((SIDE, SIDE)), 2) * 10 for _ in range(2))
    centres = (np.arange(SIDE) + 0.5) / SIDE
    rows, columns = (KNOWN[2] * centres + KNOWN[3]) * SIDE - 0.5, (KNOWN[0] * centres + KNOWN[1]) * SIDE - 0.5
    fixed = map_coordinates(moving, np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest")
    return torch.from_numpy(np.stack([fixed, moving, unrelated])).float()


def starts(*transforms: tuple[float, ...], second: int = 1) -> Candidates:
    count = len(transforms)
    return Candidates(np.zeros(count, np.intp), np.full(count, second), np.array(transforms, np.float32))


def test_crop_is_aligned_from_an_inexact_start() -> None:
    correlation, transform = align(crop_image_and_unrelated(), starts((1, 0, 1, 0), (0.88, 0.08, 0.97, 0.01)))
    assert correlation == pytest.approx(1, abs=1e-3)
    assert transform == pytest.approx(np.array([KNOWN, KNOWN]), abs=2e-3)


def test_correlation_of_a_start_is_computed_over_the_overlapping_pixels() -> None:
    fixed, moving, _ = crop_image_and_unrelated().numpy()
    shift = 6 / SIDE
    correlation, transform = align(crop_image_and_unrelated(), starts((1, shift, 1, 0)), steps=0)
    assert transform[0].tolist() == pytest.approx([1, shift, 1, 0])
    expected = np.corrcoef(fixed[:, :-6].ravel(), moving[:, 6:].ravel())[0, 1]
    assert correlation[0] == pytest.approx(expected, abs=1e-3)


def test_unrelated_images_have_low_correlation_and_small_overlaps_are_rejected() -> None:
    correlation, _ = align(crop_image_and_unrelated(), starts((1, 0, 1, 0), second=2))
    assert correlation[0] < 0.5
    correlation, _ = align(crop_image_and_unrelated(), starts((1, 0.9, 1, 0)), steps=0)
    assert correlation[0] == -1


def test_pair_is_aligned_equally_alone_and_in_a_batch() -> None:
    transforms = [(1, 0.01 * number, 1, 0) for number in range(-9, 10)] * 10
    in_batch, _ = align(crop_image_and_unrelated(), starts(*transforms))
    alone, _ = align(crop_image_and_unrelated(), starts(transforms[5]))
    assert in_batch[5] == pytest.approx(alone[0], abs=1e-5)
    assert len(in_batch) == len(transforms)
