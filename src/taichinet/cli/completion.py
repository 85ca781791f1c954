"""Names that the shell completes. They are listed here because the registries import torch; a test compares them."""

from __future__ import annotations

SCALES = ("busi", "cpu", "short", "demo")
PROTOCOLS = ("grouped", "paper", "official", "leave-one-dataset-out")
RUNTIMES = ("auto", "eager", "tuned", "onnx", "openvino")
FORMATS = ("onnx", "openvino")
_ROWS = (
    "taichinet unet unet-second-path unet-strategy unet++ unet++-second-path unet++-strategy unet++-own-loss "
    "attention-unet attention-unet-second-path attention-unet-strategy deeplabv3 deeplabv3-second-path "
    "deeplabv3-strategy deeplabv3+ deeplabv3+-second-path deeplabv3+-strategy ce-net ce-net-second-path "
    "ce-net-strategy fat-net fat-net-second-path fat-net-strategy x-net x-net-second-path x-net-strategy "
    "x-net-own-loss rf-net rf-net-second-path rf-net-strategy rf-net-own-loss de-resunet de-resunet-second-path "
    "de-resunet-strategy de-resunet-own-loss aau-net aau-net-second-path aau-net-strategy unet-lite "
    "unet-lite-second-path unet-lite-strategy model-1 model-2 model-3 model-4 model-5 model-6 model-7 consistent "
    "head-a head-b taichinet-shared-encoder taichinet-narrow-negative taichinet-one-path taichinet-distilled "
    "taichinet-three-quarter-width taichinet-half-width taichinet-lite"
)
_WITHOUT_SCALE = "best best-unet best-lite best-lite-unet best-lite-224 best-lite-224-unet"
RECIPES = (*(f"{scale}-{row}" for scale in SCALES for row in _ROWS.split()), *_WITHOUT_SCALE.split())
SUITES = (*(f"table{number}" for number in range(1, 8)), "paper")


def complete_recipe(incomplete: str) -> list[str]:
    """The recipes that begin with `incomplete`."""
    return [name for name in RECIPES if name.startswith(incomplete)]


def complete_scale(incomplete: str) -> list[str]:
    """The scales that begin with `incomplete`."""
    return [name for name in SCALES if name.startswith(incomplete)]


def complete_protocol(incomplete: str) -> list[str]:
    """The fold protocols that begin with `incomplete`."""
    return [name for name in PROTOCOLS if name.startswith(incomplete)]


def complete_runtime(incomplete: str) -> list[str]:
    """The runtimes that begin with `incomplete`."""
    return [name for name in RUNTIMES if name.startswith(incomplete)]


def complete_format(incomplete: str) -> list[str]:
    """The formats of exported networks that begin with `incomplete`."""
    return [name for name in FORMATS if name.startswith(incomplete)]


def complete_suite(incomplete: str) -> list[str]:
    """The suites that begin with `incomplete`."""
    return [name for name in SUITES if name.startswith(incomplete)]
