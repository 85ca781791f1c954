"""What the options of all networks have in common."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from taichinet.settings import Settings

HeadOrder = Literal["a", "b", "c", "none"]
HeadSpace = Literal["logit", "squash", "clamp"]


class NetworkSettings(Settings):
    """Every network's options: the image's channels and the regions R, one sigmoid channel each."""

    in_channels: int = Field(default=1, ge=1, le=64)
    num_classes: int = Field(
        default=1, ge=1, le=64, description="regions R, one sigmoid channel each, outer before inner"
    )


class CouplingSettings(Settings):
    """How two opposing paths are coupled at their outputs.

    `head`: Fig. 10 (a) convolutions p' -> n -> p, (b) MLPs n' -> p -> n, (c) MLPs p' -> n -> p, or none.
    `head_space`: where the sum O' + MLP(.) of Eq. 10-11 is made, see docs/fidelity.md.
    `mutual`: whether the second path learns the background (Comp-ML) or the lesion too (Cons-ML, Table II).
    `background_prior`: the background's share of the image that O_n' expects before it has learned anything; without
    it the second path often answers "background" everywhere for hundreds of steps, see docs/fidelity.md.
    `answer`: the final probability, O_p or the mean of both paths (Model 2).
    """

    head: HeadOrder = "c"
    head_hidden: int = Field(default=16, ge=1, le=1024, description="hidden width of the head's per-pixel MLPs")
    head_space: HeadSpace = "logit"
    mutual: Literal["complementary", "consistent"] = "complementary"
    background_prior: float = Field(default=0.9, ge=0.5, lt=1, description="0.5: no special start of the second path")
    answer: Literal["positive", "mean"] = "positive"


class BaselineSettings(NetworkSettings):
    """Options of a rival network; `second_path` gives it a twin that learns the background, see `TwoPaths`."""

    second_path: CouplingSettings | None = None

    def for_second_path(self) -> Self:
        """These settings for the twin: without what only the lesion's own path has, or only its loss terms read."""
        return self
