"""Presence term: whether an image shows a lesion at all is decided by its most probable pixels. Not from the paper.

The cross-entropy of Eq. 17 is a mean over all pixels, so that a false lesion of 1 % of a normal image costs next to
nothing. This term is a mean over the pixels that decide.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from taichinet.batch import Batch, Prediction, at_least_float32
from taichinet.presence import presence_pixels


def presence_term(prediction: Prediction, batch: Batch) -> Tensor:
    """Cross-entropy of the most probable pixels: of the whole image without a lesion, otherwise of the lesion.

    In an image with a lesion, pixels outside it do not count: the most probable ones are at its border. The
    cross-entropy of the presence head is added if the network has one.

    Args:
        prediction: Network output; the logits of the lesion path (B, R, H, W) and of the presence (B, R) are used.
        batch: Ground truth (B, R, H, W), 0 or 1.

    Returns:
        Scalar: the mean over images and regions.
    """
    logits, lesion = at_least_float32(prediction.positive).flatten(2), batch.lesion.flatten(2)
    size = lesion.sum(dim=2)
    present = size > 0
    count = presence_pixels(lesion.shape[2])
    candidates = logits.masked_fill((lesion == 0) & present[:, :, None], -float("inf"))
    highest = candidates.topk(count, dim=2).values
    used = highest.isfinite()  # a lesion may have fewer pixels
    sign = 1 - 2 * present.float()[:, :, None]
    cost = F.softplus(sign * highest.where(used, 0)) * used
    term = (cost.sum(dim=2) / used.sum(dim=2).clamp(min=1)).mean()
    if prediction.presence is not None:
        term = term + F.binary_cross_entropy_with_logits(prediction.presence, present.float())
    return term
