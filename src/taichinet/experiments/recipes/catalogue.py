"""Registry of recipes: a full recipe for each scale, and variations of it, named SCALE-ROW.

`busi-*` is the protocol of the paper (Sec. V-B), `cpu-*` trains in an hour on two cores, `short-*` is `cpu-*` with a
third of the epochs, and `demo-*` trains on phantoms in two minutes. The recipes of `best.py` vary none of these: their
names have no scale. A new recipe is a function in a file of this folder, or of the user, and one call of
`register_recipe`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from taichinet.errors import SettingError, unknown_name
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.recipes.ablations import ABLATIONS, Row
from taichinet.experiments.recipes.baselines import (
    BASELINES,
    OWN_TERMS,
    baseline,
    with_own_terms,
    with_second_path,
    with_strategy,
)
from taichinet.experiments.recipes.best import BEST
from taichinet.experiments.recipes.lite import LITE
from taichinet.experiments.recipes.variants import VARIANTS
from taichinet.models.catalogue import CATALOGUE, list_models
from taichinet.models.own_code import is_own_model


def busi_taichinet() -> Experiment:
    """TaiChiNet as in the paper: 224 px, width 32, batch 16, Adam 1e-4, 40 epochs."""
    return Experiment(name="busi-taichinet")


def cpu_taichinet() -> Experiment:
    """TaiChiNet at 128 px and half width; fewer epochs at a higher, decaying learning rate.

    `region_rest` differs from the paper, see docs/reference/fidelity.md, "The rest of the lesion".
    """
    return vary(
        busi_taichinet(),
        {
            "name": "cpu-taichinet",
            "options.width": 16,
            "data.size": 128,
            "objective.region_rest": "ignored",
            "training.epochs": 12,
            "training.learning_rate": 1e-3,
            "training.schedule": "cosine",
            "mining.width": 16,
            "mining.epochs": 4,
            "mining.learning_rate": 1e-3,
        },
    )


def short_taichinet() -> Experiment:
    """The `cpu` recipe for 4 epochs, for a first estimate of a row."""
    return vary(cpu_taichinet(), {"name": "short-taichinet", "training.epochs": 4})


def demo_taichinet() -> Experiment:
    """A narrow TaiChiNet for phantoms."""
    return vary(
        cpu_taichinet(),
        {
            "name": "demo-taichinet",
            "options.width": 8,
            "data.size": 96,
            "data.include_normal": True,
            "training.epochs": 20,
            "training.batch_size": 8,
            "training.learning_rate": 2e-3,
            "mining.width": 8,
            # With fewer epochs, the coarsest output predicts no lesion: no pixel would be easy.
            "mining.epochs": 16,
            "mining.batch_size": 4,
            "mining.learning_rate": 4e-3,
        },
    )


FULL = "taichinet"  # the full recipe of a scale
SCALES: dict[str, Callable[[], Experiment]] = {
    "busi": busi_taichinet,
    "cpu": cpu_taichinet,
    "short": short_taichinet,
    "demo": demo_taichinet,
}


def _rows_of(model: str) -> dict[str, Row]:
    """The baseline `model` and its variations, by the part of the name after the scale."""

    def then(variation: Callable[[Experiment], Experiment]) -> Row:
        return lambda full: variation(baseline(full, model))

    rows: dict[str, Row] = {
        model: lambda full: baseline(full, model),
        f"{model}-second-path": then(with_second_path),
        f"{model}-strategy": then(with_strategy),
    }
    return rows | ({f"{model}-own-loss": then(with_own_terms)} if model in OWN_TERMS else {})


VARIATIONS: dict[str, Row] = {}


def register_recipe(name: str, recipe: Row) -> None:
    """Register a recipe, which then exists at every scale as SCALE-NAME.

    Args:
        name: Name after the scale, e.g. "unet" or "taichinet-half-width".
        recipe: Function from the full recipe of a scale (`busi_taichinet()`, ...) to the recipe.

    Raises:
        SettingError: The name is not valid, begins with a scale, or another recipe has it.
    """
    if not re.fullmatch(r"[\w+][\w.+-]*", name) or name.partition("-")[0] in SCALES:
        raise SettingError(
            f"Invalid name '{name}' of a recipe. Use letters, digits and _.+-, and no scale at the beginning."
        )
    if name == FULL or name in VARIATIONS:
        raise SettingError(f"A recipe '{name}' is already registered. Give the recipe another name.")
    VARIATIONS[name] = recipe


for _model in BASELINES:
    for _name, _row in _rows_of(_model).items():
        register_recipe(_name, _row)
for _name, _row in {**ABLATIONS, **VARIANTS, **LITE}.items():
    register_recipe(_name, _row)
_BUILT_IN, BUILT_IN_MODELS = tuple(VARIATIONS), tuple(CATALOGUE)


def variations() -> dict[str, Row]:
    """All variations of the full recipe of a scale, by the part of the name after the scale.

    They include those of networks that were registered after this module was imported.
    """
    later = [model for model in list_models() if model not in BUILT_IN_MODELS and not is_own_model(model)]
    return {row: recipe for model in later for row, recipe in _rows_of(model).items()} | VARIATIONS


def list_rows() -> tuple[str, ...]:
    """The part of the names of all recipes after their scale, e.g. taichinet, unet and model-6."""
    return (FULL, *variations())


def list_recipes() -> tuple[str, ...]:
    """Names of all recipes: SCALE-ROW, and those of `best.py`.

    A row is taichinet, a baseline with or without variation, a row of Tables I to III, or a faster variant of
    taichinet.
    """
    return (*(f"{scale}-{row}" for scale in SCALES for row in list_rows()), *BEST)


def get_recipe(name: str) -> Experiment:
    """The recipe of that name; raises SettingError with the closest name if it does not exist."""
    if name in BEST:
        return BEST[name]()
    scale, _, row = name.partition("-")
    rows = VARIATIONS if row in VARIATIONS else variations()
    if scale not in SCALES or row not in (FULL, *rows):
        registered = [row for row in rows if row not in _BUILT_IN][:5]
        grammar = (
            f"SCALE-ROW with SCALE {', '.join(SCALES)} and ROW e.g. taichinet, unet, model-6"
            f"{''.join(f', {row}' for row in registered)}; {', '.join(BEST)}. `taichinet recipes` lists all"
        )
        raise unknown_name("recipe", name, list_recipes(), grammar)
    full = SCALES[scale]()
    return full if row == FULL else vary(rows[row](full), {"name": name})
