"""Names that the shell completes.

The short lists are written here, because the registries import torch; a test compares them.
"""

from __future__ import annotations

SCALES = ("busi", "cpu", "short", "demo")
PROTOCOLS = ("grouped", "paper", "official", "leave-one-dataset-out")
RUNTIMES = ("auto", "eager", "tuned", "tuned-bf16", "onnx", "openvino")
FORMATS = ("onnx", "openvino")
SUITES = (*(f"table{number}" for number in range(1, 8)), "paper")


def complete_recipe(incomplete: str) -> list[str]:
    """The recipes that begin with `incomplete`."""
    from taichinet.experiments.recipes.table import read_recipes

    return [name for name in read_recipes().recipes if name.startswith(incomplete)]


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
    """The suites and recipes that begin with `incomplete`."""
    return [*(name for name in SUITES if name.startswith(incomplete)), *complete_recipe(incomplete)]
