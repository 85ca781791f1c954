"""ProbeIndex: which of many patches correlate with a window, without correlating each patch with each window.

Two means. The bound: rotate patches so that their variance comes first, keep the first 31 of 100 numbers and the norm
of the rest. For rows p, w the product of such sketches, p1·w1 + |p2| |w2|, is never below p·w (Cauchy and Schwarz):
what it rules out needs no exact correlation, and nothing is lost. The cells, for many patches only: patches are filed
under their nearest centres, and a window asks the cell of its own nearest centre; what is filed elsewhere is missed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from taichinet.datasets.duplicates.views import FloatArray, IntArray

SKETCHED = 31  # numbers kept of a patch: with these one product in 7,000 passes the bound in BUSI, and 32 are aligned
SLACK = 1e-4  # rounding of single precision must not rule out
CELLS = 512  # more take longer to choose from than they save up to 10,000 pictures
LEAST_FILED = 8  # patches to a cell: fewer make cells that cost more than they save
FILED_UNDER = 8  # cells that hold one patch
ROUNDS = 4  # of k-means; more move no patch that matters
WINDOWS_AT_ONCE = 256  # by some thousand patches: the products stay in the processor's cache
PRODUCTS_AT_ONCE = 2**19


@dataclass(frozen=True)
class Hits:
    """Numbers of windows and of patches that correlate, parallel, and how much."""

    window: IntArray
    patch: IntArray
    correlation: FloatArray


@dataclass(frozen=True)
class ProbeIndex:
    """Patches as rows (P, D) of norm 1 or less, their sketches (P, 32), and the cells in which they are filed.

    Without `centres` (0, 31) there is one cell that holds all, and the search is exact.
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
        basis = spread.eigenvectors[:, -SKETCHED:].contiguous()
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
        asked, answers = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
        order, borders = self._by_cell(sketches)
        sketches = sketches[torch.from_numpy(order)]
        product = torch.empty(WINDOWS_AT_ONCE * max(len(members) for members in self.cells))
        for cell, members in enumerate(self.cells):
            here = self.sketches[torch.from_numpy(members)].T.contiguous()
            for begin in range(borders[cell], borders[cell + 1], WINDOWS_AT_ONCE):
                part = sketches[begin : min(begin + WINDOWS_AT_ONCE, borders[cell + 1])]
                bound = torch.mm(part, here, out=product[: len(part) * len(members)].view(len(part), len(members)))
                row, column = np.divmod(np.flatnonzero(bound.numpy() >= least - SLACK), max(1, len(members)))
                asked.append(order[begin + row])
                answers.append(members[column])
        window, patch = np.concatenate(asked), np.concatenate(answers)
        exact = [np.empty(0, np.float32)]
        for begin in range(0, len(window), PRODUCTS_AT_ONCE):
            those = slice(begin, begin + PRODUCTS_AT_ONCE)
            pair = windows[torch.from_numpy(window[those])] * self.patches[torch.from_numpy(patch[those])]
            exact.append(pair.sum(dim=1).numpy())
        correlation = np.concatenate(exact)
        kept = correlation >= least
        return Hits(window[kept], patch[kept], correlation[kept])

    def _by_cell(self, sketches: Tensor) -> tuple[IntArray, list[int]]:
        """Numbers of windows by the cell that they ask, and where in these each cell begins (cells + 1)."""
        if not len(self.centres):
            return np.arange(len(sketches)), [0, len(sketches)]
        nearest = _nearest(sketches[:, :-1], self.centres).numpy()
        order = np.argsort(nearest, kind="stable")
        return order, np.searchsorted(nearest[order], np.arange(len(self.cells) + 1)).tolist()


def _sketch(rows: Tensor, basis: Tensor) -> Tensor:
    """`rows` (N, D) in the columns of `basis` (D, K), and the norm of what these leave out: (N, K + 1)."""
    kept = rows @ basis
    rest = (rows * rows).sum(dim=1) - (kept * kept).sum(dim=1)
    return torch.cat([kept, rest.clamp(min=0).sqrt()[:, None]], dim=1)


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
