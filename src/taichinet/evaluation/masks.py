"""Masks and probability maps at the original resolution of an image, with NumPy only: `predict` needs no more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taichinet.runner import label_components

Mask = NDArray[np.bool_]


def resize_probability(probability: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Resize a probability map bilinearly, as `torch.nn.functional.interpolate` with align_corners=False.

    The positions and weights have the rounding of PyTorch, so that the results differ by that of the last sum only.

    Args:
        probability: Map at the input resolution of the network, float32 (H, W).
        size: (height, width) of the result, the original resolution of the image.

    Returns:
        The resized map, float32.
    """
    rows, columns = (_Axis(given, wanted) for given, wanted in zip(probability.shape, size, strict=True))
    wide = probability[:, columns.first] * (1 - columns.share) + probability[:, columns.second] * columns.share
    share = rows.share[:, None]
    return np.asarray(wide[rows.first] * (1 - share) + wide[rows.second] * share, dtype=np.float32)


class _Axis:
    """The two pixels of an axis of `given` pixels between which each of `wanted` pixels is, and the second's share."""

    def __init__(self, given: int, wanted: int) -> None:
        scale = np.float32(given) / np.float32(wanted)
        # Float64 up to here, because PyTorch multiplies and subtracts with one rounding.
        position = np.maximum((np.arange(wanted) + 0.5) * float(scale) - 0.5, 0).astype(np.float32)
        self.first = np.minimum(position.astype(np.intp), given - 1)
        self.second = np.minimum(self.first + 1, given - 1)
        self.share = np.clip(position - self.first.astype(np.float32), 0, 1)


def count_components(mask: Mask) -> int:
    """Number of connected components of a mask (H, W), with 8 neighbours per pixel."""
    labels = label_components(mask, diagonal=True)
    return int(np.count_nonzero(np.bincount(labels.ravel())[1:]))
