"""Channel-to-spatial cross-attention (C2-attention) at the bottleneck: Sec. III-B, Eq. 6-9, Fig. 5."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from taichinet.batch import at_least_float32
from taichinet.models.autocast import without_autocast


class CrossAttention(nn.Module):
    """Cross-attention between the channels of both paths: (F_n, F_p) -> (F_n', F_p'), Eq. 3; all (B, C, H, W).

    Keys and values have C/2 channels per path and are concatenated, so both paths share C keys and values. The softmax
    is over channels (a C x C matrix), not over positions. With biases, the module has 1,050,624 parameters at C = 512.

    The two paths may have different widths: each query attends to the (C_n + C_p) / 2 shared keys, so no projection to
    a common number of channels is needed.
    """

    def __init__(self, channels: int, negative_channels: int | None = None) -> None:
        """Build the projections for C_p = `channels` (even) and C_n = `negative_channels`, C_p if None."""
        super().__init__()
        others = channels if negative_channels is None else negative_channels
        self.query_n = nn.Conv2d(others, others, kernel_size=1)
        self.query_p = nn.Conv2d(channels, channels, kernel_size=1)
        self.key_n = nn.Conv2d(others, others // 2, kernel_size=1)
        self.key_p = nn.Conv2d(channels, channels // 2, kernel_size=1)
        self.value_n = nn.Conv2d(others, others // 2, kernel_size=1)
        self.value_p = nn.Conv2d(channels, channels // 2, kernel_size=1)

    def forward(self, deep_n: Tensor, deep_p: Tensor) -> tuple[Tensor, Tensor]:
        """Enhance the bottleneck features F_n (B, C_n, H, W) and F_p (B, C_p, H, W); the shapes are kept."""
        key = torch.cat([self.key_n(deep_n), self.key_p(deep_p)], dim=1)  # Eq. 6
        value = torch.cat([self.value_n(deep_n), self.value_p(deep_p)], dim=1)  # Eq. 7
        enhanced_n = deep_n + channel_attention(self.query_n(deep_n), key, value)  # Eq. 8
        enhanced_p = deep_p + channel_attention(self.query_p(deep_p), key, value)  # Eq. 9
        return enhanced_n, enhanced_p


def channel_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Channel attention softmax(Q K^T) V, without scaling, as in the paper.

    Computed in float32 or float64 even under autocast: each dot product is an unscaled sum of H*W terms, and in
    bfloat16 the rounding error would dominate the softmax. The result has the shape (B, C, H, W) and dtype of `query`;
    `key` and `value` are (B, C_k, H, W), where C_k may differ from C.
    """
    with without_autocast(query):
        q, k, v = (at_least_float32(features).flatten(start_dim=2) for features in (query, key, value))
        scores = torch.softmax(q @ k.transpose(1, 2), dim=-1)  # (B, C, C of keys)
        return (scores @ v).reshape(query.shape).to(query.dtype)
