"""Feature maps of both paths on their way through a TaiChiNet: what Figs. 4, 9 and 12 show."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from taichinet.batch import Prediction
from taichinet.errors import SettingError
from taichinet.models.taichinet.network import TaiChiNet


@dataclass(frozen=True)
class PathMaps:
    """The maps of one path, float32 and not below 0, of C = 16 * width deep channels.

    `deep` (B, C, H/16, W/16): F of Eq. 1-2, before anything is exchanged. `attended`, of the same shape: F' of Eq. 3,
    after the cross-attention, None in a network without it; only this one can have negative values. `decoded`
    (B, width, H, W): what the path's output convolution reads.
    """

    deep: Tensor
    attended: Tensor | None
    decoded: Tensor


@dataclass(frozen=True)
class FeatureMaps:
    """Both paths' maps (`negative` None in a network of one path) and the prediction that came of them."""

    positive: PathMaps
    negative: PathMaps | None
    prediction: Prediction


def feature_maps(network: nn.Module, image: Tensor) -> FeatureMaps:
    """Pass `image` (B, C, H, W) in [0, 1] through `network` and keep what its paths make on the way.

    The network's own forward pass is listened to, so the maps are those of the prediction. It runs as it stands: put
    it into evaluation mode first. SettingError for a network that is no TaiChiNet.
    """
    if not isinstance(network, TaiChiNet):
        raise SettingError(
            f"Feature maps of two paths are those of a TaiChiNet, not of a {type(network).__name__}. Give the weights "
            "of a taichinet or model-2 to model-7 recipe."
        )
    heard: dict[str, Any] = {}

    def listen(name: str, module: nn.Module, ears: ExitStack) -> None:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            heard[name] = output

        ears.callback(module.register_forward_hook(keep).remove)

    with ExitStack() as ears, torch.no_grad():
        for side, path in (("positive", network.positive), ("negative", network.negative)):
            if path is not None:
                listen(f"{side} deep", path.encoder[-1], ears)
                listen(f"{side} decoded", path.decoder[-1], ears)
        if network.cross_attention is not None:
            listen("attended", network.cross_attention, ears)
        prediction: Prediction = network(image)
    attended_n, attended_p = heard.get("attended", (None, None))
    return FeatureMaps(
        positive=_path("positive", heard, attended_p),
        negative=None if network.negative is None else _path("negative", heard, attended_n),
        prediction=prediction,
    )


def _path(side: str, heard: dict[str, Any], attended: Tensor | None) -> PathMaps:
    return PathMaps(
        deep=heard[f"{side} deep"].float().cpu(),
        attended=None if attended is None else attended.float().cpu(),
        decoded=heard[f"{side} decoded"].float().cpu(),
    )
