"""Co-occurrence maps against loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from taichinet.models.baselines.de_resunet import texture_maps


def mirrored(place: int, length: int) -> int:
    """`place`, mirrored at the border if outside; the border pixel is not repeated."""
    return abs(place) if place < length else 2 * (length - 1) - place


def by_loops(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """The four maps of one grey image (H, W) in [0, 1]."""
    height, width = image.shape
    level = np.minimum((image * 255) // 32, 7).astype(int)
    maps = np.zeros((4, height, width))
    for row in range(height):
        for column in range(width):
            table = np.zeros((8, 8))
            for r in (mirrored(row + d, height) for d in range(-2, 3)):
                for c in (mirrored(column + d, width) for d in range(-2, 3)):
                    table[level[r, c], level[r, min(c + 1, width - 1)]] += 1
            assert table.sum() == 25
            i, j = np.indices((8, 8))
            mean = (i * table).sum() / 64
            maps[:, row, column] = (
                mean,
                np.sqrt(((i * table - mean) ** 2).sum()),
                ((i - j) ** 2 * table).sum(),
                (np.abs(i - j) * table).sum(),
            )
    return maps / 255


@pytest.mark.parametrize("shape", [(7, 9), (16, 16)])
def test_maps_equal_loops_over_pixels_and_pairs(shape: tuple[int, int]) -> None:
    image = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(3))
    maps = texture_maps(image)
    for image_maps, grey in zip(maps, image, strict=True):
        np.testing.assert_allclose(image_maps.numpy(), by_loops(grey[0].double().numpy()), rtol=1e-4, atol=1e-5)


def test_constant_image_has_no_contrast() -> None:
    maps = texture_maps(torch.full((1, 1, 8, 8), 0.5))
    assert float(maps[:, 2:].abs().max()) == 0
    assert maps[0, 0, 4, 4] == pytest.approx(3 * 25 / 64 / 255)


def test_channels_are_averaged_and_autocast_changes_nothing() -> None:
    image = torch.rand(1, 3, 16, 16)
    expected = texture_maps(image.mean(dim=1, keepdim=True))
    assert torch.equal(texture_maps(image), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(texture_maps(image), expected)


def test_white_is_the_last_level_and_black_the_first() -> None:
    white, black = (texture_maps(torch.full((1, 1, 8, 8), value))[0, 0, 4, 4] for value in (1.0, 0.0))
    assert white == pytest.approx(7 * 25 / 64 / 255)
    assert black == 0
