"""Options of the network, including all ablations of Tables I to III."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from taichinet.models.input_size import MAX_WIDTH
from taichinet.models.settings import CouplingSettings, NetworkSettings
from taichinet.models.unet import UNetSettings


class TaiChiNetSettings(CouplingSettings, NetworkSettings):
    """Options of a TaiChiNet. The defaults are the network of the paper with one input channel.

    Three options that reduce the cost are our additions and not part of the paper: the first `shared_levels` levels of
    the encoder are computed once, by the positive path, and used by both; `negative_width` reduces the width of the
    negative path; with `second_path_at_inference=False` the negative path is only used in training, and inference has
    the cost of one U-Net.
    """

    width: int = Field(default=32, ge=2, le=MAX_WIDTH, multiple_of=2, description="channels of the first level")
    output_kernel: Literal[1, 3] = 3
    second_path: bool = True
    cross_attention: bool = True
    shared_levels: int = Field(default=0, ge=0, le=4, description="encoder levels that both paths share")
    negative_width: int | None = Field(
        default=None, ge=1, le=MAX_WIDTH, description="first-level channels of the negative path"
    )
    second_path_at_inference: bool = True

    @model_validator(mode="after")
    def _check_one_path(self) -> Self:
        if not self.second_path and (self.cross_attention or self.head != "none" or self.answer == "mean"):
            raise ValueError(
                "second_path=false requires cross_attention=false, head=none and answer=positive, because the others "
                "need a second path"
            )
        if not self.second_path and (self.shared_levels or self.negative_width or not self.second_path_at_inference):
            raise ValueError(
                "second_path=false requires the defaults of shared_levels, negative_width and "
                "second_path_at_inference, which change the second path"
            )
        return self

    @model_validator(mode="after")
    def _check_path_only_for_training(self) -> Self:
        if not self.second_path_at_inference and (self.cross_attention or self.head != "none" or self.answer == "mean"):
            raise ValueError(
                "second_path_at_inference=false requires cross_attention=false, head=none and answer=positive: the "
                "output must not depend on the second path"
            )
        return self

    def path_settings(self, width: int | None = None) -> UNetSettings:
        """Options of the U-Net of one path; `width` overrides the width of the network."""
        return UNetSettings(
            in_channels=self.in_channels,
            num_classes=self.num_classes,
            width=self.width if width is None else width,
            output_kernel=self.output_kernel,
        )

    def at_inference(self) -> Self:
        """These options without the parts that are only used in training."""
        if self.second_path_at_inference:
            return self
        changes = {"second_path": False, "second_path_at_inference": True, "shared_levels": 0, "negative_width": None}
        return self.model_validate({**self.model_dump(), **changes})
