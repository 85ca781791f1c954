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
            f"Feature maps are only available for TaiChiNet, not for {type(network).__name__}. Use the weights of a "
            "taichinet or model-2 to model-7 recipe."
        )
    recorded: dict[str, Any] = {}

    def record(name: str, module: nn.Module, hooks: ExitStack) -> None:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            recorded[name] = output

        hooks.callback(module.register_forward_hook(hook).remove)

    with ExitStack() as hooks, torch.no_grad():
        for side, path in (("positive", network.positive), ("negative", network.negative)):
            if path is not None:
                record(f"{side} deep", path.encoder[-1], hooks)
                record(f"{side} decoded", path.decoder[-1], hooks)
        if network.cross_attention is not None:
            record("attended", network.cross_attention, hooks)
        prediction: Prediction = network(image)
    attended_n, attended_p = recorded.get("attended", (None, None))
    return FeatureMaps(
        positive=_path_maps("positive", recorded, attended_p),
        negative=None if network.negative is None else _path_maps("negative", recorded, attended_n),
        prediction=prediction,
    )


def _path_maps(side: str, recorded: dict[str, Any], attended: Tensor | None) -> PathMaps:
    return PathMaps(
        deep=recorded[f"{side} deep"].float().cpu(),
        attended=None if attended is None else attended.float().cpu(),
        decoded=recorded[f"{side} decoded"].float().cpu(),
    )
