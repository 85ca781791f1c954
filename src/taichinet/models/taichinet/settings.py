"""Every switch of the network in Tables I to III, as one typed value."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from taichinet.models.settings import CouplingSettings, NetworkSettings
from taichinet.models.unet import UNetSettings


class TaiChiNetSettings(CouplingSettings, NetworkSettings):
    """The network's options; the defaults are the paper's TaiChiNet with one input channel."""

    width: int = Field(default=32, ge=2, multiple_of=2, description="channels of the first level")
    output_kernel: Literal[1, 3] = 3
    second_path: bool = True
    cross_attention: bool = True

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
