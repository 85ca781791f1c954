"""TaiChiNet: breast-ultrasound lesion segmentation with a positive and a negative path.

`taichinet.create_model("taichinet", in_channels=3)` builds a network, `taichinet.list_models()` names them all,
`taichinet.TaiChiNet` is the paper's. They are imported on first use: torch takes two seconds.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taichinet.models.catalogue import create_model, list_models
    from taichinet.models.taichinet.network import TaiChiNet
    from taichinet.models.taichinet.settings import TaiChiNetSettings

__version__ = "0.1.0"
__all__ = ["TaiChiNet", "TaiChiNetSettings", "create_model", "list_models"]

# Nothing is reported to the makers of other packages. ONNX Runtime and Ray read their variables. OpenVINO and
# NNCF have no switch that needs no file in the home folder; both work without the package openvino_telemetry, and None
# makes its import fail.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

_HOMES = {
    "TaiChiNet": "taichinet.models.taichinet.network",
    "TaiChiNetSettings": "taichinet.models.taichinet.settings",
    "create_model": "taichinet.models.catalogue",
    "list_models": "taichinet.models.catalogue",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'taichinet' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
