"""The coarse search: pairs of images of which one contains a patch of the other, without all products.

The bound: rotate the patches so that their variance comes first, and keep the first numbers and the norm of the rest.
For rows p, w the product of such sketches, p1·w1 + |p2| |w2|, is never below p·w (Cauchy and Schwarz). Pairs that it
rules out need no exact correlation, and none is missed. The cells, only for many patches: each patch is stored under
its nearest centres, and a window is compared with the cell of its own nearest centre; other patches are missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from taichinet.datasets.duplicates.fingerprint import (
    SLACK,
    WORKING_SIDE,
    FloatArray,
    IntArray,
    best_of_each,
    resize_by_area,
)

PATCH_SIDE = 10
PATCH_PLACES = (0.2, 0.5, 0.8)  # along the width, at half height: crops lose a side less often than depth
MAGNIFICATIONS = (1.0, 1.18, 1.4)  # of the wider crop against the tighter one
PATCH_CORRELATION = 0.80  # lower values give more pairs, but no further near-duplicates in BUSI
SEARCH_SIDE = 26  # the coarse search sees the area of this square
SEARCH_BLUR = 3.3  # px; removing what is smoother stops "bright above, dark below" from matching everything
IMAGES_AT_ONCE = 64  # about 100,000 windows, 40 MB
PATCH_DIRECTIONS = 31  # numbers kept of a patch: in BUSI one product in 7,000 passes the bound; 32 are aligned
CELLS = 512  # more take longer to choose from than they save up to 10,000 images
LEAST_FILED = 8  # patches to a cell: fewer make cells that cost more than they save
FILED_UNDER = 8  # cells that contain one patch
ROUNDS = 4  # of k-means; more move no patch that matters
WINDOWS_AT_ONCE = 256  # by some thousand patches: the products stay in the processor's cache
PRODUCTS_AT_ONCE = 2**19

Boxes = NDArray[np.float64]
Matches = tuple[IntArray, IntArray, FloatArray, FloatArray]


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
class Hits:
    """Numbers of windows and of patches that correlate, parallel, and how much."""

    window: IntArray
    patch: IntArray
    correlation: FloatArray


@dataclass(frozen=True)
class ProbeIndex:
    """Patches as rows (P, D) of norm 1 or less, their sketches (P, 32), and the cells in which they are stored.

    Without `centres` (0, 31) there is one cell with all patches, and the search is exact.
    """

    patches: Tensor
    basis: Tensor
    sketches: Tensor
    centres: Tensor
    cells: tuple[IntArray, ...]

    @classmethod
    def of(cls, patches: Tensor, in_cells: bool) -> ProbeIndex:
        """The index of `patches` (P, D); the same patches in the same order give the same index."""
        spread = torch.linalg.eigh(patches.T @ patches)
        basis = spread.eigenvectors[:, -PATCH_DIRECTIONS:].contiguous()
        sketches = _sketch(patches, basis)
        if not in_cells:
            return cls(patches, basis, sketches, sketches[:0, :-1], (np.arange(len(patches)),))
        centres = _centres(sketches[:, :-1])
        filed = (sketches[:, :-1] @ centres.T).topk(min(FILED_UNDER, len(centres)), dim=1).indices
        order = torch.argsort(filed.flatten(), stable=True)
        sizes = torch.bincount(filed.flatten(), minlength=len(centres))
        members = np.split((order // filed.shape[1]).numpy(), np.cumsum(sizes.numpy())[:-1])
        return cls(patches, basis, sketches, centres, tuple(members))

    def search(self, windows: Tensor, least: float) -> Hits:
        """The pairs of `windows` (W, D; rows of norm 1 or less) and patches that correlate at `least` or more."""
        sketches = _sketch(windows, self.basis)
        window_parts, patch_parts = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
        order, borders = self._by_cell(sketches)
        sketches = sketches[torch.from_numpy(order)]
        product = torch.empty(WINDOWS_AT_ONCE * max(len(members) for members in self.cells))
        for cell, members in enumerate(self.cells):
            here = self.sketches[torch.from_numpy(members)].T.contiguous()
            for begin in range(borders[cell], borders[cell + 1], WINDOWS_AT_ONCE):
                part = sketches[begin : min(begin + WINDOWS_AT_ONCE, borders[cell + 1])]
                bound = torch.mm(part, here, out=product[: len(part) * len(members)].view(len(part), len(members)))
                row, column = np.divmod(np.flatnonzero(bound.numpy() >= least - SLACK), max(1, len(members)))
                window_parts.append(order[begin + row])
                patch_parts.append(members[column])
        window, patch = np.concatenate(window_parts), np.concatenate(patch_parts)
        exact = [np.empty(0, np.float32)]
        for begin in range(0, len(window), PRODUCTS_AT_ONCE):
            those = slice(begin, begin + PRODUCTS_AT_ONCE)
            pair = windows[torch.from_numpy(window[those])] * self.patches[torch.from_numpy(patch[those])]
            exact.append(pair.sum(dim=1).numpy())
        correlation = np.concatenate(exact)
        enough = correlation >= least
        return Hits(window[enough], patch[enough], correlation[enough])

    def _by_cell(self, sketches: Tensor) -> tuple[IntArray, list[int]]:
        """Numbers of windows by the cell that they are compared with, and where each cell begins in these."""
        if not len(self.centres):
            return np.arange(len(sketches)), [0, len(sketches)]
        nearest = _nearest(sketches[:, :-1], self.centres).numpy()
        order = np.argsort(nearest, kind="stable")
        return order, np.searchsorted(nearest[order], np.arange(len(self.cells) + 1)).tolist()


def _sketch(rows: Tensor, basis: Tensor) -> Tensor:
    """`rows` (N, D) in the columns of `basis` (D, K), and the norm of the rest: (N, K + 1)."""
    leading = rows @ basis
    rest = (rows * rows).sum(dim=1) - (leading * leading).sum(dim=1)
    return torch.cat([leading, rest.clamp(min=0).sqrt()[:, None]], dim=1)


def _centres(points: Tensor) -> Tensor:
    """Unit rows (C, K) near which `points` (P, K) lie: spherical k-means, begun from evenly spaced points."""
    directions = torch.nn.functional.normalize(points)
    count = min(CELLS, max(1, len(points) // LEAST_FILED))
    centres = directions[torch.arange(count) * len(points) // count]
    for _ in range(ROUNDS):
        nearest = _nearest(directions, centres)
        sums = torch.zeros_like(centres).index_add_(0, nearest, directions)
        empty = (sums == 0).all(dim=1, keepdim=True)
        centres = torch.where(empty, centres, torch.nn.functional.normalize(sums))
    return centres


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Of each of `points` (P, K) the number of the one of `centres` (C, K) that its direction is nearest to."""
    return torch.cat([(part @ centres.T).argmax(dim=1) for part in torch.split(points, WINDOWS_AT_ONCE)])


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

    def search(begin: int) -> Matches:
        return _search(index, places, images, range(begin, min(begin + IMAGES_AT_ONCE, len(images))), most)

    with ThreadPoolExecutor(max_workers=2) as pool:
        parts = list(pool.map(search, range(0, len(images), IMAGES_AT_ONCE)))
    source, target, score, transform = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    low, high = np.minimum(source, target), np.maximum(source, target)
    chosen = _first_of_each(np.lexsort((-score, high, low)), low, high)
    return Candidates(source[chosen], target[chosen], transform[chosen])


def _search(
    index: ProbeIndex, places: Boxes, images: Sequence[FloatArray], targets: range, most: int | None
) -> Matches:
    """The best match of each image whose probe occurs in some of `targets`; at most `most` for each target.

    Returns:
        Parallel arrays: source, target, correlation of a probe with a window of the target, and their transform.
    """
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
    if most is not None:
        best = best[best_of_each(target[best], hits.correlation[best], most)]
    window, probe = np.concatenate(boxes)[hits.window[best]], places[source[best], place[best]]
    scale = window[:, 2:] / probe[:, 2:]
    shift = window[:, :2] - scale * probe[:, :2]
    transform = np.stack([scale[:, 0], shift[:, 0], scale[:, 1], shift[:, 1]], axis=1).astype(np.float32)
    return source[best], target[best], hits.correlation[best], transform


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
