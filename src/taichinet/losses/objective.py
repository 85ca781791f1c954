"""The objective of both training steps: Eq. 13 and 20-22."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from taichinet.batch import Batch, Prediction
from taichinet.losses.auxiliary import AuxiliarySettings, auxiliary_loss, lesion_loss
from taichinet.losses.complementary import complementary_loss
from taichinet.losses.segmentation import cross_entropy, dice_loss, segmentation_loss
from taichinet.settings import Settings

Step = Literal["easy", "hard", "plain"]

ABSENT_LOGIT = -30.0  # a probability of 1e-13: no loss against background, and no gradient where it is filled in


class ObjectiveSettings(Settings):
    """What enters the loss and with what weight; all ones as printed."""

    complementary: bool = Field(default=True, description="L_C between the paths (+CLoss of Table I)")
    positive_weight: float = Field(default=1.0, ge=0)
    negative_weight: float = Field(default=1.0, ge=0)
    complementary_weight: float = Field(default=1.0, ge=0)
    region_weight: float = Field(default=1.0, ge=0, description="of the easy or hard part of the lesion")
    region_rest: Literal["background", "ignored"] = Field(
        default="background",
        description="what lesion outside E_p or H_p is in their terms: background, as printed, or left out",
    )
    taught_weight: float = Field(default=1.0, ge=0, description="of a teacher's answer, where there is a teacher")
    auxiliary: AuxiliarySettings = AuxiliarySettings()


def objective(prediction: Prediction, batch: Batch, step: Step, settings: ObjectiveSettings) -> Tensor:
    """The scalar loss of a batch.

    `step` is the curriculum's: "easy" (step 1: + E_p, without L_C), "hard" (step 2: + H_p, with L_C), or "plain"
    (no learning strategy: Eq. 13). A network without second path has only the lesion's terms; `settings.auxiliary`
    adds what single networks supervise besides, and a teacher's probability the cross-entropy with it (distillation,
    Hinton et al. 2015, at temperature 1).
    """
    loss = settings.positive_weight * lesion_loss(prediction, batch.lesion, settings.auxiliary)  # Eq. 15
    loss = loss + auxiliary_loss(prediction, batch, settings.auxiliary)
    if batch.taught is not None:
        loss = loss + settings.taught_weight * cross_entropy(prediction.positive, batch.taught).mean()
    region = {"easy": batch.easy, "hard": batch.hard, "plain": None}[step]
    if region is not None:
        loss = loss + settings.region_weight * region_loss(
            prediction.positive, region, batch.lesion, settings.region_rest
        )  # Eq. 21, 22
    if prediction.negative is None:
        return loss
    sees_background = prediction.negative_sees == "background"
    target = batch.background if sees_background else batch.lesion
    loss = loss + settings.negative_weight * segmentation_loss(prediction.negative, target)  # Eq. 14
    if settings.complementary and step != "easy":  # only in the second step (Sec. IV-C)
        loss = loss + settings.complementary_weight * complementary_loss(
            prediction.negative, prediction.positive, sees_background
        )
    return loss  # Eq. 13


def region_loss(
    logits: Tensor, region: Tensor, lesion: Tensor, rest: Literal["background", "ignored"] = "background"
) -> Tensor:
    """L_S(O_p, E_p) or L_S(O_p, H_p) of those images and regions whose part is not empty.

    As printed, lesion pixels outside the part count as background here, against L_S(O_p, G_p) beside it; with
    `rest="ignored"` they take no part in this term.

    An empty part says nothing about the lesion: as a target it would teach "nothing here" against the ground truth
    beside it. Such images are left out of this term; the divisor stays the batch's, so that a batch with one hard
    lesion does not weigh it as much as a batch of sixteen.
    """
    if rest == "ignored":
        logits = logits.masked_fill((lesion > 0) & (region == 0), ABSENT_LOGIT)
    present = region.sum(dim=(-2, -1)) > 0
    return (present * (dice_loss(logits, region) + cross_entropy(logits, region))).mean()
