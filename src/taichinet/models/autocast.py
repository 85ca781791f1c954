"""Parts of a network that autocast must not round."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(features: Tensor) -> AbstractContextManager[object]:
    """Context manager that disables autocast on the device of `features`; the meta device has no autocast."""
    if features.is_meta:
        return nullcontext()
    return torch.autocast(device_type=features.device.type, enabled=False)
