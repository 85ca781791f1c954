"""Augmentation: image and masks move as one, by printed ranges, from a seed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from helpers import augmented, discs, halves
from torch import Tensor

from taichinet.batch import Batch
from taichinet.datasets import augmentation as augmentation_module
from taichinet.datasets.augmentation import AugmentationSettings

CALM = {
    "quarter_turns": False,
    "max_degrees": 0.0,
    "gamma": (1.0, 1.0),
    "stretch": (1.0, 1.0),
    "probability": 1.0,
}


def settings(**changes: object) -> AugmentationSettings:
    return AugmentationSettings.model_validate({**CALM, **changes})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def example(count: int = 8, size: int = 32) -> Batch:
    data = discs(count, size)
    return data.batch(torch.arange(count), halves(data))


def repeated(image: Tensor, count: int) -> Batch:
    """`count` copies of one (H, W) picture that is its own lesion mask."""
    stack = image.expand(count, 1, *image.shape).clone()
    return Batch(stack, (stack > 0.5).float())


def present(mask: Tensor | None) -> Tensor:
    assert mask is not None
    return mask


def test_the_defaults_are_the_printed_ranges() -> None:
    printed = AugmentationSettings()
    assert printed.quarter_turns
    assert (printed.max_degrees, printed.gamma, printed.stretch) == (10.0, (0.5, 1.5), (0.6, 1.3))


def test_ranges_that_hold_only_the_identity_change_nothing() -> None:
    batch = example()
    moved = augmented(batch, settings(), seeded())
    torch.testing.assert_close(moved.image, batch.image, atol=1e-5, rtol=0)
    assert torch.equal(moved.lesion, batch.lesion)
    assert torch.equal(present(moved.easy), present(batch.easy))
    assert torch.equal(present(moved.hard), present(batch.hard))


def test_the_same_seed_moves_the_same_way_and_the_global_state_decides_nothing() -> None:
    batch = example()
    one = augmented(batch, AugmentationSettings(), seeded(3))
    torch.manual_seed(77)
    again = augmented(batch, AugmentationSettings(), seeded(3))
    other = augmented(batch, AugmentationSettings(), seeded(4))
    assert torch.equal(one.image, again.image)
    assert torch.equal(one.lesion, again.lesion)
    assert not torch.equal(one.image, other.image)


def test_one_generator_draws_anew_for_every_batch() -> None:
    generator, batch = seeded(), example()
    first = augmented(batch, AugmentationSettings(), generator)
    assert not torch.equal(first.image, augmented(batch, AugmentationSettings(), generator).image)


def test_the_originals_stay_as_they_were() -> None:
    batch = example()
    image, lesion = batch.image.clone(), batch.lesion.clone()
    augmented(batch, settings(quarter_turns=True, gamma=(0.5, 0.5), stretch=(0.6, 1.3)), seeded())
    assert torch.equal(batch.image, image)
    assert torch.equal(batch.lesion, lesion)


@pytest.mark.parametrize("seed", range(5))
def test_the_mask_moves_with_the_image(seed: int) -> None:
    """An image that shows its own mask still does after any geometry."""
    batch = example(8, 64)
    batch = replace(batch, image=batch.lesion.clone())
    moved = augmented(
        batch, settings(quarter_turns=True, max_degrees=10, stretch=(0.6, 1.3), probability=0.7), seeded(seed)
    )
    assert torch.equal((moved.image > 0.5).float(), moved.lesion)
    assert not torch.equal(moved.lesion, batch.lesion)


@pytest.mark.parametrize("seed", range(20))
def test_masks_stay_binary_and_the_parts_disjoint_and_within_the_lesion(seed: int) -> None:
    batch = example()
    if seed % 2:  # a checkerboard is the hardest case for resampling
        board = (torch.arange(32)[:, None] + torch.arange(32)) % 2
        batch = replace(batch, easy=batch.lesion * board, hard=batch.lesion * (1 - board))
    moved = augmented(batch, AugmentationSettings(), seeded(seed))
    easy, hard = present(moved.easy), present(moved.hard)
    for mask in (moved.lesion, easy, hard):
        assert mask.shape == batch.lesion.shape
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert float((easy * hard).max()) == 0
    assert float((torch.maximum(easy, hard) * (1 - moved.lesion)).max()) == 0
    assert float(moved.image.min()) >= 0
    assert float(moved.image.max()) <= 1


def test_what_was_not_mined_stays_away() -> None:
    batch = replace(example(), easy=None, hard=None)
    moved = augmented(batch, AugmentationSettings(), seeded())
    assert moved.easy is None
    assert moved.hard is None


def test_quarter_turns_are_by_90_180_and_270_degrees_and_lose_no_pixel() -> None:
    picture = torch.rand(16, 16, generator=seeded(1))
    moved = augmented(repeated(picture, 200), settings(quarter_turns=True), seeded())
    turned = [torch.rot90(picture, quarter) for quarter in range(4)]
    counts = [0, 0, 0, 0]
    for image, mask in zip(moved.image[:, 0], moved.lesion[:, 0], strict=True):
        errors = [float((image - candidate).abs().max()) for candidate in turned]
        quarter = min(range(4), key=errors.__getitem__)
        assert errors[quarter] < 1e-4
        assert float((mask != (turned[quarter] > 0.5)).float().mean()) < 0.01
        counts[quarter] += 1
    assert counts[0] == 0  # at probability 1 every image is turned
    assert min(counts[1:]) > 40  # each of the three as often


def test_half_the_images_are_turned_at_probability_one_half() -> None:
    picture = torch.rand(16, 16, generator=seeded(1))
    moved = augmented(repeated(picture, 400), settings(quarter_turns=True, probability=0.5), seeded())
    kept = sum(float((image - picture).abs().max()) < 1e-4 for image in moved.image[:, 0])
    assert 150 < kept < 250


def angle_of(bar: Tensor) -> float:
    """Degrees of a bar's long axis, from its second moments."""
    places = (bar > 0.5).nonzero().double()
    places = places - places.mean(dim=0)
    y, x = places[:, 0], places[:, 1]
    return math.degrees(0.5 * math.atan2(float(2 * (x * y).sum()), float((x * x - y * y).sum())))


def test_small_rotations_span_their_range_on_both_sides() -> None:
    bar = torch.zeros(64, 64)
    bar[30:34, 8:56] = 1
    moved = augmented(repeated(bar, 200), settings(max_degrees=10.0), seeded())
    angles = [angle_of(mask[0]) for mask in moved.lesion]
    assert -10.5 < min(angles) < -9
    assert 9 < max(angles) < 10.5
    assert abs(sum(angles) / len(angles)) < 1.5


def test_the_stretch_changes_one_axis_by_a_factor_of_the_printed_range() -> None:
    square = torch.zeros(64, 64)
    square[22:42, 22:42] = 1
    moved = augmented(repeated(square, 300), settings(stretch=(0.6, 1.3)), seeded())
    heights, widths = [], []
    for mask in moved.lesion[:, 0]:
        heights.append(float((mask.amax(dim=1) > 0).sum()) / 20)
        widths.append(float((mask.amax(dim=0) > 0).sum()) / 20)
        assert heights[-1] == 1 or widths[-1] == 1
    for factors in (heights, widths):
        assert 0.55 <= min(factors) <= 0.7
        assert 1.2 <= max(factors) <= 1.35
        stretched = sum(factor != 1 for factor in factors)
        assert 90 < stretched < 180  # either axis about as often; a factor near 1 rounds to none


def test_a_stretched_axis_shows_only_black_beyond_the_image() -> None:
    moved = augmented(repeated(torch.ones(32, 32), 20), settings(stretch=(0.6, 0.6)), seeded())
    for image, mask in zip(moved.image[:, 0], moved.lesion[:, 0], strict=True):
        assert float(image.mean()) == pytest.approx(0.6, abs=0.05)
        assert float(mask.mean()) == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize("gamma", [0.5, 1.5])
def test_gamma_is_a_power_of_the_intensity_and_leaves_masks_alone(gamma: float) -> None:
    batch = example()
    moved = augmented(batch, settings(gamma=(gamma, gamma)), seeded())
    torch.testing.assert_close(moved.image, batch.image**gamma, atol=1e-4, rtol=0)
    assert torch.equal(moved.lesion, batch.lesion)


def test_gamma_is_drawn_for_each_image_within_its_range() -> None:
    moved = augmented(repeated(torch.full((8, 8), 0.5), 300), settings(gamma=(0.5, 1.5)), seeded())
    gammas = torch.log(moved.image[:, 0, 4, 4]) / math.log(0.5)
    assert 0.5 - 1e-4 <= float(gammas.min()) < 0.55
    assert 1.45 < float(gammas.max()) <= 1.5 + 1e-4
    assert float(gammas.mean()) == pytest.approx(1, abs=0.06)


def test_the_channels_of_a_colour_image_move_together() -> None:
    data = discs(4, channels=3)
    moved = augmented(data.batch(torch.arange(4)), AugmentationSettings(probability=1), seeded())
    assert moved.image.shape == (4, 3, 32, 32)
    torch.testing.assert_close(moved.image[:, 0], moved.image[:, 1])
    torch.testing.assert_close(moved.image[:, 0], moved.image[:, 2])


@pytest.mark.parametrize(
    "wrong",
    [
        {"probability": 1.5},
        {"max_degrees": -1},
        {"gamma": (0.0, 1.0)},
        {"gamma": (1.5, 0.5)},
        {"gamma": (-1.0, 1.0)},
        {"stretch": (0.0, 1.0)},
        {"stretch": (1.3, 0.6)},
        {"flip": True},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        AugmentationSettings.model_validate(wrong)


def test_a_rotation_and_a_stretch_never_shear() -> None:
    """Output to input is a stretch after a rotation: the matrix times its transpose has no entry off the diagonal."""
    settings = AugmentationSettings(probability=1, max_degrees=10, stretch=(0.6, 1.3))
    matrix = augmentation_module._draw_affine(64, settings, torch.Generator().manual_seed(0))[:, :, :2]
    assert float(matrix[:, 0, 1].abs().max()) > 0.1  # there are rotations
    product = matrix @ matrix.transpose(1, 2)
    torch.testing.assert_close(product[:, 0, 1], torch.zeros(64), rtol=0, atol=1e-6)
    scales = torch.stack([product[:, 0, 0], product[:, 1, 1]], dim=1)
    assert bool(((scales - 1).abs() < 1e-6).any(dim=1).all()), "only one axis is stretched"
