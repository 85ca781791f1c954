"""Recognise two crops of one scene: a coarse search for a shared patch, then a fine alignment as proof.

Why two steps. Tissue looks alike at low resolution (dark lesion, bright layers), so a coarse patch alone
proves nothing; speckle does not repeat, so the fine detail of two aligned pictures correlates only where they
show the same scene. On BUSI the aligned correlation has two humps with almost nothing between: below 0.42
different scenes, above 0.85 copies; the few pairs from 0.45 to 0.85 are neighbouring frames of one sweep.
Only upright copies are looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from taichinet.datasets.duplicates.alignment import align
from taichinet.datasets.duplicates.patches import Candidates, find_shared_patches
from taichinet.datasets.duplicates.views import FloatArray, IntArray, detail_views, one_thread

COARSE_SIDE, FINE_SIDE = 48, 96
COARSE_BLUR, FINE_BLUR = 3.0, 3.0
COARSE_CORRELATION = 0.5
TRIAL_STEPS = 2
TRIAL_CORRELATION = 0.3  # after two steps; BUSI's copies reach 0.5 by then, nine of ten other pairs stay below
STARTS_AT_ONCE = 1024  # bounds the memory of the fine views (about 75 MB)
SAME_FRAME = 0.02  # edges that agree within this share of the side are the same edges


@dataclass(frozen=True)
class Alignment:
    """The best alignment of one pair: correlation of fine detail, and whether their edges coincide."""

    correlation: float
    same_frame: bool


def align_crops(
    pictures: Sequence[FloatArray], similar: IntArray, threshold: float, most: int | None = None
) -> dict[tuple[int, int], Alignment]:
    """The pairs among `pictures` (from `reduce_area`) whose aligned detail correlates at `threshold` or more.

    `similar` (pairs, 2) are pairs already suspected of showing the same frame: tried without a shift, too. `most`
    bounds the coarse search, see `find_shared_patches`.
    """
    with one_thread():
        shared = find_shared_patches(pictures, most)
        unshifted = np.tile(np.array([1, 0, 1, 0], dtype=np.float32), (len(similar), 1))
        starts = Candidates(
            np.concatenate([shared.first, similar[:, 0]]),
            np.concatenate([shared.second, similar[:, 1]]),
            np.concatenate([shared.transform, unshifted]),
        )
        coarse = _coarse(detail_views(pictures, COARSE_SIDE, COARSE_BLUR), starts, threshold)
        fine, final = _in_parts(coarse, lambda part: _align_finely(pictures, part))
    found: dict[tuple[int, int], Alignment] = {}
    for index in np.argsort(fine, kind="stable"):  # ascending: the better of two starts of a pair stays
        if fine[index] >= threshold:
            a, b = int(coarse.first[index]), int(coarse.second[index])
            found[min(a, b), max(a, b)] = Alignment(float(fine[index]), _same_frame(final[index]))
    return found


def _coarse(detail: Tensor, starts: Candidates, threshold: float) -> Candidates:
    """The `starts` that align at the coarse size, where they lead; the hopeless are told by a short trial."""
    tried, _ = _in_parts(starts, lambda part: align(detail, part, TRIAL_STEPS))
    promising = starts.where(tried >= min(TRIAL_CORRELATION, threshold))
    coarse, rough = _in_parts(promising, lambda part: align(detail, part))
    kept = coarse >= min(COARSE_CORRELATION, threshold)
    return Candidates(promising.first[kept], promising.second[kept], rough[kept])


def _align_finely(pictures: Sequence[FloatArray], starts: Candidates) -> tuple[FloatArray, FloatArray]:
    """`align` at the fine size, with the views of these pictures alone."""
    members, places = np.unique(np.concatenate([starts.first, starts.second]), return_inverse=True)
    local = Candidates(places[: len(starts)], places[len(starts) :], starts.transform)
    return align(detail_views([pictures[member] for member in members], FINE_SIDE, FINE_BLUR), local)


def _in_parts(
    starts: Candidates, work: Callable[[Candidates], tuple[FloatArray, FloatArray]]
) -> tuple[FloatArray, FloatArray]:
    """What `work` makes of `starts`: correlations (pairs,) and transforms (pairs, 4), a part at a time."""
    parts = [starts.where(slice(begin, begin + STARTS_AT_ONCE)) for begin in range(0, len(starts), STARTS_AT_ONCE)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        done = list(pool.map(work, parts))
    correlations, transforms = [part[0] for part in done], [part[1] for part in done]
    return (
        np.concatenate([np.empty(0, np.float32), *correlations]),
        np.concatenate([np.empty((0, 4), np.float32), *transforms]),
    )


def _same_frame(transform: FloatArray) -> bool:
    """Whether all four edges of the first picture land on those of the second."""
    x_scale, x_shift, y_scale, y_shift = (float(value) for value in transform)
    edges = (x_shift, x_scale + x_shift - 1, y_shift, y_scale + y_shift - 1)
    return max(abs(edge) for edge in edges) <= SAME_FRAME
