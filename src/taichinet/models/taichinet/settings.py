"""Every switch of the network in Tables I to III, as one typed value."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from taichinet.models.unet import UNetSettings

HeadOrder = Literal["a", "b", "c", "none"]
HeadSpace = Literal["logit", "squash", "clamp"]


class TaiChiNetSettings(BaseModel):
    """The network's options; the defaults are the paper's TaiChiNet with one input channel.

    `head`: Fig. 10 (a) convolutions p' -> n -> p, (b) MLPs n' -> p -> n, (c) MLPs p' -> n -> p, or none.
    `head_space`: where the sum O' + MLP(.) of Eq. 10-11 is made, see docs/fidelity.md.
    `mutual`: whether the second path learns the background (Comp-ML) or the lesion too (Cons-ML, Table II).
    `background_prior`: the background's share of the image that O_n' expects before it has learned anything; without
    it the second path often answers "background" everywhere for hundreds of steps, see docs/fidelity.md.
    `answer`: the final probability, O_p or the mean of both paths (Model 2).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    in_channels: int = Field(default=1, ge=1)
    num_classes: int = Field(default=1, ge=1)
    width: int = Field(default=32, ge=2, multiple_of=2)
    output_kernel: Literal[1, 3] = 3
    second_path: bool = True
    cross_attention: bool = True
    head: HeadOrder = "c"
    head_hidden: int = Field(default=16, ge=1, description="hidden width of the head's per-pixel MLPs")
    head_space: HeadSpace = "logit"
    mutual: Literal["complementary", "consistent"] = "complementary"
    background_prior: float = Field(default=0.9, ge=0.5, lt=1, description="0.5: no special start of the second path")
    answer: Literal["positive", "mean"] = "positive"

    @model_validator(mode="after")
    def _one_path_has_nobody_to_talk_to(self) -> Self:
        if not self.second_path and (self.cross_attention or self.head != "none" or self.answer == "mean"):
            raise ValueError(
                "second_path=false leaves nothing to exchange: also set cross_attention=false, head=none "
                "and answer=positive"
            )
        return self

    def path_settings(self) -> UNetSettings:
        """Options of each path's U-Net."""
        return UNetSettings(
            in_channels=self.in_channels,
            num_classes=self.num_classes,
            width=self.width,
            output_kernel=self.output_kernel,
        )
