"""The loss terms of single networks: deep supervision, a first pass with its residual map, a variational branch.

All are off by default: the paper trains every network under "the same implementation details", which we read as the
same Dice + cross-entropy on the answer. The catalogue names the weights that each network's own paper uses.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from taichinet.batch import Batch, Feedback, Prediction, Reconstruction, at_least_float32
from taichinet.losses.segmentation import segmentation_loss
from taichinet.settings import Settings


class AuxiliarySettings(Settings):
    """Weights of the terms; each is without effect on a network that has no such output."""

    levels: float = Field(default=0, ge=0, description="of each deeply supervised output, beside the answer's 1")
    first_pass: float = Field(default=0, ge=0, description="of the first pass' Dice + cross-entropy (RF-Net)")
    residual: float = Field(default=0, ge=0, description="of the residual map's cross-entropy (RF-Net)")
    reconstruction: float = Field(default=0, ge=0, description="of the drawn image's squared error (X-Net)")
    divergence: float = Field(default=0, ge=0, description="of the latent's divergence from N(0, 1) (X-Net)")


def lesion_loss(prediction: Prediction, lesion: Tensor, settings: AuxiliarySettings) -> Tensor:
    """L_S(O_p, G_p); under deep supervision the mean over all outputs, each further one weighing `levels`."""
    loss = segmentation_loss(prediction.positive, lesion)
    further = prediction.levels[:-1] if settings.levels else ()
    for level in further:
        loss = loss + settings.levels * segmentation_loss(level, lesion)
    return loss / (1 + settings.levels * len(further))


def auxiliary_loss(prediction: Prediction, batch: Batch, settings: AuxiliarySettings) -> Tensor | float:
    """The weighted sum of what the prediction's feedback and reconstruction are asked for; 0 without them."""
    loss: Tensor | float = 0.0
    if prediction.feedback is not None:
        if settings.first_pass:
            loss = loss + settings.first_pass * segmentation_loss(prediction.feedback.first_pass, batch.lesion)
        if settings.residual:
            loss = loss + settings.residual * residual_loss(prediction.feedback, prediction.positive, batch.lesion)
    if prediction.reconstruction is not None:
        drawn = prediction.reconstruction
        if settings.reconstruction:
            loss = loss + settings.reconstruction * F.mse_loss(at_least_float32(drawn.image), batch.image)
        if settings.divergence:
            loss = loss + settings.divergence * divergence_loss(drawn)
    return loss


def residual_loss(feedback: Feedback, answer: Tensor, lesion: Tensor) -> Tensor:
    """Cross-entropy of the residual probabilities, resized to the mask, with the answer's error |G - P|; a scalar.

    The answer is a target here and learns nothing from it, as in RF-Net's published code.
    """
    error = (lesion - answer.detach().sigmoid()).abs()
    residual = F.interpolate(at_least_float32(feedback.residual).sigmoid(), size=lesion.shape[-2:], mode="bilinear")
    with torch.autocast(device_type=residual.device.type, enabled=False):  # this loss has no half precision
        return F.binary_cross_entropy(residual, error)


def divergence_loss(drawn: Reconstruction) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)), mean over images and latent values; a scalar."""
    mean, log_variance = at_least_float32(drawn.mean), at_least_float32(drawn.log_variance)
    return (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
