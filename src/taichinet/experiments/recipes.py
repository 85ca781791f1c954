"""The recipes by name: one function each, each a variation of another.

`busi-*` is the paper's protocol (Sec. V-B); `cpu-*` what two cores finish in an hour; `demo-*` what they finish in
two minutes.
"""

from __future__ import annotations

from collections.abc import Callable

from taichinet.errors import unknown_name
from taichinet.experiments.ablations import ABLATIONS, model_1
from taichinet.experiments.experiment import Experiment, vary


def busi_taichinet() -> Experiment:
    """TaiChiNet as printed: 224 px, width 32, batch 16, Adam 1e-4, 40 epochs."""
    return Experiment(name="busi-taichinet")


def busi_unet() -> Experiment:
    """Its sub-network alone (Model 1), under the same recipe."""
    return _plain_unet(busi_taichinet(), "busi-unet")


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


def cpu_unet() -> Experiment:
    """The plain U-Net under the recipe of `cpu-taichinet`."""
    return _plain_unet(cpu_taichinet(), "cpu-unet")


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
            "mining.epochs": 8,
            "mining.batch_size": 8,
            "mining.learning_rate": 2e-3,
        },
    )


def demo_unet() -> Experiment:
    """The plain U-Net under the recipe of `demo-taichinet`."""
    return _plain_unet(demo_taichinet(), "demo-unet")


def _plain_unet(like: Experiment, name: str) -> Experiment:
    return vary(model_1(like), {"name": name})


FULL: dict[str, Callable[[], Experiment]] = {"busi": busi_taichinet, "cpu": cpu_taichinet, "demo": demo_taichinet}
UNETS: dict[str, Callable[[], Experiment]] = {"busi-unet": busi_unet, "cpu-unet": cpu_unet, "demo-unet": demo_unet}


def list_recipes() -> tuple[str, ...]:
    """Every recipe's name: `<scale>-taichinet`, `<scale>-unet`, `<scale>-<row of Tables I to III>`."""
    names = [f"{scale}-taichinet" for scale in FULL]
    names += list(UNETS)
    return (*names, *(f"{scale}-{row}" for scale in FULL for row in ABLATIONS))


def get_recipe(name: str) -> Experiment:
    """The recipe of that name; SettingError suggests the nearest."""
    if name not in list_recipes():
        raise unknown_name("recipe", name, list_recipes())
    if name in UNETS:
        return UNETS[name]()
    scale, _, row = name.partition("-")
    full = FULL[scale]()
    return full if row == "taichinet" else vary(ABLATIONS[row](full), {"name": name})
