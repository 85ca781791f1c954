"""From network size back to the image's own size, in one way for scores and for predictions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F


def resize_probability(probability: torch.Tensor, size: tuple[int, ...]) -> NDArray[np.float32]:
    """(1, 1, H, W) -> (height, width), bilinear."""
    resized = F.interpolate(probability, size=size, mode="bilinear", align_corners=False)
    return np.asarray(resized[0, 0].numpy(), dtype=np.float32)
