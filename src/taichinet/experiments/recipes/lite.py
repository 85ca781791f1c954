"""TaiChiNet on an ImageNet encoder, which is not from the paper."""

from __future__ import annotations

from taichinet.experiments.experiment import Experiment, vary


def taichinet_lite(full: Experiment) -> Experiment:
    """TaiChiNet-lite with the data, losses and training of the full recipe, and random initial weights."""
    return _with_model(full, "taichinet-lite")


def taichinet_timm(full: Experiment) -> Experiment:
    """TaiChiNet on an encoder of timm (options.encoder) with the data, losses and training of the full recipe."""
    return _with_model(full, "taichinet-timm")


def _with_model(full: Experiment, model: str) -> Experiment:
    kept = ("in_channels", "num_classes")
    options = {key: full.options[key] for key in kept if key in full.options}
    return vary(full, {"model": model, "options": options})


LITE = {"taichinet-lite": taichinet_lite, "taichinet-timm": taichinet_timm}
