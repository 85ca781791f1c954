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
from taichinet.losses.terms import register_loss
from taichinet.settings import Settings


class AuxiliarySettings(Settings):
    """Weights of the auxiliary terms. A weight has no effect on a network without the corresponding output."""

    levels: float = Field(default=0, ge=0, description="of each intermediate output; the final output has 1")
    first_pass: float = Field(default=0, ge=0, description="of the segmentation loss of the first pass (RF-Net)")
    residual: float = Field(default=0, ge=0, description="of the cross-entropy of the residual map (RF-Net)")
    reconstruction: float = Field(default=0, ge=0, description="of the squared error of the reconstruction (X-Net)")
    divergence: float = Field(default=0, ge=0, description="of the divergence of the latent from N(0, 1) (X-Net)")


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


def first_pass_term(prediction: Prediction, batch: Batch) -> Tensor | None:
    """Segmentation loss of the first pass (RF-Net)."""
    if prediction.feedback is None:
        return None
    return segmentation_loss(prediction.feedback.first_pass, batch.lesion)


def residual_term(prediction: Prediction, batch: Batch) -> Tensor | None:
    """Cross-entropy of the residual map (RF-Net)."""
    if prediction.feedback is None:
        return None
    return residual_loss(prediction.feedback, prediction.positive, batch.lesion)


def reconstruction_term(prediction: Prediction, batch: Batch) -> Tensor | None:
    """Squared error of the reconstructed image (X-Net)."""
    if prediction.reconstruction is None:
        return None
    return F.mse_loss(at_least_float32(prediction.reconstruction.image), batch.image)


def divergence_term(prediction: Prediction, batch: Batch) -> Tensor | None:
    """Divergence of the latent distribution from N(0, 1) (X-Net)."""
    return None if prediction.reconstruction is None else divergence_loss(prediction.reconstruction)


def residual_loss(feedback: Feedback, output: Tensor, lesion: Tensor) -> Tensor:
    """Binary cross-entropy between RF-Net's residual map and the error |G - P| of the final output.

    The final output is detached and receives no gradient from this term, as in RF-Net's published code.

    Args:
        feedback: `residual` holds logits (B, R, h, w), which are resized to (H, W) after the sigmoid.
        output: Logits (B, R, H, W) of the final output.
        lesion: Ground truth (B, R, H, W), 0 or 1.

    Returns:
        Scalar loss.
    """
    error = (lesion - output.detach().sigmoid()).abs()
    residual = F.interpolate(at_least_float32(feedback.residual).sigmoid(), size=lesion.shape[-2:], mode="bilinear")
    with torch.autocast(device_type=residual.device.type, enabled=False):  # not supported in half precision
        return F.binary_cross_entropy(residual, error)


def divergence_loss(reconstruction: Reconstruction) -> Tensor:
    """KL divergence KL(N(mean, variance) || N(0, 1)), averaged over images and latent dimensions; a scalar."""
    mean, log_variance = at_least_float32(reconstruction.mean), at_least_float32(reconstruction.log_variance)
    return (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2


register_loss("first_pass", first_pass_term)
register_loss("residual", residual_term)
register_loss("reconstruction", reconstruction_term)
register_loss("divergence", divergence_term)
