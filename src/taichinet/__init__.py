"""TaiChiNet: breast-ultrasound lesion segmentation with a positive and a negative path.

`taichinet.segment("image.png")` segments an image with the weights in the package, `taichinet.load(...)` loads other
weights, and `taichinet.create_model("taichinet", in_channels=3)` builds a network. `load_dataset`, `make_folds`,
`train`, `evaluate` and `compare_scores` do what the commands do, see docs/reference/python.md. The functions
`register_*` add components, see CONTRIBUTING.md. All names are imported on first use, because importing
torch takes two seconds.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from taichinet.extras import missing_package
from taichinet.version import __version__

if TYPE_CHECKING:
    from taichinet.api import compare_scores, evaluate, get_recipe, load_dataset, make_folds, train
    from taichinet.datasets.catalogue import register_dataset
    from taichinet.datasets.phantoms.folder import write_phantom_busi
    from taichinet.experiments.recipes.catalogue import register_recipe
    from taichinet.inference.hub import push_to_hub
    from taichinet.inference.runtimes.catalogue import register_runtime
    from taichinet.inference.segmenter import from_pretrained, load, segment
    from taichinet.losses.terms import register_loss
    from taichinet.models.catalogue import create_model, list_models, register_model
    from taichinet.models.taichinet.network import TaiChiNet, TaiChiNetSettings
    from taichinet.reports.paper_tables.sections import register_report_section

__all__ = [
    "TaiChiNet",
    "TaiChiNetSettings",
    "__version__",
    "compare_scores",
    "create_model",
    "evaluate",
    "from_pretrained",
    "get_recipe",
    "list_models",
    "load",
    "load_dataset",
    "make_folds",
    "push_to_hub",
    "register_dataset",
    "register_loss",
    "register_model",
    "register_recipe",
    "register_report_section",
    "register_runtime",
    "segment",
    "train",
    "write_phantom_busi",
]

# Turn off the telemetry of other packages. ONNX Runtime, Ray and huggingface_hub read these variables. OpenVINO and
# NNCF can only be configured by a file in the home folder; both work without the package openvino_telemetry, and None
# makes its import fail.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

_MODULES = {
    "TaiChiNet": "taichinet.models.taichinet.network",
    "TaiChiNetSettings": "taichinet.models.taichinet.network",
    "compare_scores": "taichinet.api",
    "create_model": "taichinet.models.catalogue",
    "evaluate": "taichinet.api",
    "from_pretrained": "taichinet.inference.segmenter",
    "get_recipe": "taichinet.api",
    "list_models": "taichinet.models.catalogue",
    "load": "taichinet.inference.segmenter",
    "load_dataset": "taichinet.api",
    "make_folds": "taichinet.api",
    "push_to_hub": "taichinet.inference.hub",
    "register_dataset": "taichinet.datasets.catalogue",
    "register_loss": "taichinet.losses.terms",
    "register_model": "taichinet.models.catalogue",
    "register_recipe": "taichinet.experiments.recipes.catalogue",
    "register_report_section": "taichinet.reports.paper_tables.sections",
    "register_runtime": "taichinet.inference.runtimes.catalogue",
    "segment": "taichinet.inference.segmenter",
    "train": "taichinet.api",
    "write_phantom_busi": "taichinet.datasets.phantoms.folder",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'taichinet' has no attribute '{name}'")
    try:
        return getattr(import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        raise missing_package(error) or error from error
