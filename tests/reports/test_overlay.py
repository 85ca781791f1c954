"""Overlays, pixel by pixel, on small masks with known border."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from taichinet.errors import DataError
from taichinet.reports.overlay import PREDICTION, SECOND, TRUTH, colour_map, heat, overlay, strip

GREY = np.full((40, 60), 90, np.uint8)


def square() -> np.ndarray:
    mask = np.zeros(GREY.shape, bool)
    mask[10:30, 20:40] = True
    return mask


def colours(image: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(int(c) for c in colour) for colour in np.asarray(image).reshape(-1, 3)}


def test_overlay_without_masks_is_enlarged_image() -> None:
    image = overlay(GREY, scale=3)
    assert image.size == (180, 120)
    assert colours(image) == {(90, 90, 90)}


def test_ground_truth_is_solid_red_line_along_border() -> None:
    pixels = np.asarray(overlay(GREY, square(), scale=4))
    for x in range(20 * 4 + 4, 40 * 4 - 4):
        assert tuple(pixels[10 * 4, x]) == TRUTH.colour
        assert tuple(pixels[30 * 4 - 1, x]) == TRUTH.colour
    for y in range(10 * 4 + 4, 30 * 4 - 4):
        assert tuple(pixels[y, 20 * 4]) == TRUTH.colour
        assert tuple(pixels[y, 40 * 4 - 1]) == TRUTH.colour


def test_contour_does_not_change_pixels_inside_and_outside() -> None:
    pixels = np.asarray(overlay(GREY, square(), scale=4))
    assert (pixels[60:100, 100:140] == 90).all()
    assert (pixels[:30] == 90).all()


def test_prediction_is_dashed_in_its_colour() -> None:
    line = np.asarray(overlay(GREY, prediction=square(), scale=4))[40, 84:156]
    drawn = (line == PREDICTION.colour).all(axis=1)
    assert 0.4 < drawn.mean() < 0.9
    assert int(np.diff(drawn.astype(int)).clip(0).sum()) >= 3


def test_three_masks_have_three_colours() -> None:
    first, second, third = (np.roll(square(), shift, axis=1) for shift in (0, 8, 16))
    assert {TRUTH.colour, PREDICTION.colour, SECOND.colour} <= colours(overlay(GREY, first, second, third))


def test_contours_differ_in_grey_value() -> None:
    truth, prediction = (Image.new("RGB", (1, 1), s.colour).convert("L").getpixel((0, 0)) for s in (TRUTH, PREDICTION))
    assert abs(int(truth) - int(prediction)) > 60  # type: ignore[arg-type]


def test_contour_of_lesion_at_image_edge_is_closed() -> None:
    pixels = np.asarray(overlay(GREY, np.ones(GREY.shape, bool), scale=3))
    for side in (pixels[1], pixels[-2], pixels[:, 1], pixels[:, -2]):
        assert (side == TRUTH.colour).all()


def test_empty_masks_draw_nothing() -> None:
    empty = np.zeros(GREY.shape, bool)
    assert colours(overlay(GREY, empty, empty, empty)) == {(90, 90, 90)}


def test_single_pixel_is_visible() -> None:
    mask = np.zeros(GREY.shape, bool)
    mask[5, 5] = True
    for masks in ((mask, None), (None, mask)):
        assert len(colours(overlay(GREY, *masks))) > 1


@pytest.mark.parametrize(
    "mask", [np.zeros((3, 3), bool), np.zeros(GREY.shape, np.uint8)], ids=["other size", "other type"]
)
def test_mask_of_other_size_or_type_is_rejected_by_name(mask: np.ndarray) -> None:
    with pytest.raises(DataError, match="prediction"):
        overlay(GREY, None, mask)


def test_colour_image_is_rejected() -> None:
    with pytest.raises(DataError, match=r"\(H, W\) of uint8"):
        overlay(np.zeros((4, 4, 3), np.uint8))


def test_heat_map_is_from_dark_to_light() -> None:
    ramp = np.linspace(0, 1, 256)[None]
    image = heat(ramp, scale=1)
    assert (np.asarray(image) == colour_map(ramp)).all()
    lightness = np.asarray(image.convert("L"))[0].astype(int)
    assert (np.diff(lightness) >= 0).all()
    assert lightness[-1] - lightness[0] > 150


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_heat_map_rejects_values_outside_0_to_1(value: float) -> None:
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        heat(np.full((4, 4), value))


def test_strip_has_images_of_equal_height_with_captions_above() -> None:
    sheet = strip([("image", Image.new("RGB", (50, 40), "red")), ("truth", Image.new("L", (30, 60), 128))], height=80)
    pixels = np.asarray(sheet)
    red = (pixels == (255, 0, 0)).all(axis=2)
    grey = (pixels == 128).all(axis=2)
    assert (red.any(axis=1).sum(), red.any(axis=0).sum()) == (80, 100)
    assert (grey.any(axis=1).sum(), grey.any(axis=0).sum()) == (80, 40)
    top = int(np.flatnonzero(red.any(axis=1))[0])
    for image_pixels in (red, grey):
        assert pixels[:top, image_pixels.any(axis=0)].min() < 100


def test_long_caption_is_wrapped_above_its_image() -> None:
    caption = "ground truth as two radiologists drew it, benign"
    sheet = strip([(caption, Image.new("RGB", (160, 160)))], height=160)
    assert sheet.width == 160 + 2 * 12
    assert (np.asarray(sheet)[:, -8:] == 255).all()
