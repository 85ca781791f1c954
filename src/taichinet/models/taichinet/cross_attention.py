"""Channel-to-spatial cross-attention at the bottleneck: C2-attention, Sec. III-B, Eq. 6-9, Fig. 5."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from taichinet.batch import at_least_float32


class CrossAttention(nn.Module):
    """Both paths query the channels of both: (F_n, F_p) -> (F_n', F_p'), all (B, C, H, W), Eq. 3.

    Keys and values have C/2 channels a path and are shared after concatenation, so the softmax is over C channels
    (C x C), not over positions. With biases it adds 1,050,624 parameters at C = 512.

    The paths may be of different width: every channel of either asks the (C_n + C_p) / 2 shared ones, so nothing has
    to be projected to a common number of channels.
    """

    def __init__(self, channels: int, negative_channels: int | None = None) -> None:
        """`channels` is the even number C of deep features a path; `negative_channels` where the second differs."""
        super().__init__()
        others = channels if negative_channels is None else negative_channels
        self.query_n = nn.Conv2d(others, others, kernel_size=1)
        self.query_p = nn.Conv2d(channels, channels, kernel_size=1)
        self.key_n = nn.Conv2d(others, others // 2, kernel_size=1)
        self.key_p = nn.Conv2d(channels, channels // 2, kernel_size=1)
        self.value_n = nn.Conv2d(others, others // 2, kernel_size=1)
        self.value_p = nn.Conv2d(channels, channels // 2, kernel_size=1)

    def forward(self, deep_n: Tensor, deep_p: Tensor) -> tuple[Tensor, Tensor]:
        """Enhanced deep features (F_n', F_p')."""
        key = torch.cat([self.key_n(deep_n), self.key_p(deep_p)], dim=1)  # Eq. 6
        value = torch.cat([self.value_n(deep_n), self.value_p(deep_p)], dim=1)  # Eq. 7
        enhanced_n = deep_n + channel_attention(self.query_n(deep_n), key, value)  # Eq. 8
        enhanced_p = deep_p + channel_attention(self.query_p(deep_p), key, value)  # Eq. 9
        return enhanced_n, enhanced_p


def channel_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(Q K^T) V over channels, (B, C, H, W) with N = H*W; no scaling, as printed. K and V may have others.

    In float32 at least, whatever the surroundings: the dot products sum N terms unscaled, and bfloat16's eight bits
    would decide the softmax by rounding.
    """
    with torch.autocast(device_type=query.device.type, enabled=False):
        q, k, v = (at_least_float32(features).flatten(start_dim=2) for features in (query, key, value))
        scores = torch.softmax(q @ k.transpose(1, 2), dim=-1)  # (B, C, C of keys)
        return (scores @ v).reshape(query.shape).to(query.dtype)
