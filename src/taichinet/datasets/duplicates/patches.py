"""The coarse search: pairs of images of which one contains a patch of the other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from taichinet.datasets.duplicates.fingerprint import WORKING_SIDE, FloatArray, IntArray, resize_by_area
from taichinet.datasets.duplicates.sketches import ProbeIndex, best_of_each

PATCH_SIDE = 10
PATCH_PLACES = (0.2, 0.5, 0.8)  # along the width, at half height: crops lose a side less often than depth
MAGNIFICATIONS = (1.0, 1.18, 1.4)  # of the wider crop against the tighter one
PATCH_CORRELATION = 0.80  # lower values give more pairs, but no further near-duplicates in BUSI
SEARCH_SIDE = 26  # the coarse search sees the area of this square
SEARCH_BLUR = 3.3  # px; removing what is smoother stops "bright above, dark below" from matching everything
IMAGES_AT_ONCE = 64  # about 100,000 windows, 40 MB

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Candidates:
    """Pairs of image numbers, and per pair (x scale, x shift, y scale, y shift) from `first` to `second`.

    Coordinates run from 0 to 1 over each image, so a rescaled copy is (1, 0, 1, 0) at any size.
    """

    first: IntArray
    second: IntArray
    transform: FloatArray

    def __len__(self) -> int:
        return len(self.first)

    def where(self, chosen: NDArray[np.bool_] | slice) -> Candidates:
        """The candidates that `chosen` selects."""
        return Candidates(self.first[chosen], self.second[chosen], self.transform[chosen])


@dataclass(frozen=True)
class _Matches:
    """For pairs (source, target): the best correlation of a probe with a window of the target, and their transform."""

    source: IntArray
    target: IntArray
    score: FloatArray
    transform: FloatArray

    def where(self, chosen: IntArray) -> _Matches:
        return _Matches(self.source[chosen], self.target[chosen], self.score[chosen], self.transform[chosen])


def find_shared_patches(images: Sequence[FloatArray], most: int | None = None) -> Candidates:
    """Find pairs of which one image contains a probe patch of the other; only the best patch of each pair.

    Args:
        images: Reduced images (H, W) of fingerprints.
        most: If None, the search is exact, and its cost grows with the square of the number of images. Otherwise
            probes are looked up in cells, and each image is compared with no more than its `most` best-matching
            others, so that cost and result grow with the number of images.

    Returns:
        The candidates.
    """
    if len(images) < 2:
        return Candidates(np.empty(0, np.intp), np.empty(0, np.intp), np.empty((0, 4), np.float32))
    patches, places = _probes(images)
    index = ProbeIndex.of(patches, in_cells=most is not None)

    def search(begin: int) -> _Matches:
        return _search(index, places, images, range(begin, min(begin + IMAGES_AT_ONCE, len(images))), most)

    with ThreadPoolExecutor(max_workers=2) as pool:
        parts = list(pool.map(search, range(0, len(images), IMAGES_AT_ONCE)))
    source = np.concatenate([part.source for part in parts])
    target = np.concatenate([part.target for part in parts])
    score = np.concatenate([part.score for part in parts])
    transform = np.concatenate([part.transform for part in parts])
    low, high = np.minimum(source, target), np.maximum(source, target)
    chosen = _first_of_each(np.lexsort((-score, high, low)), low, high)
    return Candidates(source[chosen], target[chosen], transform[chosen])


def _search(
    index: ProbeIndex, places: Boxes, images: Sequence[FloatArray], targets: range, most: int | None
) -> _Matches:
    """The best match of each image whose probe occurs in some of `targets`; at most `most` for each target."""
    rows, boxes, owners = [], [], []
    for number in targets:
        for magnification in MAGNIFICATIONS:
            view = search_view(images[number], magnification, PATCH_SIDE)
            rows.append(_unit_rows(_windows(view)))
            boxes.append(_window_boxes(view))
            owners.append(np.full(len(boxes[-1]), number, dtype=np.intp))
    hits = index.search(torch.cat(rows), PATCH_CORRELATION)
    target = np.concatenate(owners)[hits.window]
    source, place = np.divmod(hits.patch, len(PATCH_PLACES))
    order = np.lexsort((place, hits.window, -hits.correlation, source, target))
    best = _first_of_each(order[source[order] != target[order]], target, source)
    window, probe = np.concatenate(boxes)[hits.window[best]], places[source[best], place[best]]
    scale = window[:, 2:] / probe[:, 2:]
    shift = window[:, :2] - scale * probe[:, :2]
    transform = np.stack([scale[:, 0], shift[:, 0], scale[:, 1], shift[:, 1]], axis=1).astype(np.float32)
    matches = _Matches(source[best], target[best], hits.correlation[best], transform)
    return matches if most is None else matches.where(best_of_each(matches.target, matches.score, most))


def search_view(image: FloatArray, magnification: float, least_side: int) -> FloatArray:
    """`image` at the coarse search's size, its smooth part removed; no side below `least_side` pixels."""
    height, width = image.shape
    scale = magnification * SEARCH_SIDE / WORKING_SIDE
    reduced = resize_by_area(image, max(least_side, round(width * scale)), max(least_side, round(height * scale)))
    view: FloatArray = reduced - gaussian_filter(reduced, SEARCH_BLUR)
    return view


def _first_of_each(order: IntArray, *keys: IntArray) -> IntArray:
    """Of `order`, in which equal `keys` are neighbours, the first number of each."""
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    return order[fresh]


def _probes(images: Sequence[FloatArray]) -> tuple[Tensor, Boxes]:
    """Patches (images * places, PATCH_SIDE²) and their boxes (images, places, [x, y, width, height])."""
    patches, boxes = [], []
    for image in images:
        view = search_view(image, 1.0, PATCH_SIDE)
        windows = _windows(view)
        located = _window_boxes(view).reshape(*windows.shape[:2], 4)
        for place in PATCH_PLACES:
            at = windows.shape[0] // 2, int(place * (windows.shape[1] - 1))
            patches.append(windows[at])
            boxes.append(located[at])
    return _unit_rows(np.array(patches)), np.array(boxes).reshape(len(images), len(PATCH_PLACES), 4)


def _windows(view: FloatArray) -> FloatArray:
    """Every patch of `view`: (rows, columns, PATCH_SIDE, PATCH_SIDE), without copying."""
    return np.lib.stride_tricks.sliding_window_view(view, (PATCH_SIDE, PATCH_SIDE))


def _window_boxes(view: FloatArray) -> Boxes:
    """[x, y, width, height] of every patch of `view` (rows * columns, 4), as shares of the image."""
    height, width = view.shape
    row, column = np.mgrid[: height - PATCH_SIDE + 1, : width - PATCH_SIDE + 1].reshape(2, -1)
    size = np.ones(len(row))
    return np.stack([column / width, row / height, size * PATCH_SIDE / width, size * PATCH_SIDE / height], axis=1)


def _unit_rows(patches: FloatArray) -> Tensor:
    """Patches as rows of zero mean and unit norm: their product is a correlation. Flat patches have a smaller norm."""
    rows = patches.reshape(-1, PATCH_SIDE * PATCH_SIDE)
    rows = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return torch.from_numpy((rows / np.maximum(norm, PATCH_SIDE)).astype(np.float32))  # flat: below 1 grey level
