"""TaiChiNet on an encoder from timm: its two paths, cross-attention and head, as in TaiChiNet-lite. Our design."""

from __future__ import annotations

from taichinet.models.entry import Entry, Source
from taichinet.models.taichinet.network import TaiChiNet, TwoPathSettings
from taichinet.models.unet_timm import TimmPath, TimmSettings


class TaiChiNetTimmSettings(TwoPathSettings, TimmSettings):
    """Options of a TaiChiNet on an encoder from timm."""

    def build_paths(self) -> tuple[TimmPath, TimmPath | None]:
        """The positive path with the encoder, and the negative path, which uses its features."""
        positive = TimmPath(self)
        return positive, TimmPath(self, given=positive.channels) if self.second_path else None


ENTRY = Entry(
    "TaiChiNet on timm",
    TaiChiNetTimmSettings,
    TaiChiNet,
    "ours, after Wang et al., on any encoder of timm (ResNet-18 by default)",
    "high",
    Source(18_403_492, 14.84),
    note="Our design, not from a paper: TaiChiNet's coupling of two decoders on the encoder of options.encoder; the "
    "numbers are those of ResNet-18.",
    size_multiple=32,
)
