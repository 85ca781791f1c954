"""The objective of both steps, Eq. 13 and 20-22: the terms of each step, and the effect of empty parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from taichinet.batch import Batch, Prediction
from taichinet.losses.objective import ObjectiveSettings, Step, objective, region_loss

PAPER = ObjectiveSettings()
STEPS: tuple[Step, ...] = ("plain", "easy", "hard")


def maps(seed: int, count: int = 3) -> Tensor:
    return 2 * torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed))


def example(count: int = 3) -> tuple[Prediction, Batch]:
    """Lesions of 4 x 4 pixels, of which the first two rows are easy and half of the third is hard."""
    lesion, easy, hard = (torch.zeros(count, 1, 6, 6) for _ in range(3))
    lesion[..., 1:5, 1:5] = 1
    easy[..., 1:3, 1:5] = 1
    hard[..., 3, 1:3] = 1
    return Prediction(maps(0, count), maps(1, count)), Batch(torch.rand(count, 1, 6, 6), lesion, easy, hard)


def probability(logits: Tensor) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits.double().numpy())))


def l_s(logits: Tensor, target: Tensor) -> float:
    """Eq. 14 and 16-17 in numpy, mean over the images; empty targets have no Dice term."""
    losses = []
    for estimate, truth in zip(probability(logits), target.double().numpy(), strict=True):
        dice = 1 - 2 * (truth * estimate).sum() / ((truth**2).sum() + (estimate**2).sum()) if truth.any() else 0
        losses.append(dice - np.where(truth == 1, np.log(estimate), np.log(1 - estimate)).mean())
    return float(np.mean(losses))


def l_c(negative: Tensor, positive: Tensor) -> float:
    """Eq. 18 in numpy: both halves are the square of O_n + O_p - 1."""
    return float(((probability(negative) + probability(positive) - 1) ** 2).mean())


def terms(prediction: Prediction, batch: Batch) -> dict[str, float]:
    assert prediction.negative is not None
    assert batch.easy is not None
    assert batch.hard is not None
    return {
        "positive": l_s(prediction.positive, batch.lesion),
        "negative": l_s(prediction.negative, 1 - batch.lesion),
        "easy": l_s(prediction.positive, batch.easy),
        "hard": l_s(prediction.positive, batch.hard),
        "complementary": l_c(prediction.negative, prediction.positive),
    }


@pytest.mark.parametrize(
    ("step", "parts"),
    [
        ("plain", ["positive", "negative", "complementary"]),  # Eq. 13
        ("easy", ["positive", "negative", "easy"]),  # Eq. 21, without L_C
        ("hard", ["positive", "negative", "hard", "complementary"]),  # Eq. 22
    ],
)
def test_each_step_has_exactly_its_printed_terms(step: Step, parts: list[str]) -> None:
    prediction, batch = example()
    term_values = terms(prediction, batch)
    expected = sum(term_values[part] for part in parts)
    assert float(objective(prediction, batch, step, PAPER)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("step", STEPS)
def test_each_weight_scales_only_its_term(step: Step) -> None:
    prediction, batch = example()
    term_values = terms(prediction, batch)
    region = {"plain": 0.0, "easy": term_values["easy"], "hard": term_values["hard"]}[step]
    complementary = 0.0 if step == "easy" else term_values["complementary"]
    settings = ObjectiveSettings(positive_weight=2, negative_weight=3, complementary_weight=5, region_weight=7)
    expected = 2 * term_values["positive"] + 3 * term_values["negative"] + 5 * complementary + 7 * region
    assert float(objective(prediction, batch, step, settings)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("step", STEPS)
def test_switching_the_complementary_loss_off_removes_only_it(step: Step) -> None:
    prediction, batch = example()
    complete = float(objective(prediction, batch, step, PAPER))
    without = float(objective(prediction, batch, step, ObjectiveSettings(complementary=False)))
    removed = 0.0 if step == "easy" else terms(prediction, batch)["complementary"]
    assert complete - without == pytest.approx(removed, abs=1e-5)


@pytest.mark.parametrize("step", STEPS)
def test_one_path_has_only_the_lesion_terms(step: Step) -> None:
    prediction, batch = example()
    term_values = terms(prediction, batch)
    one_path = replace(prediction, negative=None)
    expected = term_values["positive"] + (term_values[step] if step != "plain" else 0)
    assert float(objective(one_path, batch, step, PAPER)) == pytest.approx(expected, abs=1e-5)


def test_consistent_learning_trains_the_second_path_on_the_lesion() -> None:
    prediction, batch = example()
    assert prediction.negative is not None
    consistent = replace(prediction, negative_sees="lesion")
    squared_difference = ((probability(prediction.negative) - probability(prediction.positive)) ** 2).mean()
    expected = l_s(prediction.positive, batch.lesion) + l_s(prediction.negative, batch.lesion) + squared_difference
    assert float(objective(consistent, batch, "plain", PAPER)) == pytest.approx(expected, abs=1e-5)


# ------------------------------------------------------------------------------------------------ empty parts


def test_images_with_an_empty_part_are_left_out_of_the_sum_but_not_the_divisor() -> None:
    prediction, batch = example(4)
    assert batch.hard is not None
    hard = batch.hard.clone()
    hard[[0, 2]] = 0
    expected = (l_s(prediction.positive[1:2], hard[1:2]) + 0 + l_s(prediction.positive[3:], hard[3:]) + 0) / 4
    assert float(region_loss(prediction.positive, hard, batch.lesion)) == pytest.approx(expected, abs=1e-6)


def test_image_with_an_empty_part_has_no_gradient_from_that_term() -> None:
    _, batch = example()
    assert batch.easy is not None
    easy = batch.easy.clone()
    easy[1] = 0
    logits = maps(0).requires_grad_()
    region_loss(logits, easy, batch.lesion).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad[1], torch.zeros_like(logits[1]))
    assert (logits.grad[[0, 2]].abs().amax(dim=(1, 2, 3)) > 0).all()


@pytest.mark.parametrize("step", ["easy", "hard"])
def test_batch_without_parts_has_the_loss_without_the_region_term(step: Step) -> None:
    prediction, batch = example()
    logits = prediction.positive.clone().requires_grad_()
    empty = torch.zeros_like(batch.lesion)
    loss = objective(replace(prediction, positive=logits), replace(batch, easy=empty, hard=empty), step, PAPER)
    term_values = terms(prediction, batch)
    expected = (
        term_values["positive"] + term_values["negative"] + (term_values["complementary"] if step == "hard" else 0)
    )
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_one_hard_lesion_is_weighted_by_its_share_of_the_batch() -> None:
    prediction, batch = example(8)
    assert batch.hard is not None
    only_one = batch.hard.clone()
    only_one[1:] = 0
    loss_of_one = float(region_loss(prediction.positive[:1], only_one[:1], batch.lesion[:1]))
    assert float(region_loss(prediction.positive, only_one, batch.lesion)) == pytest.approx(loss_of_one / 8, abs=1e-6)


@pytest.mark.parametrize("step", ["easy", "hard"])
def test_rest_of_the_lesion_is_background_as_printed_or_ignored(
    step: Step,
) -> None:
    """With `region_rest="ignored"` the term and its gradient do not depend on the lesion outside the part."""
    _, batch = example()
    region = batch.easy if step == "easy" else batch.hard
    assert region is not None
    rest = (batch.lesion == 1) & (region == 0)
    for choice, has_gradient in (("background", True), ("ignored", False)):
        logits = maps(0).requires_grad_()
        loss = region_loss(logits, region, batch.lesion, choice)  # type: ignore[arg-type]
        loss.backward()
        assert logits.grad is not None
        assert bool((logits.grad[rest] != 0).any()) is has_gradient
        assert bool((logits.grad[~rest] != 0).all())
        if not has_gradient:
            masked = np.where(rest.numpy(), 0.0, probability(logits.detach()))
            expected = []
            for estimate, truth in zip(masked, region.double().numpy(), strict=True):
                dice = 1 - 2 * (truth * estimate).sum() / ((truth**2).sum() + (estimate**2).sum())
                expected.append(
                    dice - np.where(truth == 1, np.log(np.maximum(estimate, 1e-300)), np.log(1 - estimate)).mean()
                )
            assert float(loss.detach()) == pytest.approx(float(np.mean(expected)), abs=1e-5)


@pytest.mark.parametrize("step", STEPS)
def test_normal_image_has_a_finite_loss_in_every_step(step: Step) -> None:
    prediction, batch = example()
    empty = torch.zeros_like(batch.lesion)
    normal = Batch(batch.image, empty, empty, empty)
    logits = prediction.positive.clone().requires_grad_()
    loss = objective(replace(prediction, positive=logits), normal, step, PAPER)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad > 0).all() or step != "easy"  # all targets of the easy step are zero


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("level", [-100.0, 100.0])
def test_objective_is_finite_at_saturated_logits(step: Step, level: float) -> None:
    _, batch = example()
    positive = torch.full_like(batch.lesion, level).requires_grad_()
    negative = torch.full_like(batch.lesion, level).requires_grad_()
    loss = objective(Prediction(positive, negative), batch, step, PAPER)
    loss.backward()
    assert torch.isfinite(loss)
    for logits in (positive, negative):
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


def test_both_steps_together_train_the_easy_and_hard_part_once() -> None:
    """Eq. 20: over both steps the lesion's constraint is twice L_S(O_p, G_p), once E_p and once H_p."""
    prediction, batch = example()
    term_values = terms(prediction, batch)
    settings = ObjectiveSettings(complementary=False, negative_weight=0)
    total = sum(float(objective(prediction, batch, step, settings)) for step in ("easy", "hard"))
    assert total == pytest.approx(2 * term_values["positive"] + term_values["easy"] + term_values["hard"], abs=1e-5)


@pytest.mark.parametrize("weight", ["positive", "negative", "complementary", "region"])
def test_negative_weight_is_rejected(weight: str) -> None:
    with pytest.raises(ValidationError):
        ObjectiveSettings.model_validate({f"{weight}_weight": -1})
