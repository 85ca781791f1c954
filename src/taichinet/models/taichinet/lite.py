"""TaiChiNet-lite: the two paths, cross-attention and head of TaiChiNet on one EfficientNet-lite encoder. Our design.

Both paths share the encoder. Each projects its deepest features to an F of its own, so that F_n and F_p differ before
the cross-attention, and has its own decoder.
"""

from __future__ import annotations

from taichinet.models.efficientnet_lite import SIZE_MULTIPLE
from taichinet.models.entry import Entry, Source
from taichinet.models.taichinet.network import TaiChiNet, TwoPathSettings
from taichinet.models.unet_lite import LitePath, LiteSettings


class TaiChiNetLiteSettings(TwoPathSettings, LiteSettings):
    """Options of a TaiChiNet-lite."""

    def build_paths(self) -> tuple[LitePath, LitePath | None]:
        """The positive path with the encoder, and the negative path, which uses its features."""
        positive = LitePath(self)
        return positive, LitePath(self, given=positive.channels) if self.second_path else None


ENTRY = Entry(
    "TaiChiNet-lite",
    TaiChiNetLiteSettings,
    TaiChiNet,
    "ours, after Wang et al., on EfficientNet-lite0 (Tan and Le, ICML 2019)",
    "high",
    Source(4_009_028, 2.24),
    note="Our design, not from a paper: TaiChiNet's coupling of two decoders on one ImageNet encoder.",
    size_multiple=SIZE_MULTIPLE,
    depthwise=True,
)
