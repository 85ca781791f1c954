"""TaiChiNet on a small ImageNet encoder, which is not from the paper."""

from __future__ import annotations

from taichinet.experiments.experiment import Experiment, vary


def taichinet_lite(full: Experiment) -> Experiment:
    """TaiChiNet-lite with the data, losses and training of the full recipe, and random initial weights."""
    kept = ("in_channels", "num_classes")
    options = {key: full.options[key] for key in kept if key in full.options}
    return vary(full, {"model": "taichinet-lite", "options": options})


LITE = {"taichinet-lite": taichinet_lite}
