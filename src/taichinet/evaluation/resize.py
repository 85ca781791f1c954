"""Resizing of probabilities to the original image resolution, shared by evaluation and prediction."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F


def resize_probability(probability: torch.Tensor, size: tuple[int, ...]) -> NDArray[np.float32]:
    """Resize a probability map bilinearly: (1, 1, H, W) -> `size` = (height, width)."""
    resized = F.interpolate(probability, size=size, mode="bilinear", align_corners=False)
    return np.asarray(resized[0, 0].numpy(), dtype=np.float32)
