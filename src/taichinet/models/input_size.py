"""Limits of the input resolution, and the check of the input shape that every network uses."""

from __future__ import annotations

from torch import Tensor

from taichinet.errors import SettingError

SIZE_MULTIPLE = 16  # four 2x2 poolings
MAX_SIZE = 2048  # input height and width in pixels: at width 32, one feature map of the first level takes 512 MiB
MAX_WIDTH = 256  # channels of the first level: eight times the width of the paper


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
