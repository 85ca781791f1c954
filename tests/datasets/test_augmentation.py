"""Augmentation: images and masks are transformed together, within the printed ranges, from a seed."""

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
    """`count` copies of an (H, W) image that is also its lesion mask."""
    stack = image.expand(count, 1, *image.shape).clone()
    return Batch(stack, (stack > 0.5).float())


def present(mask: Tensor | None) -> Tensor:
    assert mask is not None
    return mask


def test_defaults_are_the_printed_ranges() -> None:
    printed = AugmentationSettings()
    assert printed.quarter_turns
    assert (printed.max_degrees, printed.gamma, printed.stretch) == (10.0, (0.5, 1.5), (0.6, 1.3))


def test_identity_ranges_change_nothing() -> None:
    batch = example()
    moved = augmented(batch, settings(), seeded())
    torch.testing.assert_close(moved.image, batch.image, atol=1e-5, rtol=0)
    assert torch.equal(moved.lesion, batch.lesion)
    assert torch.equal(present(moved.easy), present(batch.easy))
    assert torch.equal(present(moved.hard), present(batch.hard))


def test_result_depends_on_the_generator_seed_not_the_global_state() -> None:
    batch = example()
    first = augmented(batch, AugmentationSettings(), seeded(3))
    torch.manual_seed(77)
    repeated_result = augmented(batch, AugmentationSettings(), seeded(3))
    other = augmented(batch, AugmentationSettings(), seeded(4))
    assert torch.equal(first.image, repeated_result.image)
    assert torch.equal(first.lesion, repeated_result.lesion)
    assert not torch.equal(first.image, other.image)


def test_generator_draws_new_values_for_every_batch() -> None:
    generator, batch = seeded(), example()
    first = augmented(batch, AugmentationSettings(), generator)
    assert not torch.equal(first.image, augmented(batch, AugmentationSettings(), generator).image)


def test_input_batch_is_unchanged() -> None:
    batch = example()
    image, lesion = batch.image.clone(), batch.lesion.clone()
    augmented(batch, settings(quarter_turns=True, gamma=(0.5, 0.5), stretch=(0.6, 1.3)), seeded())
    assert torch.equal(batch.image, image)
    assert torch.equal(batch.lesion, lesion)


@pytest.mark.parametrize("seed", range(5))
def test_mask_moves_with_the_image(seed: int) -> None:
    """An image equal to its mask is still equal to it after any geometric transformation."""
    batch = example(8, 64)
    batch = replace(batch, image=batch.lesion.clone())
    moved = augmented(
        batch, settings(quarter_turns=True, max_degrees=10, stretch=(0.6, 1.3), probability=0.7), seeded(seed)
    )
    assert torch.equal((moved.image > 0.5).float(), moved.lesion)
    assert not torch.equal(moved.lesion, batch.lesion)


@pytest.mark.parametrize("seed", range(20))
def test_masks_stay_binary_and_regions_disjoint_within_the_lesion(seed: int) -> None:
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


def test_missing_regions_stay_none() -> None:
    batch = replace(example(), easy=None, hard=None)
    moved = augmented(batch, AugmentationSettings(), seeded())
    assert moved.easy is None
    assert moved.hard is None


def test_quarter_turns_are_by_90_180_and_270_degrees_and_lose_no_pixel() -> None:
    original = torch.rand(16, 16, generator=seeded(1))
    moved = augmented(repeated(original, 200), settings(quarter_turns=True), seeded())
    turned = [torch.rot90(original, quarter) for quarter in range(4)]
    counts = [0, 0, 0, 0]
    for image, mask in zip(moved.image[:, 0], moved.lesion[:, 0], strict=True):
        errors = [float((image - candidate).abs().max()) for candidate in turned]
        quarter = min(range(4), key=errors.__getitem__)
        assert errors[quarter] < 1e-4
        assert float((mask != (turned[quarter] > 0.5)).float().mean()) < 0.01
        counts[quarter] += 1
    assert counts[0] == 0  # at probability 1 every image is turned
    assert min(counts[1:]) > 40  # the three angles are equally frequent


def test_half_of_the_images_are_turned_at_probability_one_half() -> None:
    original = torch.rand(16, 16, generator=seeded(1))
    moved = augmented(repeated(original, 400), settings(quarter_turns=True, probability=0.5), seeded())
    unchanged = sum(float((image - original).abs().max()) < 1e-4 for image in moved.image[:, 0])
    assert 150 < unchanged < 250


def angle_of(bar: Tensor) -> float:
    """Degrees of a bar's long axis, from its second moments."""
    places = (bar > 0.5).nonzero().double()
    places = places - places.mean(dim=0)
    y, x = places[:, 0], places[:, 1]
    return math.degrees(0.5 * math.atan2(float(2 * (x * y).sum()), float((x * x - y * y).sum())))


def test_small_rotations_cover_their_range_in_both_directions() -> None:
    bar = torch.zeros(64, 64)
    bar[30:34, 8:56] = 1
    moved = augmented(repeated(bar, 200), settings(max_degrees=10.0), seeded())
    angles = [angle_of(mask[0]) for mask in moved.lesion]
    assert -10.5 < min(angles) < -9
    assert 9 < max(angles) < 10.5
    assert abs(sum(angles) / len(angles)) < 1.5


def test_stretch_changes_one_axis_within_the_printed_range() -> None:
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


def test_stretched_image_is_black_outside_the_original() -> None:
    moved = augmented(repeated(torch.ones(32, 32), 20), settings(stretch=(0.6, 0.6)), seeded())
    for image, mask in zip(moved.image[:, 0], moved.lesion[:, 0], strict=True):
        assert float(image.mean()) == pytest.approx(0.6, abs=0.05)
        assert float(mask.mean()) == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize("gamma", [0.5, 1.5])
def test_gamma_is_a_power_of_the_intensity_and_keeps_masks(gamma: float) -> None:
    batch = example()
    moved = augmented(batch, settings(gamma=(gamma, gamma)), seeded())
    torch.testing.assert_close(moved.image, batch.image**gamma, atol=1e-4, rtol=0)
    assert torch.equal(moved.lesion, batch.lesion)


def test_gamma_is_drawn_per_image_within_its_range() -> None:
    moved = augmented(repeated(torch.full((8, 8), 0.5), 300), settings(gamma=(0.5, 1.5)), seeded())
    gammas = torch.log(moved.image[:, 0, 4, 4]) / math.log(0.5)
    assert 0.5 - 1e-4 <= float(gammas.min()) < 0.55
    assert 1.45 < float(gammas.max()) <= 1.5 + 1e-4
    assert float(gammas.mean()) == pytest.approx(1, abs=0.06)


def test_channels_of_a_colour_image_move_together() -> None:
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
def test_invalid_settings_are_rejected(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        AugmentationSettings.model_validate(wrong)


def test_rotation_and_stretch_never_shear() -> None:
    """Output to input is a stretch after a rotation: the matrix times its transpose has no entry off the diagonal."""
    settings = AugmentationSettings(probability=1, max_degrees=10, stretch=(0.6, 1.3))
    matrix = augmentation_module._draw_affine(64, settings, torch.Generator().manual_seed(0))[:, :, :2]
    assert float(matrix[:, 0, 1].abs().max()) > 0.1  # rotations occur
    product = matrix @ matrix.transpose(1, 2)
    torch.testing.assert_close(product[:, 0, 1], torch.zeros(64), rtol=0, atol=1e-6)
    scales = torch.stack([product[:, 0, 0], product[:, 1, 1]], dim=1)
    assert bool(((scales - 1).abs() < 1e-6).any(dim=1).all()), "more than one axis is stretched"
