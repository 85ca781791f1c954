"""Table IV: every network of the catalogue under the recipe of TaiChiNet.

The paper trains its baselines with "the same implementation details". The recipes use the same images, epochs,
optimiser and Dice + cross-entropy on the output, without learning strategy. Each baseline has two variations: the loss
terms of its own paper, and the parts of TaiChiNet that any network can have (`with_second_path`, `with_strategy`).
"""

from __future__ import annotations

from typing import Any

from taichinet.errors import SettingError
from taichinet.experiments.experiment import Experiment, vary
from taichinet.models.catalogue import CATALOGUE, model_settings
from taichinet.models.taichinet.network import TaiChiNetSettings, TwoPathSettings

# All networks that are not a TaiChiNet.
BASELINES = tuple(name for name, entry in CATALOGUE.items() if not issubclass(entry.settings, TwoPathSettings))

# Outputs that are only used by the auxiliary loss terms of a network are disabled without these terms.
WITHOUT_OWN_TERMS: dict[str, dict[str, Any]] = {"unet++": {"deep_supervision": False}, "x-net": {"variational": False}}

# Weights of the auxiliary outputs in the papers of the networks, with Dice + cross-entropy as the loss of each output.
# DE-ResUnet sums six maps and, for one region, counts the final map twice: 1:1:1:1:1:2. The variational weights are
# common values for such a regulariser.
OWN_TERMS: dict[str, dict[str, float]] = {
    "unet++": {"levels": 1},
    "de-resunet": {"levels": 0.5},
    "rf-net": {"first_pass": 1, "residual": 1},
    "x-net": {"reconstruction": 0.1, "divergence": 0.1},
}


def baseline(full: Experiment, model: str) -> Experiment:
    """Network `model` with the settings of `full`, without learning strategy; its width is scaled like TaiChiNet's."""
    options: dict[str, Any] = {key: full.options[key] for key in ("in_channels", "num_classes") if key in full.options}
    options |= WITHOUT_OWN_TERMS.get(model, {})
    if model == "unet" and "output_kernel" in full.options:  # TaiChiNet's own sub-network
        options["output_kernel"] = full.options["output_kernel"]
    own = getattr(model_settings(model), "width", None)
    if "width" in full.options and own is not None:
        options["width"] = max(full.options["width"] * own // TaiChiNetSettings().width, 2)
    return vary(full, {"model": model, "options": options, "training.strategy": "plain"})


def with_own_terms(recipe: Experiment) -> Experiment:
    """The baseline with the auxiliary loss terms of its paper; raises SettingError if there are none."""
    if recipe.model not in OWN_TERMS:
        raise SettingError(
            f"Network '{recipe.model}' has no loss terms of its own beside Dice + cross-entropy. "
            f"Those that have: {', '.join(OWN_TERMS)}."
        )
    left_out = WITHOUT_OWN_TERMS.get(recipe.model, {})
    options = {key: value for key, value in recipe.options.items() if key not in left_out}
    terms = {f"objective.auxiliary.{term}": weight for term, weight in OWN_TERMS[recipe.model].items()}
    return vary(recipe, {"options": options, **terms})


def with_second_path(recipe: Experiment) -> Experiment:
    """The baseline with a second path for the background, the complementary head and the complementary loss."""
    return vary(recipe, {"options.second_path": {"head": "c"}})


def with_strategy(recipe: Experiment) -> Experiment:
    """The baseline with the easy-to-hard strategy."""
    return vary(recipe, {"training.strategy": "easy-to-hard"})
