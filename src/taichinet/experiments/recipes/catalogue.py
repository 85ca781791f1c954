"""The recipes by name: a full recipe for each scale, and every row of the tables and faster network as its variation.

`busi-*` is the paper's protocol (Sec. V-B); `cpu-*` what two cores finish in an hour; `short-*` the same for a third of
the epochs, so that every row of every table can be trained in an afternoon; `demo-*` what they finish in two minutes.
"""

from __future__ import annotations

from collections.abc import Callable

from taichinet.errors import unknown_name
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
from taichinet.experiments.recipes.variants import VARIANTS


def busi_taichinet() -> Experiment:
    """TaiChiNet as printed: 224 px, width 32, batch 16, Adam 1e-4, 40 epochs."""
    return Experiment(name="busi-taichinet")


def cpu_taichinet() -> Experiment:
    """TaiChiNet at 128 px and half width; fewer epochs at a higher, falling rate.

    `region_rest` departs from the print for the reason in docs/fidelity.md, "The rest of the lesion".
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
    """The `cpu` recipe for 4 epochs: a first look at a row, before it is worth more."""
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
            # Less, and the coarsest output marks nothing yet: no pixel would be easy.
            "mining.epochs": 16,
            "mining.batch_size": 4,
            "mining.learning_rate": 4e-3,
        },
    )


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


VARIATIONS: dict[str, Row] = {
    **{row: vary_it for model in BASELINES for row, vary_it in _rows_of(model).items()},
    **ABLATIONS,
    **VARIANTS,
}


def list_recipes() -> tuple[str, ...]:
    """Names of all recipes: `<scale>-` and taichinet, a baseline with or without variation, a row of Tables I to III,
    or a faster variant of taichinet.
    """
    return tuple(f"{scale}-{row}" for scale in SCALES for row in ("taichinet", *VARIATIONS))


def get_recipe(name: str) -> Experiment:
    """The recipe of that name; SettingError suggests the nearest."""
    scale, _, row = name.partition("-")
    if scale not in SCALES or row not in ("taichinet", *VARIATIONS):
        grammar = (
            f"SCALE-ROW, where SCALE is {', '.join(SCALES)} and ROW is taichinet, alone or with "
            f"{', '.join(name.removeprefix('taichinet') for name in VARIANTS)}; {', '.join(ABLATIONS)}; or a "
            f"baseline ({', '.join(BASELINES)}), alone or with -second-path, -strategy or, if its paper has further "
            f"loss terms ({', '.join(OWN_TERMS)}), -own-loss"
        )
        raise unknown_name("recipe", name, list_recipes(), grammar, near=1)
    full = SCALES[scale]()
    return full if row == "taichinet" else vary(VARIATIONS[row](full), {"name": name})
