"""Options common to all networks, limits of the input resolution, and the check of the input shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field

from taichinet.errors import SettingError
from taichinet.settings import Settings

if TYPE_CHECKING:  # not at run time: the limits are used without torch
    from torch import Tensor, nn

SIZE_MULTIPLE = 16  # four 2x2 poolings
MAX_SIZE = 2048  # input height and width in pixels: at width 32, one feature map of the first level takes 512 MiB
MAX_WIDTH = 256  # channels of the first level: eight times the width of the paper

HeadOrder = Literal["a", "b", "c", "none"]
HeadSpace = Literal["logit", "squash", "clamp"]


class NetworkSettings(Settings):
    """Options of every network: number of input channels and number of regions R (one sigmoid channel each)."""

    in_channels: int = Field(default=1, ge=1, le=64, description="channels of the images: 1 (grey) or 3 (RGB)")
    num_classes: int = Field(
        default=1, ge=1, le=64, description="regions R, one sigmoid channel each, outer before inner"
    )

    @property
    def size_multiple(self) -> int | None:
        """Height and width of images must be multiples of this number; None: of that of the catalogue entry."""
        return None


class CouplingSettings(Settings):
    """How the outputs of the positive and negative path are coupled (`models/taichinet/complementary_head.py`).

    Without `background_prior`, the second path often predicts background everywhere for hundreds of steps: see
    docs/reference/fidelity.md.
    """

    head: HeadOrder = Field(
        default="c",
        description="complementary head, Fig. 10: (a) convolutions p' -> n -> p, (b) MLPs n' -> p -> n, (c) MLPs "
        "p' -> n -> p, or none",
    )
    head_hidden: int = Field(
        default=16, ge=1, le=1024, description="hidden width of the MLPs or convolutions of the head"
    )
    head_space: HeadSpace = Field(
        default="logit", description="how the sum O' + MLP(.) of Eq. 10-11 is computed: logits, or probabilities"
    )
    mutual: Literal["complementary", "consistent"] = Field(
        default="complementary",
        description="target of the second path: the background (complementary) or the lesion (consistent, Table II)",
    )
    background_prior: float = Field(
        default=0.9, ge=0.5, lt=1, description="initial probability of background in the second path"
    )
    answer: Literal["positive", "mean"] = Field(
        default="positive", description="final probability: that of the lesion path, or the mean of both (Model 2)"
    )

    @property
    def negative_sees(self) -> Literal["background", "lesion"]:
        """Target of the second path."""
        return "background" if self.mutual == "complementary" else "lesion"

    @property
    def negative_prior(self) -> float:
        """Initial probability of the second path's target; 0.5 with PyTorch's default bias."""
        return self.background_prior if self.mutual == "complementary" else 0.5


class BaselineSettings(NetworkSettings):
    """Options of a baseline network. `second_path` adds a second network for the background: see `TwoPaths`."""

    second_path: CouplingSettings | None = Field(
        default=None,
        description="a second network for the background and its coupling, e.g. {head: c}; null: none",
    )

    def for_second_path(self) -> Self:
        """Settings of the second network: without options that only apply to the lesion path and its loss terms."""
        return self


def check_input(image: Tensor, in_channels: int, multiple: int = SIZE_MULTIPLE) -> None:
    """Check the shape of a batch of images.

    Args:
        image: Expected as (B, in_channels, H, W).
        in_channels: Number of input channels of the network.
        multiple: H and W must be multiples of this number.

    Raises:
        SettingError: The shape is another one.
    """
    if image.ndim != 4 or image.shape[1] != in_channels:
        raise SettingError(
            f"The network takes images (batch, {in_channels}, height, width), got {tuple(image.shape)}. "
            "Convert the image, or build the network with another in_channels."
        )
    height, width = image.shape[-2:]
    if height % multiple or width % multiple or not height or not width:
        raise SettingError(
            f"Image size {height} x {width} is not a multiple of {multiple}. Resize or pad the image, or use the "
            "predictor, which resizes every image."
        )


def refuse_single_image(network: nn.Module, name: str, batch: Tensor) -> None:
    """Raise SettingError for a training batch of one image if BatchNorm normalises pooled values in the network."""
    if network.training and len(batch) == 1:
        raise SettingError(
            f"{name} cannot be trained on a batch of one image: BatchNorm normalises one pooled value per channel "
            "and image over the batch. Use batches of two or more."
        )
