"""The coarse search: pairs of pictures in which a patch of one is found in the other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taichinet.datasets.duplicates.probe_index import ProbeIndex
from taichinet.datasets.duplicates.views import FloatArray, IntArray, search_view

PATCH_SIDE = 10
PATCH_PLACES = (0.2, 0.5, 0.8)  # along the width, at half height: probes lose a side less often than depth
MAGNIFICATIONS = (1.0, 1.18, 1.4)  # of the wider crop against the tighter one
PATCH_CORRELATION = 0.80  # a lower one offers more pairs and no further copy in BUSI
PICTURES_AT_ONCE = 64  # about 100,000 windows, 40 MB

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Candidates:
    """Pairs of picture numbers, and per pair (x scale, x shift, y scale, y shift) from `first` to `second`.

    Coordinates run from 0 to 1 over each picture, so a rescaled copy is (1, 0, 1, 0) at any size.
    """

    first: IntArray
    second: IntArray
    transform: FloatArray

    def __len__(self) -> int:
        return len(self.first)

    def where(self, kept: NDArray[np.bool_] | slice) -> Candidates:
        """The candidates that `kept` picks."""
        return Candidates(self.first[kept], self.second[kept], self.transform[kept])


@dataclass(frozen=True)
class _Found:
    """For pairs (source, target): the best correlation, of which probe (`box`) with which window of the target."""

    source: IntArray
    target: IntArray
    score: FloatArray
    transform: FloatArray

    def where(self, kept: IntArray | NDArray[np.bool_]) -> _Found:
        return _Found(self.source[kept], self.target[kept], self.score[kept], self.transform[kept])


def find_shared_patches(pictures: Sequence[FloatArray], most: int | None = None) -> Candidates:
    """Pairs where a probe patch of one picture is found in the other; of each pair only its best patch.

    Without `most` the search is exact, and grows with the square of the number of pictures. With it probes are looked
    up in cells, and each picture is offered no more than its `most` best-matching others: both cost and result grow
    with the number of pictures alone.
    """
    if len(pictures) < 2:
        return Candidates(np.empty(0, np.intp), np.empty(0, np.intp), np.empty((0, 4), np.float32))
    patches, places = _probes(pictures)
    index = ProbeIndex.of(patches, in_cells=most is not None)

    def search(begin: int) -> _Found:
        return _search(index, places, pictures, range(begin, min(begin + PICTURES_AT_ONCE, len(pictures))), most)

    with ThreadPoolExecutor(max_workers=2) as pool:
        parts = list(pool.map(search, range(0, len(pictures), PICTURES_AT_ONCE)))
    source = np.concatenate([part.source for part in parts])
    target = np.concatenate([part.target for part in parts])
    score = np.concatenate([part.score for part in parts])
    transform = np.concatenate([part.transform for part in parts])
    low, high = np.minimum(source, target), np.maximum(source, target)
    chosen = _first_of_each(np.lexsort((-score, high, low)), low, high)
    return Candidates(source[chosen], target[chosen], transform[chosen])


def _search(
    index: ProbeIndex, places: Boxes, pictures: Sequence[FloatArray], targets: range, most: int | None
) -> _Found:
    """Of each picture whose probe some of `targets` shows, the best match; at most `most` for each target."""
    rows, boxes, owners = [], [], []
    for number in targets:
        for magnification in MAGNIFICATIONS:
            view = search_view(pictures[number], magnification, PATCH_SIDE)
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
    found = _Found(source[best], target[best], hits.correlation[best], transform)
    return found if most is None else found.where(best_of_each(found.target, found.score, most))


def best_of_each(owner: IntArray, score: FloatArray, most: int) -> IntArray:
    """Numbers of the `most` highest `score` (N,) of every `owner` (N,), in their order; of equal ones the first."""
    order = np.lexsort((-score, owner))
    sorted_owner = owner[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_owner, sorted_owner)
    return np.sort(order[rank < most])


def _first_of_each(order: IntArray, *keys: IntArray) -> IntArray:
    """Of `order`, in which equal `keys` are neighbours, the first number of each."""
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    return order[fresh]


def _probes(pictures: Sequence[FloatArray]) -> tuple[Tensor, Boxes]:
    """Patches (pictures * places, PATCH_SIDE²) and their boxes (pictures, places, [x, y, width, height])."""
    patches, boxes = [], []
    for picture in pictures:
        view = search_view(picture, 1.0, PATCH_SIDE)
        windows = _windows(view)
        located = _window_boxes(view).reshape(*windows.shape[:2], 4)
        for place in PATCH_PLACES:
            at = windows.shape[0] // 2, int(place * (windows.shape[1] - 1))
            patches.append(windows[at])
            boxes.append(located[at])
    return _unit_rows(np.array(patches)), np.array(boxes).reshape(len(pictures), len(PATCH_PLACES), 4)


def _windows(view: FloatArray) -> FloatArray:
    """Every patch of `view`: (rows, columns, PATCH_SIDE, PATCH_SIDE), without copying."""
    return np.lib.stride_tricks.sliding_window_view(view, (PATCH_SIDE, PATCH_SIDE))


def _window_boxes(view: FloatArray) -> Boxes:
    """[x, y, width, height] of every patch of `view` (rows * columns, 4), in shares of the picture."""
    height, width = view.shape
    row, column = np.mgrid[: height - PATCH_SIDE + 1, : width - PATCH_SIDE + 1].reshape(2, -1)
    size = np.ones(len(row))
    return np.stack([column / width, row / height, size * PATCH_SIDE / width, size * PATCH_SIDE / height], axis=1)


def _unit_rows(patches: FloatArray) -> Tensor:
    """Patches as rows of zero mean and unit norm: their product is a correlation. Flat ones fade."""
    rows = patches.reshape(-1, PATCH_SIDE * PATCH_SIDE)
    rows = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return torch.from_numpy((rows / np.maximum(norm, PATCH_SIDE)).astype(np.float32))  # flat: below 1 grey level
