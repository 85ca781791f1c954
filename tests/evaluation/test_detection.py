"""`detect_lesions` on small masks: what is found, what is false, and the scores of the components."""

from __future__ import annotations

import numpy as np
import pytest

from taichinet.evaluation.detection import DETECTION_COLUMNS, LesionDetection, detect_lesions
from taichinet.evaluation.masks import Mask

EMPTY = np.zeros((40, 50), dtype=np.bool_)


def boxes(*corners: tuple[int, int, int, int]) -> Mask:
    """A mask with filled boxes (top, left, height, width)."""
    mask = EMPTY.copy()
    for top, left, height, width in corners:
        mask[top : top + height, left : left + width] = True
    return mask


def detect(prediction: Mask, truth: Mask, probability: float = 0.75) -> LesionDetection:
    return detect_lesions(prediction, np.where(prediction, probability, 0.25).astype(np.float32), truth)


def test_lesions_components_and_misses_are_counted() -> None:
    truth = boxes((2, 2, 8, 8), (20, 2, 8, 8), (20, 30, 8, 8))
    prediction = boxes((3, 3, 8, 8), (2, 30, 5, 5), (33, 40, 4, 4))
    assert detect(prediction, truth) == LesionDetection(3, (0.75,), (0.75, 0.75))


@pytest.mark.parametrize(("width", "found"), [(19, 1), (20, 0)])
def test_a_lesion_is_found_from_a_dice_of_a_tenth(width: int, found: int) -> None:
    truth = boxes((0, 0, 1, 1))  # Dice 2 / (1 + width)
    assert len(detect(boxes((0, 0, 1, width)), truth).found_scores) == found


def test_diagonal_pixels_belong_to_one_component() -> None:
    diagonal = boxes((5, 5, 1, 1), (6, 6, 1, 1))
    assert detect(diagonal, diagonal) == LesionDetection(1, (0.75,), ())


def test_score_is_the_largest_probability_of_the_best_component_that_finds_the_lesion() -> None:
    truth = boxes((10, 10, 9, 9))
    prediction = boxes((10, 10, 4, 9), (15, 10, 4, 9), (30, 30, 3, 3))
    probability = np.full(EMPTY.shape, 0.5, dtype=np.float32)
    probability[11, 11], probability[16, 12], probability[31, 31] = 0.75, 0.875, 0.625
    probability[0, 0] = 0.99  # not predicted
    assert detect_lesions(prediction, probability, truth) == LesionDetection(1, (0.875,), (0.625,))


def test_one_component_can_find_two_lesions() -> None:
    truth = boxes((10, 10, 9, 9), (10, 20, 9, 9))
    assert detect(boxes((10, 10, 9, 19)), truth) == LesionDetection(2, (0.75, 0.75), ())


def test_specks_of_the_drawing_are_no_lesions() -> None:
    truth = np.zeros((200, 200), dtype=np.bool_)  # the limit is 4 pixels
    truth[50:90, 50:90] = truth[0, 0:3] = truth[199, 0:4] = True
    assert detect_lesions(truth, truth.astype(np.float32), truth).lesions == 2


def test_the_largest_component_is_a_lesion_of_any_size() -> None:
    truth = np.zeros((200, 200), dtype=np.bool_)
    truth[5, 5] = truth[100, 7:9] = True
    assert detect_lesions(truth, truth.astype(np.float32), truth) == LesionDetection(1, (1.0,), (1.0,))


def test_empty_masks() -> None:
    lesion = boxes((10, 10, 9, 9))
    assert detect(EMPTY, EMPTY) == LesionDetection(0, (), ())
    assert detect(EMPTY, lesion) == LesionDetection(1, (), ())
    assert detect(lesion, EMPTY) == LesionDetection(0, (), (0.75,))


def test_columns_are_numbers_and_lists() -> None:
    cells = LesionDetection(3, (0.9, 0.75), ()).to_columns()
    assert tuple(cells) == DETECTION_COLUMNS
    assert list(cells.values()) == [3, 2, 0, "[0.9, 0.75]", "[]"]


def test_scores_near_one_stay_different() -> None:
    truth = boxes((10, 10, 9, 9))
    assert detect(truth, truth, 0.9999998).found_scores == (0.99999982,)  # of float32
