"""Which of many vectors correlate: patches with windows, and thumbnails with each other, without all products.

The bound: rotate the vectors so that their variance comes first, and keep the first numbers and the norm of the rest.
For rows p, w the product of such sketches, p1·w1 + |p2| |w2|, is never below p·w (Cauchy and Schwarz). Pairs that it
rules out need no exact correlation, and none is missed. The cells, only for many patches: each patch is stored under
its nearest centres, and a window is compared with the cell of its own nearest centre; other patches are missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from taichinet.datasets.duplicates.fingerprint import FloatArray, IntArray

PATCH_DIRECTIONS = 31  # numbers kept of a patch: in BUSI one product in 7,000 passes the bound; 32 are aligned
SLACK = 1e-4  # rounding of single precision must not rule out
CELLS = 512  # more take longer to choose from than they save up to 10,000 images
LEAST_FILED = 8  # patches to a cell: fewer make cells that cost more than they save
FILED_UNDER = 8  # cells that contain one patch
ROUNDS = 4  # of k-means; more move no patch that matters
WINDOWS_AT_ONCE = 256  # by some thousand patches: the products stay in the processor's cache
PRODUCTS_AT_ONCE = 2**19
THUMBNAIL_DIRECTIONS = 48  # numbers kept of a thumbnail
SAMPLED = 256  # thumbnails from which the directions of a sketch are found
ROWS_AT_ONCE = 256
CROWDED = 0.02  # share of a block's pairs from which on one whole product is faster than one a pair


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


def similar_thumbnails(rows: FloatArray, least: float, most: int | None = None) -> tuple[IntArray, FloatArray]:
    """Find the thumbnails that correlate, in memory that does not grow with the number of pairs.

    Args:
        rows: Thumbnails (N, D) of unit norm, or zero.
        least: Least correlation.
        most: If given, each row is compared with no more than its `most` best-correlating others, and pairs of which
            neither is among those of the other are left out.

    Returns:
        Pairs (a < b), (pairs, 2), and their correlations (pairs,).
    """
    firsts, seconds, scores = [np.empty(0, np.intp)], [np.empty(0, np.intp)], [np.empty(0, np.float32)]
    for first, second, score in _blocks(rows, least):
        chosen = slice(None) if most is None else best_of_each(first, score, most)
        firsts.append(first[chosen])
        seconds.append(second[chosen])
        scores.append(score[chosen])
    first, second, score = np.concatenate(firsts), np.concatenate(seconds), np.concatenate(scores)
    pairs, where = np.unique(np.sort(np.stack([first, second], axis=1), axis=1), axis=0, return_index=True)
    return pairs, score[where]


def _blocks(rows: FloatArray, least: float) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
    """(row, other row, correlation) of all that correlate at `least`, each pair from both sides, a block at a time."""
    if len(rows) < 2:
        return
    sketches = _sketches(rows)
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        part = slice(begin, begin + ROWS_AT_ONCE)
        bound = sketches[part] @ sketches.T
        first, second = np.divmod(np.flatnonzero(bound >= least - SLACK), len(rows))
        if len(first) > CROWDED * bound.size:
            score = (rows[part] @ rows.T)[first, second]
        else:
            score = np.einsum("nd,nd->n", rows[begin + first], rows[second])
        first = first + begin
        chosen = (score >= least) & (first != second)
        yield first[chosen], second[chosen], score[chosen]


def _sketches(rows: FloatArray) -> FloatArray:
    """`rows` (N, D) in their main directions, and the norm of the rest: (N, K + 1)."""
    sample = rows[np.arange(min(SAMPLED, len(rows))) * len(rows) // min(SAMPLED, len(rows))]
    _, _, directions = np.linalg.svd(sample, full_matrices=False)
    leading = rows @ directions[:THUMBNAIL_DIRECTIONS].T
    rest = (rows * rows).sum(axis=1) - (leading * leading).sum(axis=1)
    sketches: FloatArray = np.column_stack([leading, np.sqrt(np.maximum(rest, 0))]).astype(np.float32)
    return sketches


def best_of_each(owner: IntArray, score: FloatArray, most: int) -> IntArray:
    """Numbers of the `most` highest `score` (N,) of each `owner` (N,), in their order; of equal ones the first."""
    order = np.lexsort((-score, owner))
    sorted_owner = owner[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_owner, sorted_owner)
    return np.sort(order[rank < most])
