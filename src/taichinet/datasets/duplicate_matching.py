"""Recognise two crops of one scene: a coarse search for a shared patch, then a fine alignment as proof.

Why two steps. Tissue looks alike at low resolution (dark lesion, bright layers), so a coarse patch alone
proves nothing; speckle does not repeat, so the fine detail of two aligned pictures correlates only where they
show the same scene. On BUSI the aligned correlation has two humps with almost nothing between: below 0.42
strangers, above 0.85 copies; the few pairs from 0.45 to 0.85 are neighbouring frames of one sweep.
Only upright copies are looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.intp]

WORKING_SIDE = 128  # every picture is first reduced to the area of this square, its aspect ratio kept
SEARCH_SIDE = 26  # the coarse search sees the area of this square
PATCH_SIDE = 10
PATCH_PLACES = (0.2, 0.5, 0.8)  # along the width, at half height: probes lose a side less often than depth
MAGNIFICATIONS = (1.0, 1.18, 1.4)  # of the wider crop against the tighter one
SEARCH_BLUR = 3.3  # px; removing what is smoother stops "bright above, dark below" from matching everything
PATCH_CORRELATION = 0.80  # a lower one offers more pairs and no further copy in BUSI
COARSE_SIDE, FINE_SIDE = 48, 96
COARSE_BLUR, FINE_BLUR = 3.0, 3.0
COARSE_CORRELATION = 0.5
STEPS = 6
PAIRS_AT_ONCE = 256  # bounds the memory of the alignment (about 100 MB)
SMALLEST_OVERLAP = 0.25  # share of either picture; less is too little evidence
SAME_FRAME = 0.02  # edges that agree within this share of the side are the same edges


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


@dataclass(frozen=True)
class Alignment:
    """The best alignment of one pair: correlation of fine detail, and whether their edges coincide."""

    correlation: float
    same_frame: bool


def reduce_area(image: NDArray[np.uint8], side: int) -> FloatArray:
    """`image` (H, W) area-averaged to about `side`² pixels, its aspect ratio kept."""
    height, width = image.shape
    scale = side / (height * width) ** 0.5
    return _resize(image.astype(np.float32), max(1, round(width * scale)), max(1, round(height * scale)))


def align_crops(
    pictures: Sequence[FloatArray], similar: IntArray, threshold: float
) -> dict[tuple[int, int], Alignment]:
    """The pairs among `pictures` (from `reduce_area`) whose aligned detail correlates at `threshold` or more.

    `similar` (pairs, 2) are pairs already suspected of showing the same frame: tried without a shift, too.
    """
    with _one_thread():
        return _align_crops(pictures, similar, threshold)


def _align_crops(
    pictures: Sequence[FloatArray], similar: IntArray, threshold: float
) -> dict[tuple[int, int], Alignment]:
    shared = find_shared_patches(pictures)
    unshifted = np.tile(np.array([1, 0, 1, 0], dtype=np.float32), (len(similar), 1))
    starts = Candidates(
        np.concatenate([shared.first, similar[:, 0]]),
        np.concatenate([shared.second, similar[:, 1]]),
        np.concatenate([shared.transform, unshifted]),
    )
    coarse, rough = _align(_detail(pictures, COARSE_SIDE, COARSE_BLUR), starts)
    kept = coarse >= min(COARSE_CORRELATION, threshold)
    starts = Candidates(starts.first[kept], starts.second[kept], rough[kept])
    members, places = np.unique(np.concatenate([starts.first, starts.second]), return_inverse=True)
    local = Candidates(places[: len(starts)], places[len(starts) :], starts.transform)
    fine, final = _align(_detail([pictures[member] for member in members], FINE_SIDE, FINE_BLUR), local)
    found: dict[tuple[int, int], Alignment] = {}
    for index in np.argsort(fine, kind="stable"):  # ascending: the better of two starts of a pair stays
        if fine[index] >= threshold:
            a, b = int(starts.first[index]), int(starts.second[index])
            found[min(a, b), max(a, b)] = Alignment(float(fine[index]), _same_frame(final[index]))
    return found


def find_shared_patches(pictures: Sequence[FloatArray]) -> Candidates:
    """Pairs where a probe patch of one picture is found in the other; of each pair only its best patch."""
    probes, places = _probes(pictures)
    rows: list[IntArray] = []
    columns: list[IntArray] = []
    scores: list[FloatArray] = []
    transforms: list[FloatArray] = []
    for target, magnified in _magnified(pictures):
        windows = _windows(magnified)
        best, window = (probes @ _unit_rows(windows).T).max(dim=1)
        scored, where = best.numpy().reshape(len(pictures), -1), window.numpy().reshape(len(pictures), -1)
        pick = scored.argmax(axis=1)[:, None]
        score = np.take_along_axis(scored, pick, axis=1)[:, 0]
        source = np.flatnonzero((score >= PATCH_CORRELATION) & (np.arange(len(pictures)) != target))
        place = places[source, pick[source, 0]]
        row, column = np.divmod(where[source, pick[source, 0]], windows.shape[1])
        height, width = magnified.shape
        x_scale, y_scale = PATCH_SIDE / width / place[:, 2], PATCH_SIDE / height / place[:, 3]
        x_shift, y_shift = column / width - x_scale * place[:, 0], row / height - y_scale * place[:, 1]
        rows.append(source)
        columns.append(np.full(len(source), target, dtype=np.intp))
        scores.append(score[source])
        transforms.append(np.stack([x_scale, x_shift, y_scale, y_shift], axis=1).astype(np.float32))
    if not rows:
        return Candidates(np.empty(0, np.intp), np.empty(0, np.intp), np.empty((0, 4), np.float32))
    first, second = np.concatenate(rows), np.concatenate(columns)
    low, high = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort((-np.concatenate(scores), high, low))  # stable: equal scores keep their order
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    chosen = order[fresh]
    return Candidates(first[chosen], second[chosen], np.concatenate(transforms)[chosen])


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for thousands of small products: more gain little, and on busy cores they stall."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _probes(pictures: Sequence[FloatArray]) -> tuple[Tensor, FloatArray]:
    """Patches (pictures * places, PATCH_SIDE²) and their boxes (pictures, places, [x, y, width, height])."""
    patches, boxes = [], []
    for picture in pictures:
        searched = _search_view(picture, 1.0)
        height, width = searched.shape
        windows = _windows(searched)
        row = windows.shape[0] // 2
        for place in PATCH_PLACES:
            column = int(place * (windows.shape[1] - 1))
            patches.append(windows[row, column])
            boxes.append((column / width, row / height, PATCH_SIDE / width, PATCH_SIDE / height))
    located = np.array(boxes, dtype=np.float32).reshape(len(pictures), len(PATCH_PLACES), 4)
    return _unit_rows(np.array(patches).reshape(-1, PATCH_SIDE, PATCH_SIDE)), located


def _magnified(pictures: Sequence[FloatArray]) -> Iterator[tuple[int, FloatArray]]:
    """(number, coarse view) of every picture at every magnification."""
    for magnification in MAGNIFICATIONS:
        for number, picture in enumerate(pictures):
            yield number, _search_view(picture, magnification)


def _search_view(picture: FloatArray, magnification: float) -> FloatArray:
    """`picture` at the coarse search's size, its smooth part removed; never smaller than one patch."""
    height, width = picture.shape
    scale = magnification * SEARCH_SIDE / WORKING_SIDE
    reduced = _resize(picture, max(PATCH_SIDE, round(width * scale)), max(PATCH_SIDE, round(height * scale)))
    view: FloatArray = reduced - gaussian_filter(reduced, SEARCH_BLUR)
    return view


def _windows(view: FloatArray) -> FloatArray:
    """Every patch of `view`: (rows, columns, PATCH_SIDE, PATCH_SIDE), without copying."""
    return np.lib.stride_tricks.sliding_window_view(view, (PATCH_SIDE, PATCH_SIDE))


def _unit_rows(patches: FloatArray) -> Tensor:
    """Patches as rows of zero mean and unit norm: their matrix product is a correlation. Flat ones fade."""
    rows = patches.reshape(-1, PATCH_SIDE * PATCH_SIDE)
    rows = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return torch.from_numpy((rows / np.maximum(norm, PATCH_SIDE)).astype(np.float32))  # flat: below 1 grey level


def _resize(image: FloatArray, width: int, height: int) -> FloatArray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def _detail(pictures: Sequence[FloatArray], side: int, blur: float) -> Tensor:
    """Pictures squeezed to (N, side, side): fine detail of even contrast; shading and marks weigh little."""
    views = []
    for picture in pictures:
        squeezed = _resize(picture, side, side)
        band = gaussian_filter(squeezed, 0.7) - gaussian_filter(squeezed, blur)
        contrast = np.sqrt(gaussian_filter(band * band, 2 * blur))
        views.append(band / (contrast + 3))  # 3 grey levels: below that it is noise
    return torch.from_numpy(np.array(views, dtype=np.float32).reshape(-1, side, side))


def _align(detail: Tensor, starts: Candidates) -> tuple[FloatArray, FloatArray]:
    """Best correlation (pairs,) and transform (pairs, 4) that Gauss-Newton finds from each start."""
    correlations, transforms = [np.empty(0, np.float32)], [np.empty((0, 4), np.float32)]
    for begin in range(0, len(starts), PAIRS_AT_ONCE):
        part = slice(begin, begin + PAIRS_AT_ONCE)
        correlation, transform = _align_batch(
            detail[torch.from_numpy(starts.first[part])],
            _with_gradients(detail[torch.from_numpy(starts.second[part])]),
            torch.from_numpy(starts.transform[part]),
        )
        correlations.append(correlation.numpy())
        transforms.append(transform.numpy())
    return np.concatenate(correlations), np.concatenate(transforms)


def _align_batch(fixed: Tensor, moving: Tensor, transform: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Newton on scale and shift: `fixed` (B, S, S) against `moving` (B, [value, d/dx, d/dy], S, S).

    Each step solves  fixed = gain * moving + offset + gain * (gradient · change)  by least squares.
    """
    side = fixed.shape[-1]
    centres = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    best = torch.full((len(fixed),), -1.0)
    kept = transform
    for step in range(STEPS + 1):
        x_scale, x_shift, y_scale, y_shift = (column[:, None, None] for column in transform.unbind(1))
        to_x, to_y = x_scale * x + x_shift, y_scale * y + y_shift
        inside = ((to_x > 0) & (to_x < 1) & (to_y > 0) & (to_y < 1)).float()
        grid = torch.stack([2 * to_x - 1, 2 * to_y - 1], dim=-1)
        warped = F.grid_sample(moving, grid, align_corners=False) * inside[:, None]
        value, dx, dy = warped.unbind(1)
        target = fixed * inside
        overlap = inside.mean(dim=(1, 2))
        smaller = overlap * torch.clamp(transform[:, 0] * transform[:, 2], max=1.0)
        correlation = torch.where(smaller >= SMALLEST_OVERLAP, _correlation(target, value, inside), -1.0)
        better = correlation > best
        best, kept = torch.where(better, correlation, best), torch.where(better[:, None], transform, kept)
        if step == STEPS:
            break
        columns = torch.stack([value, inside, dx * x, dx, dy * y, dy], dim=-1).flatten(1, 2)
        normal = columns.mT @ columns
        ridge = torch.diag_embed(1e-3 * normal.diagonal(dim1=1, dim2=2) + 1e-3)  # solvable for empty overlaps, too
        solved = torch.linalg.solve(normal + ridge, columns.mT @ target.flatten(1)[..., None])[..., 0]
        change = solved[:, 2:] / solved[:, :1].clamp(min=0.2)
        transform = transform + change.clamp(-0.05, 0.05)  # a longer step leaves the reach of the gradient
        transform = torch.stack(
            [
                transform[:, 0].clamp(0.4, 2.5),
                transform[:, 1],
                transform[:, 2].clamp(0.4, 2.5),
                transform[:, 3],
            ],
            1,
        )
    return best, kept


def _correlation(target: Tensor, value: Tensor, inside: Tensor) -> Tensor:
    """Correlation of two masked batches (B, S, S) over the pixels `inside`; 0 where either is flat."""
    count = inside.sum(dim=(1, 2)).clamp(min=1)
    target_mean, value_mean = target.sum(dim=(1, 2)) / count, value.sum(dim=(1, 2)) / count
    covariance = (target * value).sum(dim=(1, 2)) / count - target_mean * value_mean
    target_variance = (target * target).sum(dim=(1, 2)) / count - target_mean**2
    value_variance = (value * value).sum(dim=(1, 2)) / count - value_mean**2
    return covariance / torch.sqrt(target_variance.clamp(min=1e-4) * value_variance.clamp(min=1e-4))


def _with_gradients(detail: Tensor) -> Tensor:
    """(B, S, S) -> (B, 3, S, S): the picture and its slopes per unit of the 0-to-1 coordinates."""
    half_side = detail.shape[-1] / 2
    dx, dy = torch.zeros_like(detail), torch.zeros_like(detail)
    dx[:, :, 1:-1] = (detail[:, :, 2:] - detail[:, :, :-2]) * half_side
    dy[:, 1:-1] = (detail[:, 2:] - detail[:, :-2]) * half_side
    return torch.stack([detail, dx, dy], dim=1)


def _same_frame(transform: FloatArray) -> bool:
    """Whether all four edges of the first picture land on those of the second."""
    x_scale, x_shift, y_scale, y_shift = (float(value) for value in transform)
    edges = (x_shift, x_scale + x_shift - 1, y_shift, y_scale + y_shift - 1)
    return max(abs(edge) for edge in edges) <= SAME_FRAME
