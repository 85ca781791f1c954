"""How a recipe differs from the paper: all settings compared with the full recipe."""

from __future__ import annotations

from taichinet.experiments.experiment import Experiment, flat_settings
from taichinet.experiments.recipes.baselines import baseline
from taichinet.experiments.recipes.catalogue import busi_taichinet

# Other settings are printed by their key.
WORDS = {
    "data.size": "size {} px",
    "data.augmentation.kind": "augmentation '{}'",
    "options.width": "width {}",
    "options.in_channels": "{} input channel(s)",
    "training.epochs": "{} epochs",
    "training.batch_size": "batch {}",
    "training.learning_rate": "learning rate {}",
    "training.schedule": "{} schedule",
    "training.strategy": "{} training",
    "data.folds": "{} folds",
    "mining.width": "U-Net++ of the mining stage: width {}",
    "mining.epochs": "U-Net++ of the mining stage: {} epochs",
    "mining.batch_size": "U-Net++ of the mining stage: batch {}",
    "mining.learning_rate": "U-Net++ of the mining stage: learning rate {}",
}
# The paper has tables with and without normal images, and does not specify the number format.
IGNORED = ("name", "model", "data.include_normal", "training.precision", "training.channels_last")
# Specified in the paper (Sec. III, IV, V-B) or fixed by its printed parameters; other values are our defaults.
PRINTED = frozenset(
    [
        *("data.size", "data.folds", "data.augmentation.kind"),
        *("data.augmentation.quarter_turns", "data.augmentation.max_degrees"),
        *("data.augmentation.gamma", "data.augmentation.stretch", "objective.complementary"),
        *("objective.positive_weight", "objective.negative_weight", "objective.complementary_weight"),
        *("objective.region_weight", "objective.region_rest", "training.epochs", "training.batch_size"),
        *("training.learning_rate", "training.strategy", "mining.epochs", "mining.batch_size", "mining.learning_rate"),
    ]
)
TAICHINET_PRINTED = frozenset(("options.width", "options.head", "options.cross_attention", "options.mutual"))


def differences_from_paper(experiment: Experiment, full: Experiment | None = None) -> list[str]:
    """Return the settings that differ from the paper, as `size 128 px (paper: 224)` or `... (our default: none)`.

    Settings that are not used are not listed: without a training strategy, those of the mining stage and `region_rest`.

    Args:
        experiment: The settings.
        full: The settings of the paper. Default: `busi-taichinet` for TaiChiNet and its variations, and
            `busi-<baseline>` for a baseline, which has the options of its own paper and no training strategy.
    """
    if full is None:
        full = busi_taichinet()
        full = full if experiment.model == full.model else baseline(full, experiment.model)
    paper = flat_settings(full)
    differences = []
    for key, value in flat_settings(experiment).items():
        unused = experiment.training.strategy == "plain" and (
            key.startswith("mining.") or key == "objective.region_rest"
        )
        if unused or key in IGNORED or value == paper.get(key):
            continue
        text = WORDS[key].format(_value(value)) if key in WORDS else f"`{key}` {_value(value)}"
        text = text.removesuffix("s") if value == 1 and key.endswith(".epochs") else text
        printed = key in PRINTED or (full.model == "taichinet" and key in TAICHINET_PRINTED)
        differences.append(f"{text} ({'paper' if printed else 'our default'}: {_value(paper.get(key))})")
    return differences


def choices_not_printed(experiment: Experiment) -> list[str]:
    """Our choices for what the paper does not specify, or what its numbers contradict, with all settings equal."""
    choices = []
    if share := experiment.data.validation_share:
        choices.append(f"1/{1 / share:g} of the training images held out for validation (our choice: not in the paper)")
    if experiment.channels == 1:
        choices.append("1 grey input channel (our choice: the paper's 18.33M parameters are those of 3)")
    return choices


def all_differences(experiment: Experiment, full: Experiment | None = None) -> list[str]:
    """The differences from the paper, and our choices for what it does not specify."""
    return [*differences_from_paper(experiment, full), *choices_not_printed(experiment)]


def _value(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
