"""Intermediate feature maps of both paths of a TaiChiNet, as shown in Figs. 4, 9 and 12."""

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
    """Feature maps of one path, float32, on the CPU. C = 16 * width is the number of bottleneck channels.

    Attributes:
        deep: F of Eq. 1-2, before the cross-attention; (B, C, H/16, W/16), non-negative.
        attended: F' of Eq. 3, after the cross-attention; same shape, may have negative values. None in a network
            without cross-attention.
        decoded: Input of the output convolution; (B, width, H, W), non-negative.
    """

    deep: Tensor
    attended: Tensor | None
    decoded: Tensor


@dataclass(frozen=True)
class FeatureMaps:
    """Feature maps of both paths (`negative` is None in a one-path network) and the prediction of the same pass."""

    positive: PathMaps
    negative: PathMaps | None
    prediction: Prediction


def feature_maps(network: nn.Module, image: Tensor) -> FeatureMaps:
    """Run `network` on `image` and record its intermediate feature maps with forward hooks.

    Args:
        network: A TaiChiNet. Its mode is not changed: call `eval()` first.
        image: (B, C, H, W) in [0, 1].

    Returns:
        The feature maps of both paths and the prediction of the same forward pass.

    Raises:
        SettingError: `network` is not a TaiChiNet.
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
