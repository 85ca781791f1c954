"""Faster TaiChiNets: what it can lose, one function a variant, each a variation of the full recipe.

They are ours, not the paper's. docs/fast-variants.md holds Dice against latency for each.
"""

from __future__ import annotations

from collections.abc import Callable

from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.recipes.baselines import baseline
from taichinet.models.taichinet.settings import TaiChiNetSettings


def shared_encoder(full: Experiment) -> Experiment:
    """Both paths read one encoder, down to the bottleneck, which each has for itself."""
    return vary(full, {"options.shared_levels": 4})


def narrow_negative(full: Experiment) -> Experiment:
    """The negative path has half the positive one's width: a quarter of its cost."""
    return vary(full, {"options.negative_width": _width(full) // 2})


def one_path(full: Experiment) -> Experiment:
    """The negative path shares the encoder, and teaches it, while training; the answer costs one U-Net.

    Attention and head, through which the answer would need that path, are left out; the complementary loss stays.
    """
    changes = {"shared_levels": 4, "cross_attention": False, "head": "none", "second_path_at_inference": False}
    return vary(full, {f"options.{option}": value for option, value in changes.items()})


def distilled(full: Experiment) -> Experiment:
    """A plain U-Net that also learns what the full recipe, trained on the same fold before, says of its images."""
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
