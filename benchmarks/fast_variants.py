"""Dice and latency of TaiChiNet, its U-Net and the faster variants. Writes docs/ship/fast-variants.md.

    python benchmarks/fast_variants.py -o RECORD.json --page docs/ship/fast-variants.md
    python benchmarks/fast_variants.py --from RECORD.json --page docs/ship/fast-variants.md

The latency is that of one image through the network as it is used after training, in eager float32 and channels-last
layout; the networks are timed in turn. The second command reads the latencies from a record. The Dice is that of the
trainings in results/; a network that was not trained has only a latency.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from fast_variants_page import FIGURE, SCALES, SHARED_FOLD, TRAINED, draw, page
from measuring import read_record, record, seconds_in_turn
from torch import nn

from taichinet.datasets.folds import read_folds
from taichinet.evaluation.uncertainty import bootstrap_mean
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.recipes.variants import VARIANTS
from taichinet.groups import cluster_numbers
from taichinet.models.catalogue import create_model
from taichinet.models.complexity import count_parameters, measure_complexity
from taichinet.models.taichinet.network import without_training_parts
from taichinet.training.device import DeviceConfig

NAMES = ("taichinet", "unet", *VARIANTS)
# The recipe short-taichinet trained again on the shared fold: in bf16 on another machine, and in float32.
REPEATS = ("busi/short-default/grouped/scores.csv", "benchmarks/short-taichinet-float32-scores.csv")
FOLDS = "busi-lesions-grouped-5folds-seed0.json"


def main() -> None:
    """Measure or read the latencies, join them with the Dice, write record, page and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="the record, one file a machine")
    parser.add_argument("--from", dest="known", type=Path, help="take the latencies of this record")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    if arguments.known:
        entry = read_record(arguments.known)
    else:
        content = {
            "what": "milliseconds of one image, eager float32 channels-last; median of calls in turn",
            "rounds": arguments.rounds,
            "merged_upsampling": True,
            "networks": latencies(arguments.rounds),
        }
        entry = record(arguments.output, content)
    if arguments.page:
        rows = [{"name": name, **entry["networks"][name], **dice_of(name, arguments.results)} for name in NAMES]
        figure = arguments.page.parent / FIGURE
        figure.parent.mkdir(parents=True, exist_ok=True)
        draw(rows, figure)
        arguments.page.write_text(page(rows, entry, repeated_dice(arguments.results)), encoding="utf-8")


def as_used(recipe: Experiment) -> nn.Module:
    """The recipe's network with random weights, without what only training needs."""
    torch.manual_seed(0)
    return without_training_parts(create_model(recipe.model, **recipe.options)).eval()


@torch.inference_mode()
def latencies(rounds: int) -> dict[str, dict[str, Any]]:
    """Milliseconds, parameters and GFLOPs of every network at every scale."""
    device_config = DeviceConfig(torch.device("cpu"), bf16=False, memory_format=torch.channels_last)
    found: dict[str, dict[str, Any]] = {name: {} for name in NAMES}
    for scale in SCALES:
        calls: dict[str, Callable[[], object]] = {}
        for name in NAMES:
            recipe = get_recipe(f"{scale}-{name}")
            network = device_config.place(as_used(recipe))
            image = torch.rand(1, recipe.channels, recipe.data.size, recipe.data.size)
            image = image.to(memory_format=device_config.memory_format)
            calls[name] = partial(network, image)
            settings: Any = network.settings
            options = settings.model_dump(exclude_defaults=True)
            cost = measure_complexity(recipe.model, recipe.data.size, **options)
            found[name][scale] = {"parameters": count_parameters(network), "gflops": round(cost.gflops, 2)}
        for name, seconds in seconds_in_turn(calls, rounds).items():
            found[name][scale] |= {
                "milliseconds": round(1000 * median(seconds), 1),
                "quartiles": [round(1000 * float(np.quantile(seconds, share)), 1) for share in (0.25, 0.75)],
            }
    return found


def dice_of(name: str, results: Path) -> dict[str, Any]:
    """Mean Dice over the test images of SHARED_FOLD, its interval, and that of the difference to the full TaiChiNet.

    `over_folds` has the same of all folds where both were trained on several, with Dice as mean and sample standard
    deviation over folds. Whole groups of near-duplicates are resampled. Empty where the recipe was not trained.
    """
    path = results / "busi" / f"{TRAINED}-{name}" / "grouped"
    if not (path / "scores.csv").is_file():
        return {}
    columns = ["fold", "key", "dice"]
    scores = pd.read_csv(path / "scores.csv")[columns].set_index("key")
    full = pd.read_csv(results / "busi" / f"{TRAINED}-taichinet" / "grouped" / "scores.csv")[columns].set_index("key")
    groups = read_folds(results / "folds" / FOLDS).groups

    def compared(folds: set[int]) -> dict[str, Any]:
        own, other = (one[one["fold"].isin(folds)] for one in (scores, full))
        if set(own.index) != set(other.index):
            raise SystemExit(f"{path} has other test images than {TRAINED}-taichinet: train both on the same folds.")
        keys = list(other.index)
        clusters = cluster_numbers(keys, groups)
        values, against = own["dice"][keys].to_numpy(), other["dice"][keys].to_numpy()
        return {
            "dice": bootstrap_mean(values, np.random.default_rng(0), clusters),
            "difference": bootstrap_mean(values - against, np.random.default_rng(0), clusters),
        }

    device_config = json.loads((path / "summary.json").read_text(encoding="utf-8"))["placement"]
    found = compared({SHARED_FOLD}) | {"placement": device_config.split()[1]}
    both = set(scores["fold"]) & set(full["fold"])
    if len(both) > 1:
        means = scores[scores["fold"].isin(both)].groupby("fold")["dice"].mean()
        spread = {"folds": len(both), "mean": float(means.mean()), "deviation": float(means.std(ddof=1))}
        found["over_folds"] = compared(both) | spread
    return found


def repeated_dice(results: Path) -> list[float]:
    """Mean Dice on the shared fold of every training of the full TaiChiNet's recipe."""
    first = f"busi/{TRAINED}-taichinet/grouped/scores.csv"
    trainings = [pd.read_csv(results / path) for path in (first, *REPEATS)]
    return [float(scores.loc[scores["fold"] == SHARED_FOLD, "dice"].mean()) for scores in trainings]


if __name__ == "__main__":
    main()
