"""Options common to all networks."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from taichinet.settings import Settings

HeadOrder = Literal["a", "b", "c", "none"]
HeadSpace = Literal["logit", "squash", "clamp"]


class NetworkSettings(Settings):
    """Options of every network: number of input channels and number of regions R (one sigmoid channel each)."""

    in_channels: int = Field(default=1, ge=1, le=64)
    num_classes: int = Field(
        default=1, ge=1, le=64, description="regions R, one sigmoid channel each, outer before inner"
    )


class CouplingSettings(Settings):
    """How the outputs of the positive and negative path are coupled.

    Attributes:
        head: Fig. 10 (a) convolutions p' -> n -> p, (b) MLPs n' -> p -> n, (c) MLPs p' -> n -> p, or none.
        head_hidden: Hidden width of the MLPs or convolutions of the head.
        head_space: How the sum O' + MLP(.) of Eq. 10-11 is computed: see `models/taichinet/complementary_head.py`.
        mutual: Target of the second path: the background (complementary mutual learning) or the lesion (consistent
            mutual learning, Table II).
        background_prior: Initial probability of background in O_n', set by the output bias. Without it, the second
            path often predicts background everywhere for hundreds of steps: see docs/fidelity.md.
        answer: Final probability: O_p, or the mean of both paths (Model 2).
    """

    head: HeadOrder = "c"
    head_hidden: int = Field(default=16, ge=1, le=1024, description="hidden width of the head's per-pixel MLPs")
    head_space: HeadSpace = "logit"
    mutual: Literal["complementary", "consistent"] = "complementary"
    background_prior: float = Field(default=0.9, ge=0.5, lt=1, description="initial probability of background")
    answer: Literal["positive", "mean"] = "positive"


class BaselineSettings(NetworkSettings):
    """Options of a baseline network. `second_path` adds a second network for the background: see `TwoPaths`."""

    second_path: CouplingSettings | None = None

    def for_second_path(self) -> Self:
        """Settings of the second network: without options that only apply to the lesion path and its loss terms."""
        return self
