"""Auxiliary losses of single networks: off by default, and each term against a calculation by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import norm
from torch import Tensor

from taichinet.batch import Batch, Feedback, Prediction, Reconstruction
from taichinet.losses.auxiliary import AuxiliarySettings, divergence_loss, lesion_loss, residual_loss
from taichinet.losses.objective import ObjectiveSettings, objective, registered_terms
from taichinet.losses.segmentation import segmentation_loss


def maps(seed: int, size: int = 6) -> Tensor:
    return 2 * torch.randn(3, 1, size, size, generator=torch.Generator().manual_seed(seed))


def example() -> tuple[Prediction, Batch]:
    lesion = torch.zeros(3, 1, 6, 6)
    lesion[..., 1:5, 1:5] = 1
    levels = tuple(maps(seed) for seed in (4, 5, 6, 7))
    prediction = Prediction(
        levels[-1],
        levels=levels,
        feedback=Feedback(maps(1), maps(2, size=3)),
        reconstruction=Reconstruction(maps(3).sigmoid(), torch.full((3, 4), 0.5), torch.full((3, 4), -1.0)),
    )
    return prediction, Batch(torch.full((3, 1, 6, 6), 0.25), lesion)


def test_default_loss_of_every_network_is_dice_and_cross_entropy_of_its_output() -> None:
    prediction, batch = example()
    plain = objective(Prediction(prediction.positive), batch, "plain", ObjectiveSettings())
    torch.testing.assert_close(objective(prediction, batch, "plain", ObjectiveSettings()), plain)
    torch.testing.assert_close(plain, segmentation_loss(prediction.positive, batch.lesion))


@pytest.mark.parametrize(("weight", "weights"), [(1.0, (1, 1, 1, 1)), (0.5, (0.5, 0.5, 0.5, 1)), (0.0, (0, 0, 0, 1))])
def test_deep_supervision_is_the_weighted_mean_over_the_levels(weight: float, weights: tuple[float, ...]) -> None:
    prediction, batch = example()
    each = [float(segmentation_loss(level, batch.lesion)) for level in prediction.levels]
    loss = lesion_loss(prediction, batch.lesion, AuxiliarySettings(levels=weight))
    assert float(loss) == pytest.approx(float(np.average(each, weights=weights)), rel=1e-5)


@pytest.mark.parametrize("term", ["first_pass", "residual", "reconstruction", "divergence"])
def test_each_term_is_added_to_the_objective_with_its_weight(term: str) -> None:
    prediction, batch = example()
    assert prediction.feedback is not None
    assert prediction.reconstruction is not None
    term_alone = {
        "first_pass": segmentation_loss(prediction.feedback.first_pass, batch.lesion),
        "residual": residual_loss(prediction.feedback, prediction.positive, batch.lesion),
        "reconstruction": ((prediction.reconstruction.image - batch.image) ** 2).mean(),
        "divergence": divergence_loss(prediction.reconstruction),
    }[term]
    without = objective(prediction, batch, "plain", ObjectiveSettings())
    settings = ObjectiveSettings(auxiliary=AuxiliarySettings.model_validate({term: 0.7}))
    torch.testing.assert_close(objective(prediction, batch, "plain", settings) - without, 0.7 * term_alone)
    assert float(term_alone) > 0


def test_terms_of_missing_outputs_are_zero() -> None:
    prediction, batch = example()
    every = AuxiliarySettings(levels=1, first_pass=1, residual=1, reconstruction=1, divergence=1)
    assert registered_terms(Prediction(prediction.positive), batch, ObjectiveSettings(auxiliary=every)) == 0
    loss = lesion_loss(Prediction(prediction.positive), batch.lesion, every)
    torch.testing.assert_close(loss, segmentation_loss(prediction.positive, batch.lesion))


def test_residual_loss_targets_the_error_without_gradient_to_the_prediction() -> None:
    prediction = maps(7).requires_grad_()
    lesion = (maps(8) > 0).float()
    residual = maps(9).requires_grad_()  # at full size: no resizing
    loss = residual_loss(Feedback(maps(1), residual), prediction, lesion)
    error = np.abs(lesion.numpy() - 1 / (1 + np.exp(-prediction.detach().numpy())))
    probability = 1 / (1 + np.exp(-residual.detach().numpy()))
    assert loss.item() == pytest.approx(
        float(-(error * np.log(probability) + (1 - error) * np.log(1 - probability)).mean()), 1e-5
    )
    loss.backward()
    assert prediction.grad is None
    assert residual.grad is not None


def test_smaller_residual_map_is_resized_as_probabilities_with_aligned_areas() -> None:
    residual = torch.tensor([[[[-4.0, 4.0]]]])
    prediction, lesion = torch.full((1, 1, 1, 4), -9.0), torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]])
    low, high = (1 / (1 + np.exp(-value)) for value in (-4.0, 4.0))
    probability = np.array([low, 0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high, high])
    error = np.abs(lesion.numpy().ravel() - 1 / (1 + np.exp(9.0)))
    expected = -(error * np.log(probability) + (1 - error) * np.log(1 - probability)).mean()
    assert residual_loss(Feedback(prediction, residual), prediction, lesion).item() == pytest.approx(expected, 1e-5)


def test_divergence_equals_the_integral() -> None:
    mean, log_variance = 0.5, -1.0
    points = np.linspace(-12, 12, 200_001)
    given, standard = norm(mean, np.exp(log_variance / 2)), norm(0, 1)
    integral = np.trapezoid(given.pdf(points) * (given.logpdf(points) - standard.logpdf(points)), points)
    reconstruction = Reconstruction(torch.zeros(1), torch.full((2, 3), mean), torch.full((2, 3), log_variance))
    assert float(divergence_loss(reconstruction)) == pytest.approx(float(integral), rel=1e-5)
    assert float(divergence_loss(Reconstruction(torch.zeros(1), torch.zeros(2, 3), torch.zeros(2, 3)))) == 0


def test_perfect_reconstruction_has_zero_loss() -> None:
    _, batch = example()
    reconstruction = Reconstruction(batch.image.clone(), torch.zeros(3, 4), torch.zeros(3, 4))
    settings = AuxiliarySettings(reconstruction=1, divergence=1)
    assert (
        float(
            registered_terms(
                Prediction(maps(0), reconstruction=reconstruction), batch, ObjectiveSettings(auxiliary=settings)
            )
        )
        == 0
    )


def test_negative_weights_are_rejected() -> None:
    with pytest.raises(ValidationError, match="divergence"):
        AuxiliarySettings(divergence=-1)
