"""What a recipe does otherwise than the paper: every setting compared with the full recipe, nothing typed by hand."""

from __future__ import annotations

from taichinet.experiments.experiment import Experiment, flat_settings
from taichinet.experiments.recipes.baselines import baseline
from taichinet.experiments.recipes.catalogue import busi_taichinet

# In words where a word exists; any other setting is told by its key.
WORDS = {
    "data.size": "size {} px",
    "options.width": "width {}",
    "options.in_channels": "{} input channel(s)",
    "training.epochs": "{} epochs",
    "training.batch_size": "batch {}",
    "training.learning_rate": "learning rate {}",
    "training.schedule": "{} schedule",
    "training.strategy": "{} training",
    "data.folds": "{} folds",
    "mining.width": "U-Net++ of the preparation: width {}",
    "mining.epochs": "U-Net++ of the preparation: {} epochs",
    "mining.batch_size": "U-Net++ of the preparation: batch {}",
    "mining.learning_rate": "U-Net++ of the preparation: learning rate {}",
}
# The paper has tables of both kinds; how a number is stored is not of its recipe.
NO_DEPARTURE = ("name", "model", "data.include_normal", "training.precision", "training.channels_last")
# What the paper prints (Sec. III, IV, V-B) or its printed parameters fix; any other value is a default of ours.
PRINTED = frozenset(
    (
        "data.size",
        "data.folds",
        "data.augmentation.quarter_turns",
        "data.augmentation.max_degrees",
        "data.augmentation.gamma",
        "data.augmentation.stretch",
        "objective.complementary",
        "objective.positive_weight",
        "objective.negative_weight",
        "objective.complementary_weight",
        "objective.region_weight",
        "objective.region_rest",
        "training.epochs",
        "training.batch_size",
        "training.learning_rate",
        "training.strategy",
        "mining.epochs",
        "mining.batch_size",
        "mining.learning_rate",
    )
)
PRINTED_OF_TAICHINET = frozenset(("options.width", "options.head", "options.cross_attention", "options.mutual"))


def departures(experiment: Experiment, full: Experiment | None = None) -> list[str]:
    """What `experiment` does otherwise than `full`, as `size 128 px (paper: 224)` or `... (our default: none)`.

    Without `full`, TaiChiNet and its variations are compared with `busi-taichinet`, and a baseline with
    `busi-<baseline>`: the options of its own paper without learning strategy. Settings that are not used are not
    listed: without a strategy, those of the mining stage and `region_rest`.
    """
    if full is None:
        full = busi_taichinet()
        full = full if experiment.model == full.model else baseline(full, experiment.model)
    paper = flat_settings(full)
    plain = experiment.training.strategy == "plain"
    found = []
    for key, value in flat_settings(experiment).items():
        if key in NO_DEPARTURE or value == paper.get(key):
            continue
        if plain and (key.startswith("mining.") or key == "objective.region_rest"):
            continue
        told = WORDS[key].format(_value(value)) if key in WORDS else f"`{key}` {_value(value)}"
        told = told.removesuffix("s") if value == 1 and key.endswith(".epochs") else told
        printed = key in PRINTED or (full.model == "taichinet" and key in PRINTED_OF_TAICHINET)
        found.append(f"{told} ({'paper' if printed else 'our default'}: {_value(paper.get(key))})")
    return found


def choices_not_printed(experiment: Experiment) -> list[str]:
    """What a run does where the paper prints nothing, or its figures fit another choice, though all settings agree."""
    choices = []
    if share := experiment.data.validation_share:
        choices.append(f"1/{1 / share:g} of the training part held out for validation (our choice: not printed)")
    if experiment.channels == 1:
        choices.append("1 grey input channel (our choice: the paper's 18.33M parameters are those of 3)")
    return choices


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
