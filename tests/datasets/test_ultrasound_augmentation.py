"""Augmentation for ultrasound: each transformation does what its name says, from a seed, with all masks together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import augmented, discs, halves
from pydantic import ValidationError
from torch import Tensor

from taichinet.batch import Batch
from taichinet.datasets.augmentation import AugmentationSettings, draw_transforms
from taichinet.datasets.ultrasound.appearance import APPEARANCES, blur, draw_textures, resolution, shadow
from taichinet.datasets.ultrasound.geometry import GEOMETRY
from taichinet.datasets.ultrasound.marks import PLACES
from taichinet.datasets.ultrasound.settings import UltrasoundSettings

NAMES = (*GEOMETRY, "sector", *APPEARANCES)
SIZE = 64


def ultrasound(**changes: Any) -> AugmentationSettings:
    """Only the transformations in `changes`, on every image; a value is the range, and True is the default range."""
    values = UltrasoundSettings().model_dump()
    for name in NAMES:
        values[name]["probability"] = 1.0 if name in changes else 0.0
        if changes.get(name, True) is not True:
            values[name]["range"] = changes[name]
    return AugmentationSettings(kind="ultrasound", ultrasound=UltrasoundSettings.model_validate(values))


def always(**changes: Any) -> AugmentationSettings:
    """All transformations on every image."""
    return ultrasound(**{**dict.fromkeys(NAMES, True), **changes})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def phantoms(count: int = 8) -> Batch:
    data = discs(count, size=SIZE)
    batch = data.batch(torch.arange(count), halves(data))
    return replace(batch, teacher_probability=batch.lesion * 0.8)


def flat(count: int = 8, grey: float = 0.5, channels: int = 1) -> Batch:
    """Uniform images with a square lesion in the centre."""
    lesion = torch.zeros(count, 1, SIZE, SIZE)
    lesion[..., 24:40, 24:40] = 1
    return Batch(torch.full((count, channels, SIZE, SIZE), grey), lesion)


def parts(batch: Batch) -> list[Tensor]:
    values = (batch.image, batch.lesion, batch.easy, batch.hard, batch.teacher_probability)
    return [value for value in values if value is not None]


def same(first: Batch, second: Batch) -> bool:
    return all(torch.equal(one, other) for one, other in zip(parts(first), parts(second), strict=True))


def test_the_seed_determines_the_result() -> None:
    first = augmented(phantoms(), always(), seeded(3))
    assert same(first, augmented(phantoms(), always(), seeded(3)))
    assert not torch.equal(first.image, augmented(phantoms(), always(), seeded(4)).image)


def test_images_of_a_batch_and_batches_of_an_epoch_differ() -> None:
    drawn = draw_transforms([3, 2], always(), seeded(), torch.device("cpu"))
    images = torch.cat([transforms.apply(flat(size)).image for transforms, size in zip(drawn, (3, 2), strict=True)])
    for first in range(5):
        for second in range(first):
            assert not torch.equal(images[first], images[second])


def test_division_into_batches_does_not_change_an_image() -> None:
    batch = phantoms(5)
    (whole,) = draw_transforms([5], always(), seeded(), torch.device("cpu"))
    last = draw_transforms([3, 2], always(), seeded(), torch.device("cpu"))[1]
    expected, actual = whole.apply(batch), last.apply(Batch(batch.image[3:], batch.lesion[3:]))
    assert torch.allclose(actual.image, expected.image[3:], atol=1e-5)
    assert torch.equal(actual.lesion, expected.lesion[3:])


def test_probability_zero_changes_nothing() -> None:
    batch = phantoms()
    moved = augmented(batch, ultrasound(), seeded())
    assert same(moved, batch)
    assert moved.image.data_ptr() != batch.image.data_ptr()


@pytest.mark.parametrize("name", NAMES)
def test_one_probability_disables_one_transformation(name: str) -> None:
    """The draws of the others do not change, so that settings can be compared on the same images."""
    batch = phantoms()
    values = always().model_dump()
    values["ultrasound"][name]["probability"] = 0
    without = augmented(batch, AugmentationSettings.model_validate(values), seeded())
    identity = {"zoom": [1, 1], "crop": [1, 1], "translation": [0, 0], "rotation": [0, 0], "shadow": [1, 1]}
    identity |= {"speckle": [0, 0], "depth_gain": [1, 1], "gain": [1, 1], "contrast": [1, 1], "blur": [0, 0]}
    identity |= {"resolution": [1, 1]}
    assert not torch.allclose(without.image, augmented(batch, always(), seeded()).image, atol=1e-3)
    if name in identity:
        neutral = augmented(batch, always(**{name: identity[name]}), seeded())
        assert torch.allclose(without.image, neutral.image, atol=1e-4)


def test_probability_is_that_of_each_image() -> None:
    values = ultrasound(gain=(2, 2)).model_dump()
    values["ultrasound"]["gain"]["probability"] = 0.3
    moved = augmented(flat(1000, 0.25), AugmentationSettings.model_validate(values), seeded())
    share = (moved.image.mean(dim=(1, 2, 3)) > 0.4).float().mean()
    assert 0.25 < share < 0.35


@pytest.mark.parametrize("seed", range(5))
def test_masks_remain_binary_disjoint_and_inside_the_lesion(seed: int) -> None:
    moved = augmented(phantoms(), always(), seeded(seed))
    assert moved.easy is not None
    assert moved.hard is not None
    assert moved.teacher_probability is not None
    for mask in (moved.lesion, moved.easy, moved.hard):
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert (moved.easy * moved.hard).sum() == 0
    assert ((moved.easy + moved.hard) <= moved.lesion).all()
    assert moved.lesion.sum() > 0
    assert 0 <= moved.teacher_probability.min() <= moved.teacher_probability.max() < 0.801
    assert 0 <= moved.image.min() <= moved.image.max() <= 1


def test_values_saturate_at_white_before_they_are_blurred() -> None:
    batch = flat()
    batch.image[..., :32, :] = 0
    moved = augmented(batch, ultrasound(gain=(4, 4), blur=(1, 1)), seeded()).image
    assert moved.max() == 1
    assert torch.allclose(moved[..., 30:34, 5], torch.tensor([1 / 9, 3 / 9, 6 / 9, 8 / 9]))


def test_the_given_batch_is_not_changed() -> None:
    batch, copy = phantoms(), phantoms()
    augmented(batch, always(), seeded())
    assert same(batch, copy)


@pytest.mark.parametrize("name", APPEARANCES)
def test_appearance_leaves_the_masks_unchanged(name: str) -> None:
    batch = phantoms()
    moved = augmented(batch, ultrasound(**{name: True}), seeded())
    assert not torch.equal(moved.image, batch.image)
    assert all(torch.equal(one, other) for one, other in zip(parts(moved)[1:], parts(batch)[1:], strict=True))


def test_images_of_three_channels_remain_grey() -> None:
    moved = augmented(flat(channels=3), always(), seeded())
    assert torch.equal(moved.image[:, 0], moved.image[:, 2])


@pytest.mark.parametrize("zoom", [0.5, 0.75, 1.25])
def test_zoom_scales_the_area_of_the_lesion(zoom: float) -> None:
    moved = augmented(flat(40), ultrasound(zoom=(zoom, zoom)), seeded())
    inner = moved.lesion[:, :, 2:-2, 2:-2].sum(dim=(1, 2, 3)) == moved.lesion.sum(dim=(1, 2, 3))
    areas = moved.lesion[inner].sum(dim=(1, 2, 3))
    expected = 256 * zoom**2
    close = (areas - expected).abs() < 0.15 * expected
    assert close.float().mean() > 0.4  # the others continue mirrored, or are cut by the edge
    assert (areas[~close] > expected).all() or zoom > 1


def test_a_small_image_stays_at_the_top_and_half_continue_mirrored() -> None:
    image = augmented(flat(400), ultrasound(zoom=(0.5, 0.5)), seeded()).image
    assert image[:, :, :30].mean(dim=3).min() > 0.2
    assert image[:, :, 34:].max() == 0
    filled = (image[:, :, 2:30] > 0.49).all(dim=3).all(dim=2)
    assert 0.4 < filled.float().mean() < 0.6


def test_the_mirror_image_meets_the_edge() -> None:
    batch = flat(20)
    batch.lesion[..., :] = 0
    batch.lesion[..., 20:30, :8] = 1  # at the left edge
    moved = augmented(batch, ultrasound(zoom=(0.5, 0.5)), seeded(1))
    area = moved.lesion.sum(dim=(1, 2, 3))
    assert {20.0, 40.0} <= set(area.tolist())  # black, and mirrored


def test_crop_enlarges_each_axis_and_stays_inside() -> None:
    moved = augmented(flat(40), ultrasound(crop=(0.6, 0.9)), seeded())
    height = moved.lesion.amax(dim=3).sum(dim=(1, 2))
    width = moved.lesion.amax(dim=2).sum(dim=(1, 2))
    assert moved.image[:, :, 1:-1, 1:-1].min() > 0.49
    assert min(height.min(), width.min()) >= 16
    assert (height - width).abs().max() >= 4


def test_translation_moves_by_at_most_its_range() -> None:
    moved = augmented(flat(100), ultrasound(translation=(-0.125, 0.125)), seeded())
    assert (moved.lesion.sum(dim=(1, 2, 3)) > 200).all()
    for axis in (2, 3):
        position = (moved.lesion.amax(dim=5 - axis).flatten(1) * torch.arange(SIZE)).sum(1) / 16
        shift = position - 31.5
        assert shift.abs().max() < 9
        assert shift.min() < -5
        assert shift.max() > 5


def test_rotation_keeps_the_area_and_leaves_the_top_at_the_top() -> None:
    batch = flat(50)
    batch.lesion[...] = 0
    batch.lesion[..., 10:14, 16:48] = 1
    moved = augmented(batch, ultrasound(rotation=(-8, 8)), seeded())
    area = moved.lesion.sum(dim=(1, 2, 3))
    assert ((area - 128).abs() < 16).all()
    assert moved.lesion[:, :, 20:].sum() == 0
    assert (moved.lesion.amax(dim=3).sum(dim=(1, 2)) > 6).any()


def test_flip_is_horizontal() -> None:
    batch = flat()
    batch.image[..., 10:20, :8] = 1
    batch.lesion[..., :, 40:] = 1
    moved = augmented(batch, ultrasound(flip=True), seeded())
    assert torch.allclose(moved.image, batch.image.flip(3), atol=1e-5)
    assert torch.equal(moved.lesion, batch.lesion.flip(3))


def test_sector_is_black_outside_with_all_masks() -> None:
    batch = flat()
    batch = replace(batch, lesion=torch.ones_like(batch.lesion), teacher_probability=torch.ones_like(batch.lesion))
    moved = augmented(batch, ultrasound(sector=(0.5, 0.5)), seeded())
    assert torch.equal(moved.image > 0, moved.lesion == 1)
    assert moved.teacher_probability is not None
    assert torch.equal(moved.teacher_probability, moved.lesion)
    width = moved.lesion.sum(dim=3)[:, 0]
    assert ((width[:, 0] / SIZE - 0.5).abs() < 0.05).all()
    assert (width[:, 40] > width[:, 0] + 4).all()
    assert (moved.lesion[:, :, -1, 0] == 0).all()


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_gain_scales_the_mean_and_keeps_black(factor: float) -> None:
    batch = flat()
    batch.image[..., :10, :] = 0
    moved = augmented(batch, ultrasound(gain=(factor, factor)), seeded())
    assert torch.allclose(moved.image, batch.image * factor)


def test_depth_gain_brightens_the_bottom_and_darkens_the_top() -> None:
    moved = augmented(flat(), ultrasound(depth_gain=(1.5, 1.5)), seeded()).image
    assert torch.allclose(moved[:, :, -1], torch.tensor(0.75), atol=0.01)
    assert torch.allclose(moved[:, :, 0], torch.tensor(0.5 / 1.5), atol=0.01)
    assert (moved.diff(dim=2) > 0).all()


def test_contrast_increases_the_ratio_of_bright_to_dark() -> None:
    batch = flat()
    batch.image[..., :10, :] = 0.25
    moved = augmented(batch, ultrasound(contrast=(1.5, 1.5)), seeded()).image
    assert torch.allclose(moved[..., 0, 0] / moved[..., -1, 0], torch.tensor(0.5**1.5))


def test_speckle_is_multiplicative_and_correlated() -> None:
    batch = flat()
    batch.image[..., :10, :] = 0
    batch.image[..., 10:30, :] = 0.25
    moved = augmented(batch, ultrasound(speckle=(0.2, 0.2)), seeded()).image
    assert moved[..., :10, :].max() == 0
    dark, bright = moved[..., 10:30, :], moved[..., 30:, :]
    assert dark.std() / 0.25 == pytest.approx(0.2, abs=0.04)
    assert bright.std() / 0.5 == pytest.approx(0.2, abs=0.04)
    assert bright.mean() == pytest.approx(0.5, abs=0.02)
    centred = bright - 0.5
    assert (centred[..., 1:] * centred[..., :-1]).mean() > 0.3 * centred.square().mean()


def test_shadow_darkens_a_strip_below_a_point_and_nothing_above() -> None:
    batch = flat(200)
    moved = augmented(batch, ultrasound(shadow=(0.2, 0.2)), seeded()).image[:, 0]
    darkest = moved.min(dim=2).values
    assert (darkest.diff(dim=1) <= 1e-6).float().mean() > 0.98  # darker with depth, then constant
    assert (moved[:, 0] == 0.5).all() or (moved[:, 0] == 0.5).float().mean() > 0.99
    assert ((moved < 0.49).float().mean(dim=(1, 2)) < 0.7).all()
    assert moved.min() == pytest.approx(0.1, abs=1e-3)


def test_shadow_starts_at_its_point() -> None:
    places = torch.full((1, PLACES), 0.5)  # starts at y = -0.2, x = 0
    moved = shadow(flat(1).image, torch.tensor(0.0).view(1, 1, 1, 1), places, draw_textures(seeded()))[0, 0]
    start = int(0.8 / 2 * SIZE)
    assert (moved[:start] == 0.5).all()
    assert moved[-1, SIZE // 2] == 0
    assert (moved[:, 0] == 0.5).all()
    assert (moved[:, -1] == 0.5).all()


def test_blur_reduces_and_sharpening_increases_the_difference_of_neighbours() -> None:
    batch = phantoms()

    def roughness(image: Tensor) -> float:
        return float(image.diff(dim=3).abs().mean())

    before = roughness(batch.image)
    assert roughness(augmented(batch, ultrasound(blur=(1, 1)), seeded()).image) < 0.5 * before
    assert roughness(augmented(batch, ultrasound(blur=(-1, -1)), seeded()).image) > 1.5 * before
    none = torch.zeros(8, 1, 1, 1)
    assert torch.equal(blur(batch.image, none, none.flatten(1), draw_textures(seeded())), batch.image)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.35, 0.25])
def test_resolution_removes_detail_and_keeps_the_mean(share: float) -> None:
    image = flat(2).image
    image[..., ::2] = 1
    image[..., 1::2] = 0  # the finest pattern
    amount = torch.full((2, 1, 1, 1), share)
    moved = resolution(image, amount, amount.flatten(1), draw_textures(seeded()))
    assert moved.mean() == pytest.approx(0.5, abs=1e-3)
    assert (moved.std() < 0.01) == (share <= 0.5)
    assert share < 1 or torch.equal(moved, image)


def test_resolution_to_a_quarter_removes_a_pattern_of_four_pixels() -> None:
    image = torch.tensor([1.0, 1, 0, 0]).repeat(SIZE // 4).expand(1, 1, SIZE, SIZE)
    for share, remains in ((0.5, True), (0.25, False)):
        amount = torch.full((1, 1, 1, 1), share)
        moved = resolution(image, amount, amount.flatten(1), draw_textures(seeded()))
        assert bool(moved.std() > 0.05) == remains


def test_marks_are_bright_and_small() -> None:
    batch = flat(300, grey=0.2)
    batch = replace(batch, image=batch.image.repeat_interleave(4, 2).repeat_interleave(4, 3))
    batch = replace(batch, lesion=batch.lesion.repeat_interleave(4, 2).repeat_interleave(4, 3))
    moved = augmented(batch, ultrasound(marks=(0.9, 0.9)), seeded())
    changed = moved.image > 0.21
    share = changed.float().mean(dim=(1, 2, 3))
    assert (share > 0).float().mean() > 0.97  # calipers may lie outside
    assert share.max() < 0.03
    assert moved.image.min() == pytest.approx(0.2)
    assert moved.image.max() == pytest.approx(0.9)
    assert torch.equal(moved.lesion, batch.lesion)


def test_marks_have_the_same_relative_size_at_every_resolution() -> None:
    def share(size: int) -> float:
        batch = Batch(torch.zeros(100, 1, size, size), torch.zeros(100, 1, size, size))
        return float(augmented(batch, ultrasound(marks=(1, 1)), seeded()).image.mean())

    assert share(320) == pytest.approx(share(224), rel=0.2)


def test_defaults_make_lesions_small_and_keep_the_top_at_the_top() -> None:
    defaults = UltrasoundSettings()
    assert defaults.zoom.range == (0.5, 1.3)
    assert max(map(abs, defaults.rotation.range)) <= 15
    assert AugmentationSettings().kind == "paper"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zoom": {"probability": 1, "range": [0.1, 1]}}, r"zoom\n.*is not within \[0.2, 5\]"),
        ({"gain": {"probability": 1, "range": [1.2, 0.8]}}, r"gain.range\n.*\[least, greatest\]"),
        ({"speckle": {"probability": 1.5, "range": [0, 1]}}, r"speckle.probability"),
        ({"resolution": {"probability": 1, "range": [0.1, 1]}}, r"resolution\n.*within \[0.25, 1\]"),
        ({"flip": {"probability": 1, "range": [0, 1]}}, r"flip.range"),
        ({"haze": {"probability": 1, "range": [0, 1]}}, r"haze"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        UltrasoundSettings.model_validate(changes)
