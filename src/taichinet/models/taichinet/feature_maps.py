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
from taichinet.models.unet import EncoderDecoder


@dataclass(frozen=True)
class PathMaps:
    """Feature maps of one path, float32, on the CPU. C is the number of bottleneck channels, 16 * width in TaiChiNet.

    Attributes:
        deep: F of Eq. 1-2, before the cross-attention; (B, C, H/16, W/16), H/32 in TaiChiNet-lite, non-negative.
        attended: F' of Eq. 3, after the cross-attention; same shape, may have negative values. None in a network
            without cross-attention.
        decoded: Input of the output convolution; (B, width, H, W), H/2 in TaiChiNet-lite, non-negative.
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
    paths = [path for path in (network.positive, network.negative) if path is not None]
    recorded = [module for path in paths for module in (path.deepest, path.decoder[-1])]
    if network.cross_attention is not None:
        recorded.append(network.cross_attention)
    outputs: dict[nn.Module, Any] = {}
    with ExitStack() as hooks, torch.no_grad():
        for module in recorded:
            handle = module.register_forward_hook(lambda module, inputs, output: outputs.update({module: output}))
            hooks.callback(handle.remove)
        prediction: Prediction = network(image)

    def path_maps(path: EncoderDecoder, attended: Tensor | None) -> PathMaps:
        return PathMaps(
            deep=outputs[path.deepest].float().cpu(),
            attended=None if attended is None else attended.float().cpu(),
            decoded=outputs[path.decoder[-1]].float().cpu(),
        )

    attended_n, attended_p = (None, None)
    if network.cross_attention is not None:
        attended_n, attended_p = outputs[network.cross_attention]
    negative = None if network.negative is None else path_maps(network.negative, attended_n)
    return FeatureMaps(path_maps(network.positive, attended_p), negative, prediction)
