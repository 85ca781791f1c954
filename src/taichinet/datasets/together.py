"""Transformation of an image and all its masks together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from taichinet.batch import Batch


def transform_together(batch: Batch, transform: Callable[[Tensor], Tensor]) -> Batch:
    """Apply one linear transformation to image and masks, and threshold the masks at 0.5.

    E_p and H_p remain disjoint and inside the lesion if each output pixel is a weighted mean of input pixels, with
    weights whose sum is at most one and which are the same for all channels. The probability of a teacher is not
    thresholded.

    Args:
        batch: Images and masks on any device.
        transform: From (B, N, H, W) to the same shape, where N counts the channels of the image and of all masks. It
            receives a copy, which it may change in place.

    Returns:
        A new batch on the same device, which shares no memory with `batch`; masks are 0 or 1.
    """
    masks = [mask for mask in (batch.lesion, batch.easy, batch.hard) if mask is not None]
    soft = [] if batch.teacher_probability is None else [batch.teacher_probability]
    moved = transform(torch.cat([batch.image, *masks, *soft], dim=1))
    channels = [part.shape[1] for part in (batch.image, *masks, *soft)]
    image, *others = torch.split(moved, channels, dim=1)
    parts = iter((mask > 0.5).float() for mask in others[: len(masks)])
    return Batch(
        image=image,
        lesion=next(parts),
        easy=None if batch.easy is None else next(parts),
        hard=None if batch.hard is None else next(parts),
        teacher_probability=others[-1] if soft else None,
    )
