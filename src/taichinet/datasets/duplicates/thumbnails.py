"""Pairs of pictures whose thumbnails correlate, in memory that does not grow with the number of pairs of pictures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from taichinet.datasets.duplicates.patches import best_of_each
from taichinet.datasets.duplicates.views import FloatArray, IntArray

SKETCHED = 48  # numbers kept of a thumbnail
SAMPLED = 256  # thumbnails from which the directions of a sketch are found
SLACK = 1e-4  # rounding of single precision must not rule out
ROWS_AT_ONCE = 256
CROWDED = 0.02  # share of a block's pairs from which on one whole product is faster than one a pair


def similar_thumbnails(rows: FloatArray, least: float, most: int | None = None) -> tuple[IntArray, NDArray[np.float32]]:
    """Pairs (a < b) of `rows` (N, D; unit norm, or all zero) that correlate at `least` or more: (pairs, 2), and how.

    With `most` each row is offered no more than its `most` best-correlating others, and pairs of which neither is
    among those of the other are left out. Sketches rule pairs out beforehand, by the bound of `ProbeIndex`.
    """
    firsts, seconds, scores = [np.empty(0, np.intp)], [np.empty(0, np.intp)], [np.empty(0, np.float32)]
    for first, second, score in _blocks(rows, least):
        kept = slice(None) if most is None else best_of_each(first, score, most)
        firsts.append(first[kept])
        seconds.append(second[kept])
        scores.append(score[kept])
    first, second, score = np.concatenate(firsts), np.concatenate(seconds), np.concatenate(scores)
    pairs, where = np.unique(np.sort(np.stack([first, second], axis=1), axis=1), axis=0, return_index=True)
    return pairs, score[where]


def _blocks(rows: FloatArray, least: float) -> Iterator[tuple[IntArray, IntArray, NDArray[np.float32]]]:
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
        kept = (score >= least) & (first != second)
        yield first[kept], second[kept], score[kept]


def _sketches(rows: FloatArray) -> FloatArray:
    """`rows` (N, D) in their main directions, and the norm of what these leave out: (N, K + 1)."""
    sample = rows[np.arange(min(SAMPLED, len(rows))) * len(rows) // min(SAMPLED, len(rows))]
    _, _, directions = np.linalg.svd(sample, full_matrices=False)
    kept = rows @ directions[:SKETCHED].T
    rest = (rows * rows).sum(axis=1) - (kept * kept).sum(axis=1)
    sketches: FloatArray = np.column_stack([kept, np.sqrt(np.maximum(rest, 0))]).astype(np.float32)
    return sketches
