"""Total training loss of both curriculum steps: Eq. 13 and 20-22."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from torch import Tensor

from taichinet.batch import Batch, Prediction
from taichinet.errors import unknown_name
from taichinet.losses.alternatives import focal_term, tversky_term
from taichinet.losses.auxiliary import AuxiliarySettings, lesion_loss
from taichinet.losses.complementary import complementary_loss
from taichinet.losses.presence import presence_term
from taichinet.losses.segmentation import cross_entropy, dice_loss, segmentation_loss
from taichinet.losses.surface import boundary_term, hausdorff_term
from taichinet.losses.terms import TERMS, register_loss
from taichinet.settings import Settings

Step = Literal["easy", "hard", "plain"]
TVERSKY_BETA, FOCAL_GAMMA = 0.7, 2.0  # as in the papers of both terms

ABSENT_LOGIT = -30.0  # probability 1e-13: zero loss against background; masked_fill blocks the gradient

register_loss("presence", presence_term)
register_loss("tversky", tversky_term)
register_loss("focal", focal_term)
register_loss("boundary", boundary_term)
register_loss("hausdorff", hausdorff_term)

# Arguments of terms of the package that are settings: name of the setting by argument.
PARAMETERS = {"tversky": {"beta": "tversky_beta"}, "focal": {"gamma": "focal_gamma"}}


class ObjectiveSettings(Settings):
    """Loss terms and their weights. All weights are 1, as in the paper."""

    complementary: bool = Field(default=True, description="L_C between the paths (+CLoss of Table I)")
    positive_weight: float = Field(
        default=1.0, ge=0, description="of Dice loss + cross-entropy of the lesion path; 0 to use only further terms"
    )
    negative_weight: float = Field(
        default=1.0, ge=0, description="of Dice loss + cross-entropy of the second path, if any"
    )
    complementary_weight: float = Field(default=1.0, ge=0, description="of L_C")
    region_weight: float = Field(default=1.0, ge=0, description="of the easy or hard pixels of the lesion")
    region_rest: Literal["background", "ignored"] = Field(
        default="background",
        description="lesion pixels outside E_p or H_p in their terms: background, as in the paper, or ignored",
    )
    taught_weight: float = Field(default=1.0, ge=0, description="of the cross-entropy with the teacher, if any")
    auxiliary: AuxiliarySettings = Field(
        default=AuxiliarySettings(), description="weights of the terms of single networks"
    )
    terms: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="weights of further terms: presence, tversky, focal, boundary, hausdorff and registered ones",
    )
    tversky_beta: float = Field(
        default=TVERSKY_BETA,
        ge=0,
        le=1,
        description="weight of missed pixels in the term tversky, 1 - it of false ones",
    )
    focal_gamma: float = Field(default=FOCAL_GAMMA, ge=0, le=10, description="exponent of the term focal")

    @field_validator("terms")
    @classmethod
    def _terms_are_registered(cls, terms: dict[str, float]) -> dict[str, float]:
        known = tuple(name for name in TERMS if name not in AuxiliarySettings.model_fields)
        for name in terms:
            if name not in known:
                raise unknown_name("loss term", name, known)
        return dict(terms)

    @model_validator(mode="after")
    def _parameters_have_an_effect(self) -> Self:
        for term, names in PARAMETERS.items():
            for name in names.values():
                if getattr(self, name) != type(self).model_fields[name].default and not self.weight_of(term):
                    raise ValueError(f"{name} has no effect without the term {term}: set objective.terms.{term}=1")
        return self

    def parameters_of(self, term: str) -> dict[str, Any]:
        """The arguments of a term that are settings."""
        return {argument: getattr(self, name) for argument, name in PARAMETERS.get(term, {}).items()}

    def weight_of(self, term: str) -> float:
        """Weight of a registered term, from `auxiliary` or `terms`; 0 by default."""
        return float(getattr(self.auxiliary, term, self.terms.get(term, 0)))


def objective(prediction: Prediction, batch: Batch, step: Step, settings: ObjectiveSettings) -> Tensor:
    """Total loss of a batch.

    Args:
        prediction: Network output. Without a second path, only the lesion terms are computed.
        batch: Images and ground truth. With a `teacher_probability`, the cross-entropy with it is added (distillation,
            Hinton et al. 2015, at temperature 1).
        step: Curriculum step: "easy" (step 1: adds the E_p term, without L_C), "hard" (step 2: adds the H_p term, with
            L_C), or "plain" (no easy-hard strategy: Eq. 13).
        settings: Loss terms and weights. `auxiliary` has the weights of terms specific to single networks.

    Returns:
        Scalar loss.
    """
    loss = settings.positive_weight * lesion_loss(prediction, batch.lesion, settings.auxiliary)  # Eq. 15
    loss = loss + registered_terms(prediction, batch, settings)
    if batch.teacher_probability is not None:
        loss = loss + settings.taught_weight * cross_entropy(prediction.positive, batch.teacher_probability).mean()
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


def registered_terms(prediction: Prediction, batch: Batch, settings: ObjectiveSettings) -> Tensor | float:
    """Weighted sum of the registered terms with a weight above 0 that apply to the network; 0 if there are none."""
    loss: Tensor | float = 0.0
    for name, term in TERMS.items():
        weight = settings.weight_of(name)
        value = term(prediction, batch, **settings.parameters_of(name)) if weight else None
        if value is not None:
            loss = loss + weight * value
    return loss


def region_loss(
    logits: Tensor, region: Tensor, lesion: Tensor, rest: Literal["background", "ignored"] = "background"
) -> Tensor:
    """Segmentation loss against the easy or hard part of the lesion: L_S(O_p, E_p) or L_S(O_p, H_p), Eq. 21-22.

    Images and regions with an empty part are skipped: as a target, an empty part would contradict the ground truth in
    L_S(O_p, G_p). The mean is still taken over the whole batch, so that the weight of one hard lesion does not depend
    on how many other images in the batch have a hard part.

    Args:
        logits: Logits (B, R, H, W) of the lesion path.
        region: Easy or hard part (B, R, H, W) of the lesion, 0 or 1.
        lesion: Ground truth (B, R, H, W), 0 or 1.
        rest: How to treat lesion pixels outside `region`: as background, as in the paper (this contradicts
            L_S(O_p, G_p) at these pixels), or ignored in this term.

    Returns:
        Scalar loss.
    """
    if rest == "ignored":
        logits = logits.masked_fill((lesion > 0) & (region == 0), ABSENT_LOGIT)
    present = region.sum(dim=(-2, -1)) > 0
    return (present * (dice_loss(logits, region) + cross_entropy(logits, region))).mean()
