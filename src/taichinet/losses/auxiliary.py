"""Auxiliary loss terms of single networks: deep supervision, residual feedback (RF-Net), variational branch (X-Net).

All weights are 0 by default. The paper trains every network under "the same implementation details", which we interpret
as the same Dice + cross-entropy loss on the final output. The `-own-loss` recipes enable these terms.
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
    """Weights of the auxiliary terms. A weight has no effect on a network without the corresponding output."""

    levels: float = Field(default=0, ge=0, description="of each deeply supervised output, beside the answer's 1")
    first_pass: float = Field(default=0, ge=0, description="of the first pass' Dice + cross-entropy (RF-Net)")
    residual: float = Field(default=0, ge=0, description="of the residual map's cross-entropy (RF-Net)")
    reconstruction: float = Field(default=0, ge=0, description="of the drawn image's squared error (X-Net)")
    divergence: float = Field(default=0, ge=0, description="of the latent's divergence from N(0, 1) (X-Net)")


def lesion_loss(prediction: Prediction, lesion: Tensor, settings: AuxiliarySettings) -> Tensor:
    """Segmentation loss of the lesion outputs: L_S(O_p, G_p) of Eq. 15, or its weighted mean under deep supervision.

    Args:
        prediction: Network output. `levels` holds the deeply supervised outputs, the final output last.
        lesion: Ground truth (B, R, H, W), 0 or 1.
        settings: `levels` is the weight of each intermediate output relative to the final output, whose weight is 1.

    Returns:
        Scalar loss.
    """
    loss = segmentation_loss(prediction.positive, lesion)
    further = prediction.levels[:-1] if settings.levels else ()
    for level in further:
        loss = loss + settings.levels * segmentation_loss(level, lesion)
    return loss / (1 + settings.levels * len(further))


def auxiliary_loss(prediction: Prediction, batch: Batch, settings: AuxiliarySettings) -> Tensor | float:
    """Weighted sum of the feedback and reconstruction losses.

    Args:
        prediction: Network output, with `feedback` (RF-Net) or `reconstruction` (X-Net), or neither.
        batch: Images and ground truth.
        settings: Weights of the terms.

    Returns:
        Scalar loss, 0 if the prediction has neither output or all weights are 0.
    """
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
    """Binary cross-entropy between RF-Net's residual map and the error |G - P| of the final output.

    The final output is detached and receives no gradient from this term, as in RF-Net's published code.

    Args:
        feedback: `residual` holds logits (B, R, h, w), which are resized to (H, W) after the sigmoid.
        answer: Logits (B, R, H, W) of the final output.
        lesion: Ground truth (B, R, H, W), 0 or 1.

    Returns:
        Scalar loss.
    """
    error = (lesion - answer.detach().sigmoid()).abs()
    residual = F.interpolate(at_least_float32(feedback.residual).sigmoid(), size=lesion.shape[-2:], mode="bilinear")
    with torch.autocast(device_type=residual.device.type, enabled=False):  # not supported in half precision
        return F.binary_cross_entropy(residual, error)


def divergence_loss(drawn: Reconstruction) -> Tensor:
    """KL divergence KL(N(mean, variance) || N(0, 1)), averaged over images and latent dimensions; a scalar."""
    mean, log_variance = at_least_float32(drawn.mean), at_least_float32(drawn.log_variance)
    return (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
