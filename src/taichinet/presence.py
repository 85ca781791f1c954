"""The pixels whose probabilities decide whether an image shows a lesion, in training and in predictions."""

from __future__ import annotations

PRESENCE_SHARE = 0.002
"""Share of the pixels of an image whose probabilities decide whether it shows a lesion: 100 pixels at 224 px, fewer
than most lesions have. Used in training (`losses/presence.py`) and for predictions (`evaluation/decision.py`)."""


def presence_pixels(pixels: int) -> int:
    """Number of pixels that decide for an image of `pixels` pixels, at least one."""
    return max(1, round(PRESENCE_SHARE * pixels))
