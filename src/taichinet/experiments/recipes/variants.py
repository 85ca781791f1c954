"""Faster variants of TaiChiNet, which are not from the paper: one function per variant of the full recipe.

docs/ship/fast-variants.md has the Dice and latency of each.
"""

from __future__ import annotations

from collections.abc import Callable

from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.recipes.baselines import baseline
from taichinet.models.taichinet.network import TaiChiNetSettings


def shared_encoder(full: Experiment) -> Experiment:
    """Both paths share the encoder; each has its own bottleneck."""
    return vary(full, {"options.shared_levels": 4})


def narrow_negative(full: Experiment) -> Experiment:
    """The negative path has half the width of the positive path, which is a quarter of its cost."""
    return vary(full, {"options.negative_width": _width(full) // 2})


def one_path(full: Experiment) -> Experiment:
    """The negative path is only used in training, where it shares the encoder; inference costs one U-Net.

    There is no attention or head, which would need that path at inference. The complementary loss is kept.
    """
    changes = {"shared_levels": 4, "cross_attention": False, "head": "none", "second_path_at_inference": False}
    return vary(full, {f"options.{option}": value for option, value in changes.items()})


def distilled(full: Experiment) -> Experiment:
    """A U-Net that is also trained on the predictions of the full recipe, which was trained on the same fold before."""
    return vary(baseline(full, "unet"), {"teacher": full.name})


def three_quarter_width(full: Experiment) -> Experiment:
    """Three quarters of the channels at every level of both paths."""
    return vary(full, {"options.width": _width(full) * 3 // 4})


def half_width(full: Experiment) -> Experiment:
    """Half the channels at every level of both paths."""
    return vary(full, {"options.width": _width(full) // 2})


def _width(full: Experiment) -> int:
    return int(full.options.get("width", TaiChiNetSettings().width))


VARIANTS: dict[str, Callable[[Experiment], Experiment]] = {
    "taichinet-shared-encoder": shared_encoder,
    "taichinet-narrow-negative": narrow_negative,
    "taichinet-one-path": one_path,
    "taichinet-distilled": distilled,
    "taichinet-three-quarter-width": three_quarter_width,
    "taichinet-half-width": half_width,
}
