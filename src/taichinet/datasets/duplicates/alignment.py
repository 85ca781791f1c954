"""Recognise two crops of one scene: a coarse search for a shared patch, then a fine alignment as proof.

Tissue looks alike at low resolution (dark lesion, bright layers), so that a shared patch alone proves nothing. Speckle
does not repeat, so that the fine detail of two aligned images correlates only if they show the same scene. On BUSI the
aligned correlation has two modes with almost nothing in between: below 0.42 different scenes, above 0.85
near-duplicates; the few pairs from 0.45 to 0.85 are neighbouring frames of one sweep. Only upright images are compared.
The alignment is by scale and shift, with Gauss-Newton steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from taichinet.datasets.duplicates.fingerprint import FloatArray, IntArray, resize_by_area
from taichinet.datasets.duplicates.patches import Candidates, find_shared_patches
from taichinet.progress import tracked

COARSE_SIDE, FINE_SIDE = 48, 96
COARSE_BLUR, FINE_BLUR = 3.0, 3.0
COARSE_CORRELATION = 0.5
TRIAL_STEPS = 2
TRIAL_CORRELATION = 0.3  # near-duplicates in BUSI reach 0.5 after two steps, nine of ten other pairs stay below
STARTS_AT_ONCE = 1024  # bounds the memory of the fine views (about 75 MB)
SAME_FRAME = 0.02  # edges that agree within this share of the side are the same edges
STEPS = 6
PIXELS_AT_ONCE = 2**18  # 113 pairs at 48², 28 at 96²: fewer cost more calls, more exceed the cache of the processor
SMALLEST_OVERLAP = 0.25  # share of either image; less is insufficient evidence
LONGEST_STEP = 0.05  # the gradient is not valid further away
SCALES = (0.4, 2.5)


@dataclass(frozen=True)
class Alignment:
    """The best alignment of one pair: correlation of fine detail, and whether their edges coincide."""

    correlation: float
    same_frame: bool


def align_crops(
    images: Sequence[FloatArray], similar: IntArray, threshold: float, most: int | None = None
) -> dict[tuple[int, int], Alignment]:
    """Find the pairs of images whose aligned fine detail correlates.

    Args:
        images: Reduced images (H, W) of fingerprints.
        similar: Pairs (pairs, 2) that may show the same frame, which are aligned without a shift as well.
        threshold: Least correlation.
        most: Bound of the coarse search, see `find_shared_patches`.

    Returns:
        (a, b) with a < b -> the best alignment of the pair.
    """
    with _one_thread():
        shared = find_shared_patches(images, most)
        unshifted = np.tile(np.array([1, 0, 1, 0], dtype=np.float32), (len(similar), 1))
        starts = Candidates(
            np.concatenate([shared.first, similar[:, 0]]),
            np.concatenate([shared.second, similar[:, 1]]),
            np.concatenate([shared.transform, unshifted]),
        )
        coarse = _coarse(_detail_views(images, COARSE_SIDE, COARSE_BLUR), starts, threshold)
        fine, final = _in_parts(coarse, lambda part: _align_finely(images, part))
    alignments: dict[tuple[int, int], Alignment] = {}
    for index in np.argsort(fine, kind="stable"):  # ascending, so that the better of two starts of a pair remains
        if fine[index] >= threshold:
            a, b = int(coarse.first[index]), int(coarse.second[index])
            alignments[min(a, b), max(a, b)] = Alignment(float(fine[index]), _same_frame(final[index]))
    return alignments


def _coarse(detail: Tensor, starts: Candidates, threshold: float) -> Candidates:
    """The `starts` that align at the coarse size, after alignment; a short trial rules out most others."""
    tried, _ = _in_parts(starts, lambda part: align(detail, part, TRIAL_STEPS))
    promising = starts.where(tried >= min(TRIAL_CORRELATION, threshold))
    coarse, rough = _in_parts(promising, lambda part: align(detail, part))
    aligned = coarse >= min(COARSE_CORRELATION, threshold)
    return Candidates(promising.first[aligned], promising.second[aligned], rough[aligned])


def _align_finely(images: Sequence[FloatArray], starts: Candidates) -> tuple[FloatArray, FloatArray]:
    """`align` at the fine size, with the views of only these images."""
    members, places = np.unique(np.concatenate([starts.first, starts.second]), return_inverse=True)
    local = Candidates(places[: len(starts)], places[len(starts) :], starts.transform)
    return align(_detail_views([images[member] for member in members], FINE_SIDE, FINE_BLUR), local)


def _in_parts(
    starts: Candidates, work: Callable[[Candidates], tuple[FloatArray, FloatArray]]
) -> tuple[FloatArray, FloatArray]:
    """The results of `work` on parts of `starts`: correlations (pairs,) and transforms (pairs, 4)."""
    parts = [starts.where(slice(begin, begin + STARTS_AT_ONCE)) for begin in range(0, len(starts), STARTS_AT_ONCE)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        done = list(tracked(pool.map(work, parts), "aligning images", len(parts)))
    correlations, transforms = [part[0] for part in done], [part[1] for part in done]
    return (
        np.concatenate([np.empty(0, np.float32), *correlations]),
        np.concatenate([np.empty((0, 4), np.float32), *transforms]),
    )


def _same_frame(transform: FloatArray) -> bool:
    """Whether all four edges of the first image coincide with those of the second."""
    x_scale, x_shift, y_scale, y_shift = (float(value) for value in transform)
    edges = (x_shift, x_scale + x_shift - 1, y_shift, y_scale + y_shift - 1)
    return max(abs(edge) for edge in edges) <= SAME_FRAME


def _detail_views(images: Iterable[FloatArray], side: int, blur: float) -> Tensor:
    """Images resized to (N, side, side): fine detail of even contrast; shading and marks have little weight."""
    views = []
    for image in images:
        squeezed = resize_by_area(image, side, side)
        band = gaussian_filter(squeezed, 0.7) - gaussian_filter(squeezed, blur)
        contrast = np.sqrt(gaussian_filter(band * band, 2 * blur))
        views.append(band / (contrast + 3))  # 3 grey levels: below that it is noise
    return torch.from_numpy(np.array(views, dtype=np.float32).reshape(-1, side, side))


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for thousands of small products: more threads gain little, and stall on busy cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def align(detail: Tensor, starts: Candidates, steps: int = STEPS) -> tuple[FloatArray, FloatArray]:
    """Best correlation (pairs,) and transform (pairs, 4) within `steps` steps from each start.

    `starts` refer to the images of `detail` (N, S, S) by number.
    """
    at_once = max(1, PIXELS_AT_ONCE // detail[0].numel()) if len(detail) else 1
    correlations, transforms = [np.empty(0, np.float32)], [np.empty((0, 4), np.float32)]
    for begin in range(0, len(starts), at_once):
        part = starts.where(slice(begin, begin + at_once))
        fixed, moving = detail[torch.from_numpy(part.first)], detail[torch.from_numpy(part.second)]
        correlation, transform = _align_batch(fixed, moving, torch.from_numpy(part.transform), steps)
        correlations.append(correlation.numpy())
        transforms.append(transform.numpy())
    return np.concatenate(correlations), np.concatenate(transforms)


def _align_batch(fixed: Tensor, moving: Tensor, transform: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """`fixed` (B, S, S) against `moving` (B, S, S) from `transform` (B, 4) on.

    Each step solves  fixed = gain * moving + offset + gain * (gradient · change)  by least squares. All sums that this
    and the correlation need are products of seven rows: value, inside, the four changes, and target.
    """
    slopes = _with_slopes(moving)
    best = torch.full((len(fixed),), -1.0)
    best_transform = transform
    for step in range(steps + 1):
        sums = _products(fixed, slopes, transform)
        correlation = _correlation(sums, transform, fixed[0].numel())
        better = correlation > best
        best = torch.where(better, correlation, best)
        best_transform = torch.where(better[:, None], transform, best_transform)
        if step < steps:
            transform = _stepped(transform, sums)
    return best, best_transform


def _products(fixed: Tensor, slopes: Tensor, transform: Tensor) -> Tensor:
    """Products (B, 7, 7) of value, inside, x dx, dx, y dy, dy and target, over the pixels inside both images."""
    side = fixed.shape[-1]
    centres = (torch.arange(side) + 0.5) / side
    x_scale, x_shift, y_scale, y_shift = (column[:, None] for column in transform.unbind(1))
    to_x, to_y = x_scale * centres + x_shift, y_scale * centres + y_shift
    inside = ((to_y > 0) & (to_y < 1))[:, :, None] & ((to_x > 0) & (to_x < 1))[:, None, :]
    grid = torch.empty(*fixed.shape, 2)
    grid[..., 0], grid[..., 1] = (2 * to_x - 1)[:, None, :], (2 * to_y - 1)[:, :, None]
    warped = F.grid_sample(slopes, grid, align_corners=False)
    rows = torch.empty(len(fixed), 7, side, side)
    rows[:, 0], rows[:, 1], rows[:, 3], rows[:, 5], rows[:, 6] = warped[:, 0], 1, warped[:, 1], warped[:, 2], fixed
    torch.mul(warped[:, 1], centres, out=rows[:, 2])
    torch.mul(warped[:, 2], centres[:, None], out=rows[:, 4])
    flat = (rows * inside[:, None]).flatten(2)
    return flat @ flat.mT


def _stepped(transform: Tensor, sums: Tensor) -> Tensor:
    """`transform` (B, 4) after one step, its scales kept within bounds."""
    normal, right = sums[:, :6, :6], sums[:, :6, 6:]
    ridge = torch.diag_embed(1e-3 * normal.diagonal(dim1=1, dim2=2) + 1e-3)  # solvable for empty overlaps, too
    solved = torch.linalg.solve(normal + ridge, right)[..., 0]
    change = solved[:, 2:] / solved[:, :1].clamp(min=0.2)
    moved: Tensor = transform + change.clamp(-LONGEST_STEP, LONGEST_STEP)
    moved[:, 0::2] = moved[:, 0::2].clamp(*SCALES)
    return moved


def _correlation(sums: Tensor, transform: Tensor, pixels: int) -> Tensor:
    """Correlation (B,) of value and target inside; 0 where either is flat, -1 where too little overlaps."""
    value, inside, target = 0, 1, 6
    inside_count = sums[:, inside, inside]
    count = inside_count.clamp(min=1)
    value_mean, target_mean = sums[:, value, inside] / count, sums[:, target, inside] / count
    covariance = sums[:, value, target] / count - target_mean * value_mean
    target_variance = sums[:, target, target] / count - target_mean**2
    value_variance = sums[:, value, value] / count - value_mean**2
    correlation = covariance / torch.sqrt(target_variance.clamp(min=1e-4) * value_variance.clamp(min=1e-4))
    smaller = inside_count / pixels * torch.clamp(transform[:, 0] * transform[:, 2], max=1.0)
    return torch.where(smaller >= SMALLEST_OVERLAP, correlation, -1.0)


def _with_slopes(detail: Tensor) -> Tensor:
    """(B, S, S) -> (B, 3, S, S): the image and its slopes per unit of the 0-to-1 coordinates."""
    half_side = detail.shape[-1] / 2
    views = torch.zeros(len(detail), 3, *detail.shape[1:])
    views[:, 0] = detail
    views[:, 1, :, 1:-1] = (detail[:, :, 2:] - detail[:, :, :-2]) * half_side
    views[:, 2, 1:-1] = (detail[:, 2:] - detail[:, :-2]) * half_side
    return views
