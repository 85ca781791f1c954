"""`score_mask` against loops, against MONAI, and in every undefined case."""

from __future__ import annotations

from dataclasses import asdict
from math import hypot, isnan

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from taichinet.errors import DataError, SettingError
from taichinet.evaluation.masks import Mask
from taichinet.evaluation.metrics import score_mask

EMPTY = np.zeros((6, 8), dtype=bool)
SEEDS = range(12)


def blob(rng: np.random.Generator, shape: tuple[int, int] = (40, 56), share: float = 0.2) -> Mask:
    """A smooth random mask, often of several parts and touching the image's edge; never empty."""
    field = gaussian_filter(rng.standard_normal(shape), sigma=rng.uniform(1, 5))
    return np.asarray(field >= np.quantile(field, 1 - share))


def pair(seed: int) -> tuple[Mask, Mask]:
    rng = np.random.default_rng(seed)
    truth = blob(rng, share=rng.uniform(0.01, 0.4))
    prediction = np.roll(truth, tuple(rng.integers(-4, 5, 2)), axis=(0, 1)) | blob(rng, share=0.03)
    return prediction, truth


def one_pixel(row: int, column: int) -> Mask:
    mask = EMPTY.copy()
    mask[row, column] = True
    return mask


def border_by_loops(mask: Mask) -> list[tuple[int, int]]:
    height, width = mask.shape
    border = []
    for row in range(height):
        for column in range(width):
            around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
            inside = [0 <= r < height and 0 <= c < width and bool(mask[r, c]) for r, c in around]
            if mask[row, column] and not all(inside):
                border.append((row, column))
    return border


def distances_by_loops(a: Mask, b: Mask, spacing: tuple[float, float]) -> NDArray[np.float64]:
    """From every border pixel of `a` to the nearest one of `b`."""
    others = border_by_loops(b)
    return np.array(
        [
            min(hypot((row - r) * spacing[0], (column - c) * spacing[1]) for r, c in others)
            for row, column in border_by_loops(a)
        ]
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_overlap_scores_equal_a_count_pixel_by_pixel(seed: int) -> None:
    prediction, truth = pair(seed)
    tp = fp = fn = tn = 0
    for predicted, is_lesion in zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True):
        if predicted and is_lesion:
            tp += 1
        elif predicted:
            fp += 1
        elif is_lesion:
            fn += 1
        else:
            tn += 1
    scores = score_mask(prediction, truth)
    assert scores.jaccard == pytest.approx(tp / (tp + fp + fn))
    assert scores.dice == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert scores.accuracy == pytest.approx((tp + tn) / truth.size)
    assert scores.sensitivity == pytest.approx(tp / (tp + fn))
    assert scores.precision == pytest.approx(tp / (tp + fp))
    assert (scores.predicted_pixels, scores.true_pixels, scores.pixels) == (tp + fp, tp + fn, truth.size)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0)])
@pytest.mark.parametrize("seed", SEEDS[:3])
def test_distances_equal_a_loop_over_all_pairs_of_border_pixels(seed: int, spacing: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    prediction, truth = blob(rng, (14, 18)), blob(rng, (14, 18))
    to_truth = distances_by_loops(prediction, truth, spacing)
    to_prediction = distances_by_loops(truth, prediction, spacing)
    scores = score_mask(prediction, truth, spacing_mm=spacing)
    assert scores.hd95 == pytest.approx(max(np.percentile(to_truth, 95), np.percentile(to_prediction, 95)))
    assert scores.assd == pytest.approx(np.concatenate([to_truth, to_prediction]).mean())


@pytest.mark.parametrize("spacing", [None, (0.08, 0.11)])
@pytest.mark.parametrize("seed", SEEDS)
def test_distances_equal_monai(seed: int, spacing: tuple[float, float] | None) -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    prediction, truth = pair(seed)
    y_pred, y = (torch.from_numpy(mask)[None, None].float() for mask in (prediction, truth))
    options = {"include_background": True, "spacing": spacing}
    scores = score_mask(prediction, truth, spacing_mm=spacing)
    hd95 = metrics.compute_hausdorff_distance(y_pred, y, percentile=95, **options)
    assd = metrics.compute_average_surface_distance(y_pred, y, symmetric=True, **options)
    assert scores.hd95 == pytest.approx(hd95.item(), rel=1e-5)
    assert scores.assd == pytest.approx(assd.item(), rel=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_swapping_the_masks_swaps_only_precision_and_sensitivity(seed: int) -> None:
    prediction, truth = pair(seed)
    forward, backward = asdict(score_mask(prediction, truth)), asdict(score_mask(truth, prediction))
    backward["precision"], backward["sensitivity"] = backward["sensitivity"], backward["precision"]
    backward["predicted_pixels"], backward["true_pixels"] = backward["true_pixels"], backward["predicted_pixels"]
    assert forward == pytest.approx(backward)


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_rotating_and_mirroring_both_masks_changes_nothing(seed: int) -> None:
    prediction, truth = pair(seed)
    scores = asdict(score_mask(prediction, truth))
    for transform in (np.rot90, np.flipud, np.fliplr):
        assert asdict(score_mask(transform(prediction), transform(truth))) == pytest.approx(scores)


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_dice_and_jaccard_are_consistent(seed: int) -> None:
    scores = score_mask(*pair(seed))
    assert scores.dice == pytest.approx(2 * scores.jaccard / (1 + scores.jaccard))


def test_ground_truth_as_prediction_is_perfect() -> None:
    truth = pair(0)[1]
    scores = score_mask(truth, truth)
    overlap = (scores.dice, scores.jaccard, scores.accuracy, scores.precision, scores.sensitivity)
    assert overlap == (1, 1, 1, 1, 1)
    assert (scores.hd95, scores.assd) == (0, 0)


def test_disjoint_masks_score_zero_with_their_distance() -> None:
    scores = score_mask(one_pixel(0, 0), one_pixel(3, 4))
    assert (scores.dice, scores.jaccard, scores.precision, scores.sensitivity) == (0, 0, 0, 0)
    assert scores.hd95 == scores.assd == 5


def test_two_empty_masks_have_undefined_overlap_and_zero_distance() -> None:
    scores = score_mask(EMPTY, EMPTY)
    overlap = (scores.dice, scores.jaccard, scores.precision, scores.sensitivity)
    assert all(map(isnan, overlap))
    assert (scores.accuracy, scores.hd95, scores.assd) == (1, 0, 0)
    assert (scores.predicted_pixels, scores.true_pixels, scores.pixels) == (0, 0, 48)


def test_missed_lesion_scores_zero_and_the_image_diagonal() -> None:
    scores = score_mask(EMPTY, one_pixel(2, 3))
    assert (scores.dice, scores.jaccard, scores.precision, scores.sensitivity) == (0, 0, 0, 0)
    assert scores.accuracy == pytest.approx(47 / 48)
    assert scores.hd95 == scores.assd == 10


def test_false_positive_leaves_only_sensitivity_undefined() -> None:
    scores = score_mask(one_pixel(2, 3), EMPTY)
    assert (scores.dice, scores.jaccard, scores.precision) == (0, 0, 0)
    assert isnan(scores.sensitivity)
    assert scores.accuracy == pytest.approx(47 / 48)
    assert scores.hd95 == scores.assd == 10


def test_missed_lesion_is_never_better_than_the_worst_prediction() -> None:
    worst = score_mask(one_pixel(0, 0), one_pixel(5, 7))
    assert worst.hd95 < score_mask(EMPTY, one_pixel(5, 7)).hd95


def test_spacing_converts_pixels_to_millimetres_row_first() -> None:
    scores = score_mask(one_pixel(0, 0), one_pixel(3, 4), spacing_mm=(2.0, 0.5))
    assert scores.hd95 == pytest.approx(hypot(6, 2))
    missed = score_mask(EMPTY, one_pixel(3, 4), spacing_mm=(2.0, 0.5))
    assert missed.hd95 == missed.assd == pytest.approx(hypot(12, 4))


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_equal_spacing_scales_only_the_distances(seed: int) -> None:
    prediction, truth = pair(seed)
    pixels = asdict(score_mask(prediction, truth))
    pixels["hd95"], pixels["assd"] = 0.25 * pixels["hd95"], 0.25 * pixels["assd"]
    assert asdict(score_mask(prediction, truth, spacing_mm=(0.25, 0.25))) == pytest.approx(pixels)


def test_different_sizes_are_rejected_with_both_shapes() -> None:
    with pytest.raises(DataError, match=r"\(6, 8\) but the ground truth \(8, 6\).*resize"):
        score_mask(EMPTY, EMPTY.T)


def test_invalid_masks_are_rejected() -> None:
    with pytest.raises(DataError, match=r"shape \(1, 6, 8\)"):
        score_mask(EMPTY[None], EMPTY[None])
    with pytest.raises(DataError, match=r"at least one pixel"):
        score_mask(EMPTY[:0], EMPTY[:0])
    with pytest.raises(TypeError, match=r"uint8.*threshold"):
        score_mask(EMPTY.astype(np.uint8), EMPTY)


@pytest.mark.parametrize("spacing", [(0.0, 1.0), (1.0, -1.0), (float("nan"), 1.0), (float("inf"), 1.0)])
def test_invalid_spacing_is_rejected(spacing: tuple[float, float]) -> None:
    with pytest.raises(SettingError, match="spacing_mm"):
        score_mask(EMPTY, EMPTY, spacing_mm=spacing)
