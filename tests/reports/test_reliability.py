"""The reliability figure by its pixels, and its words against the bins."""

from __future__ import annotations

import io

import numpy as np
import pytest
from fakes.cards import WHOLE
from PIL import Image

from taichinet.evaluation.calibration import Calibration, calibrate, pool
from taichinet.reports.curves import DARK, FIGURE_WIDTHS, LIGHT, Look
from taichinet.reports.reliability import (
    calibration_rows,
    reliability_figure,
    reliability_in_words,
    reliability_size,
)


def drawn(calibration: Calibration, look: Look, width: float) -> np.ndarray:
    """RGBA of the figure (H, W, 4)."""
    return np.asarray(Image.open(io.BytesIO(reliability_figure(calibration, look, width))).convert("RGBA"))


def of_colour(picture: np.ndarray, colour: str) -> np.ndarray:
    """Where `picture` has exactly this opaque colour."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    found: np.ndarray = (picture[..., :3] == rgb).all(axis=-1) & (picture[..., 3] == 255)
    return found


@pytest.mark.parametrize("width", FIGURE_WIDTHS.values(), ids=FIGURE_WIDTHS)
@pytest.mark.parametrize("look", [LIGHT, DARK], ids=["light", "dark"])
def test_the_figure_has_the_size_it_says_on_a_clear_ground(look: Look, width: float) -> None:
    picture = drawn(WHOLE, look, width)
    columns, rows = reliability_size(width)
    assert picture.shape == (rows, columns, 4)
    assert (picture[..., 3] == 0).mean() > 0.3
    assert of_colour(picture, look.lines[0]).sum() > 300


def test_the_curve_rises_where_confidence_is_kept_and_lies_low_where_too_much_is_promised() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(60_000)
    kept = calibrate(p, rng.random(p.size) < p)
    boast = calibrate(p, rng.random(p.size) < 0.3 * p)

    def height_at_the_right(calibration: Calibration) -> float:
        picture = of_colour(drawn(calibration, LIGHT, 8.4), LIGHT.lines[0])
        return float(np.nonzero(picture[:, 560:640].any(axis=1))[0].mean())

    assert height_at_the_right(kept) < height_at_the_right(boast) - 200


def test_a_figure_without_pixels_is_drawn_and_says_so() -> None:
    assert drawn(pool([]), LIGHT, 8.4).size
    assert reliability_in_words(pool([])) == "No pixel was measured."


def test_the_words_tell_both_ends_and_where_the_pixels_are() -> None:
    words = reliability_in_words(WHOLE)
    assert "Of the 9\u202f000 pixels called 0.02 on average, 1 in 100 are lesion." in words
    assert "Of the 50 pixels called 0.60 on average, 40 in 100 are lesion." in words
    assert "Of the 950 pixels called 0.95 on average, 90 in 100 are lesion." in words
    assert "The lowest of 3 filled bins holds 90.0% of all pixels, the highest 9.5%." in words


def test_a_single_bin_is_told_once() -> None:
    assert reliability_in_words(Calibration((4, 0), (1, 0), (1.0, 0.0), 0.1)).count("Of the") == 1


def test_the_rows_are_the_bins_with_a_dash_for_what_an_empty_one_lacks() -> None:
    assert calibration_rows(WHOLE) == [
        ("0.00 to 0.25", "9\u202f000", "0.020", "0.010"),
        ("0.25 to 0.50", "0", "–", "–"),
        ("0.50 to 0.75", "50", "0.600", "0.400"),
        ("0.75 to 1.00", "950", "0.950", "0.900"),
    ]
