"""L_S and L_C against loops over pixels, and their values where the printed quotients are undefined."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import Tensor

from taichinet.losses.complementary import complementary_loss, squared_error
from taichinet.losses.segmentation import cross_entropy, dice_loss, segmentation_loss

BATCH, REGIONS, HEIGHT, WIDTH = 3, 2, 4, 5
Map = list[list[float]]


def random_logits(seed: int = 0, scale: float = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(BATCH, REGIONS, HEIGHT, WIDTH, generator=generator)


def random_target(seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(BATCH, REGIONS, HEIGHT, WIDTH, generator=generator) < 0.4).float()


def sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value))


def looped_dice(logits: Map, target: Map) -> float:
    """Eq. 16, pixel by pixel."""
    above, below = 0.0, 0.0
    for i in range(len(target)):
        for j in range(len(target[i])):
            above += target[i][j] * sigmoid(logits[i][j])
            below += target[i][j] ** 2 + sigmoid(logits[i][j]) ** 2
    return 1 - 2 * above / below


def looped_cross_entropy(logits: Map, target: Map) -> float:
    """Eq. 17 with y and y^ in their usual places, as the mean over pixels."""
    total, pixels = 0.0, 0
    for i in range(len(target)):
        for j in range(len(target[i])):
            y, estimate = target[i][j], sigmoid(logits[i][j])
            total -= (1 - y) * log(1 - estimate) + y * log(estimate)
            pixels += 1
    return total / pixels


def looped_complementary(negative: Map, positive: Map) -> float:
    """Eq. 18-19, as the mean over pixels."""
    total, pixels = 0.0, 0
    for i in range(len(negative)):
        for j in range(len(negative[i])):
            output_n, output_p = sigmoid(negative[i][j]), sigmoid(positive[i][j])
            total += (output_n - (1 - output_p)) ** 2 / 2 + (output_p - (1 - output_n)) ** 2 / 2
            pixels += 1
    return total / pixels


def test_dice_loss_equals_equation_16_for_each_image_and_region() -> None:
    logits, target = random_logits(), random_target()
    losses = dice_loss(logits, target)
    assert losses.shape == (BATCH, REGIONS)
    for image in range(BATCH):
        for region in range(REGIONS):
            expected = looped_dice(logits[image, region].tolist(), target[image, region].tolist())
            assert float(losses[image, region]) == pytest.approx(expected, abs=1e-6)


def test_cross_entropy_equals_equation_17_for_each_image_and_region() -> None:
    logits, target = random_logits(), random_target()
    losses = cross_entropy(logits, target)
    assert losses.shape == (BATCH, REGIONS)
    for image in range(BATCH):
        for region in range(REGIONS):
            expected = looped_cross_entropy(logits[image, region].tolist(), target[image, region].tolist())
            assert float(losses[image, region]) == pytest.approx(expected, abs=1e-6)


def test_segmentation_loss_is_the_mean_of_both_terms_over_images_and_regions() -> None:
    logits, target = random_logits(), random_target()
    total = 0.0
    for image in range(BATCH):
        for region in range(REGIONS):
            estimate, truth = logits[image, region].tolist(), target[image, region].tolist()
            total += looped_dice(estimate, truth) + looped_cross_entropy(estimate, truth)  # Eq. 14
    assert float(segmentation_loss(logits, target)) == pytest.approx(total / (BATCH * REGIONS), abs=1e-6)


def test_complementary_loss_equals_equation_18() -> None:
    negative, positive = random_logits(2), random_logits(3)
    expected = sum(
        looped_complementary(negative[i, r].tolist(), positive[i, r].tolist())
        for i in range(BATCH)
        for r in range(REGIONS)
    ) / (BATCH * REGIONS)
    assert float(complementary_loss(negative, positive)) == pytest.approx(expected, abs=1e-6)


def test_complementary_loss_in_consistent_learning_is_zero_for_equal_outputs() -> None:
    negative, positive = random_logits(2), random_logits(3)
    expected = float((torch.sigmoid(negative) - torch.sigmoid(positive)).square().mean())
    assert float(complementary_loss(negative, positive, False)) == pytest.approx(expected, abs=1e-6)
    assert float(complementary_loss(positive, positive, False)) == 0


def test_complementary_loss_is_0_for_complements_and_1_for_equal_certainties() -> None:
    certain = 50 * torch.ones(1, 1, 2, 2)
    assert float(complementary_loss(-random_logits(), random_logits())) == pytest.approx(0, abs=1e-12)
    assert float(complementary_loss(certain, certain)) == pytest.approx(1)
    assert float(squared_error(torch.tensor(0.75), torch.tensor(0.25))) == 0.25  # Eq. 19


def test_complementary_loss_has_equal_gradients_for_both_paths() -> None:
    negative, positive = random_logits(2).requires_grad_(), random_logits(2).requires_grad_()
    complementary_loss(negative, positive).backward()
    assert negative.grad is not None
    assert positive.grad is not None
    torch.testing.assert_close(negative.grad, positive.grad)


def test_perfect_prediction_has_zero_loss_and_its_opposite_dice_loss_1() -> None:
    target = random_target()
    certain = 200 * (target - 0.5)
    assert float(dice_loss(certain, target).max()) == pytest.approx(0, abs=1e-6)
    assert float(segmentation_loss(certain, target)) == pytest.approx(0, abs=1e-6)
    assert float(dice_loss(-certain, target).min()) == pytest.approx(1, abs=1e-6)


def test_empty_target_has_no_dice_term_and_gradient_from_cross_entropy_only() -> None:
    empty = torch.zeros(2, 1, HEIGHT, WIDTH)
    for level in (-100.0, -1.0, 0.0, 100.0):
        logits = torch.full_like(empty, level).requires_grad_()
        assert torch.equal(dice_loss(logits, empty), torch.zeros(2, 1))
        dice_loss(logits, empty).sum().backward()
        assert logits.grad is not None
        assert torch.equal(logits.grad, torch.zeros_like(logits))
        loss = segmentation_loss(logits, empty).item()
        assert loss == pytest.approx(cross_entropy(logits, empty).mean().item())
    assert float(segmentation_loss(torch.full_like(empty, -100), empty)) == pytest.approx(0, abs=1e-6)


def test_empty_target_does_not_change_other_images_of_the_batch() -> None:
    logits, target = random_logits(), random_target()
    target[1] = 0
    losses = dice_loss(logits, target)
    assert torch.equal(losses[1], torch.zeros(REGIONS))
    torch.testing.assert_close(losses[[0, 2]], dice_loss(logits[[0, 2]], target[[0, 2]]))


@pytest.mark.parametrize("level", [-100.0, 100.0])
def test_losses_and_gradients_are_finite_at_saturated_logits(level: float) -> None:
    for target in (torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4), random_target()[:1, :1]):
        logits = torch.full_like(target, level).requires_grad_()
        other = torch.full_like(target, level).requires_grad_()
        loss = segmentation_loss(logits, target) + complementary_loss(other, logits)
        loss.backward()
        assert torch.isfinite(loss)
        for tensor in (logits, other):
            assert tensor.grad is not None
            assert torch.isfinite(tensor.grad).all()


def test_certain_wrong_prediction_has_a_gradient() -> None:
    logits = torch.full((1, 1, 4, 4), -100.0).requires_grad_()
    segmentation_loss(logits, torch.ones(1, 1, 4, 4)).backward()
    assert logits.grad is not None
    assert float(logits.grad.max()) < -1e-3
