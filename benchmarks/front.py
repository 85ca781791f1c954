"""The front of Dice against latency: TaiChiNet, its U-Net and the faster variants. Writes docs/fast-variants.md.

    python benchmarks/front.py -o results/benchmarks/front-MACHINE.json --page docs/fast-variants.md
    python benchmarks/front.py --from results/benchmarks/front-MACHINE.json --page docs/fast-variants.md

Latency is measured here: one image through each network as it is used after training, eager float32 in channels-last
layout, in turn; the second command takes the latencies of a record instead. Dice comes from the trainings
under results/; a network that was not trained there has a latency and no Dice.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from measuring import read_record, record, seconds_in_turn
from torch import nn

from taichinet.datasets.folds import read_folds
from taichinet.evaluation.uncertainty import Interval, bootstrap_mean
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.recipes import get_recipe
from taichinet.experiments.variants import VARIANTS
from taichinet.groups import cluster_numbers
from taichinet.models.catalogue import create_model
from taichinet.models.complexity import count_parameters, measure_complexity
from taichinet.models.taichinet.network import without_training_parts
from taichinet.training.device import Placement

NAMES = ("taichinet", "unet", *VARIANTS)
SCALES = {"busi": "224 px, width 32", "short": "128 px, width 16"}  # where latency is measured
TRAINED = "short"
REPEAT = "short-default"  # the recipe short-taichinet trained a second time, in bf16 on another machine
FOLDS = "busi-lesions-grouped-5folds-seed0.json"
SHARED_FOLD = 0  # the one on which every network was trained
SAME_LATENCY = 0.05  # as a share: what a repeated measurement moves
FIGURE = "images/fast-variants.svg"


def main() -> None:
    """Measure or read the latencies, join them with the Dice, write record, page and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, help="the record, one file a machine")
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
            "networks": latencies(arguments.rounds),
        }
        entry = record(arguments.out, content)
    if arguments.page:
        rows = [{"name": name, **entry["networks"][name], **dice_of(name, arguments.results)} for name in NAMES]
        figure = arguments.page.parent / FIGURE
        figure.parent.mkdir(parents=True, exist_ok=True)
        draw(rows, figure)
        repeat = dice_of(REPEAT, arguments.results)["difference"]
        arguments.page.write_text(page(rows, entry, repeat), encoding="utf-8")


def as_used(recipe: Experiment) -> nn.Module:
    """The recipe's network with random weights, without what only training needs."""
    torch.manual_seed(0)
    return without_training_parts(create_model(recipe.model, **recipe.options)).eval()


@torch.inference_mode()
def latencies(rounds: int) -> dict[str, dict[str, Any]]:
    """Milliseconds, parameters and GFLOPs of every network at every scale."""
    placement = Placement(torch.device("cpu"), bf16=False, memory_format=torch.channels_last)
    found: dict[str, dict[str, Any]] = {name: {} for name in NAMES}
    for scale in SCALES:
        calls: dict[str, Callable[[], object]] = {}
        for name in NAMES:
            recipe = get_recipe(f"{scale}-{name}")
            network = placement.place(as_used(recipe))
            image = torch.rand(1, recipe.channels, recipe.data.size, recipe.data.size)
            image = image.to(memory_format=placement.memory_format)
            calls[name] = lambda n=network, i=image: n(i)
            options = network.settings.model_dump(exclude_defaults=True)
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
    path = results / "busi" / (name if name == REPEAT else f"{TRAINED}-{name}") / "grouped"
    if not (path / "scores.csv").is_file():
        return {}
    columns = ["fold", "key", "dice"]
    scores = pd.read_csv(path / "scores.csv")[columns].set_index("key")
    full = pd.read_csv(results / "busi" / f"{TRAINED}-taichinet" / "grouped" / "scores.csv")[columns].set_index("key")
    groups = read_folds(results / "folds" / FOLDS).groups

    def compared(folds: set[int]) -> dict[str, Any]:
        own, other = (one[one["fold"].isin(folds)] for one in (scores, full))
        if set(own.index) != set(other.index):
            raise SystemExit(f"{path} holds other test images than {TRAINED}-taichinet: train both on the same folds.")
        keys = list(other.index)
        clusters = cluster_numbers(keys, groups)
        values, against = own["dice"][keys].to_numpy(), other["dice"][keys].to_numpy()
        return {
            "dice": bootstrap_mean(values, np.random.default_rng(0), clusters),
            "difference": bootstrap_mean(values - against, np.random.default_rng(0), clusters),
        }

    found = compared({SHARED_FOLD})
    both = set(scores["fold"]) & set(full["fold"])
    if len(both) > 1:
        means = scores[scores["fold"].isin(both)].groupby("fold")["dice"].mean()
        spread = {"folds": len(both), "mean": float(means.mean()), "deviation": float(means.std(ddof=1))}
        found["over_folds"] = compared(both) | spread
    return found


def on_the_front(rows: list[dict[str, Any]], scale: str) -> set[str]:
    """Names of the trained networks that no other trained one beats: better at no more time, or faster at no less Dice.

    Latencies that differ by less than SAME_LATENCY are equal: three of the networks are one U-Net at inference.
    """
    known = [(row["name"], row[scale]["milliseconds"], row["dice"].mean) for row in rows if "dice" in row]

    def beaten(milliseconds: float, dice: float) -> bool:
        return any(
            (other_dice > dice and other <= milliseconds * (1 + SAME_LATENCY))
            or (other_dice == dice and other < milliseconds * (1 - SAME_LATENCY))
            for _, other, other_dice in known
        )

    return {name for name, milliseconds, dice in known if not beaten(milliseconds, dice)}


def page(rows: list[dict[str, Any]], entry: Mapping[str, Any], repeat: Interval) -> str:
    """docs/fast-variants.md."""
    machine, front = entry["machine"], on_the_front(rows, "busi")
    trained = [row for row in rows if "dice" in row]
    images, groups = trained[0]["dice"].images, trained[0]["dice"].clusters
    lines = [
        "<!-- Generated by `python benchmarks/front.py --page docs/fast-variants.md`; do not edit. -->",
        "",
        "# Faster networks",
        "",
        "What TaiChiNet can lose, as recipes `<scale>-<name>` at every scale. They are ours, not the paper's. Pruning "
        "is not among them: a network whose channels are pruned evenly is one of the narrower networks, and these are "
        "trained as such.",
        "",
        *(f"- `{name}`: {' '.join((VARIANTS[name].__doc__ or '').split())}" for name in VARIANTS),
        "",
        "## Dice against latency",
        "",
        f"![Dice against latency of each network]({FIGURE})",
        "",
        f"Dice is of grouped fold {SHARED_FOLD} of BUSI ({images} test images in {groups} groups of near-duplicates), "
        f"the `{TRAINED}` recipes ({SCALES[TRAINED]}, {get_recipe(f'{TRAINED}-taichinet').training.epochs} epochs), "
        "with the 95 % bootstrap interval over those groups. *Difference* is to TaiChiNet on the same images; where "
        "its interval holds 0 the fold does not tell the two apart. It says nothing of another seed or fold, which "
        "move Dice too, nor of longer training: a narrow network may only need more epochs. *Front*: no other trained "
        f"network is better at the same latency or faster at the same Dice; it goes by the means alone, and latencies "
        f"within {SAME_LATENCY:.0%} are the same (U-Net, one-path and distilled are one computation).",
        "",
        f"Latency is of one image, eager float32 channels-last, {entry['clock']}, {machine['processor']}, "
        f"{machine['threads']} thread(s), torch {machine['torch']}, load average {entry.get('load_average')}, commit "
        f"`{entry['commit']}`.",
        "",
        "| Network | Parameters (width 32) | GFLOPs (224 px) | ms (224 px, width 32) | x TaiChiNet | "
        "ms (128 px, width 16) | Dice | Difference | Front |",
        "| :-- | --: | --: | --: | --: | --: | :-- | :-- | :-- |",
    ]
    base = next(row for row in rows if row["name"] == "taichinet")["busi"]["milliseconds"]
    for row in rows:
        wide, narrow = row["busi"], row["short"]
        lines.append(
            f"| `{row['name']}` | {wide['parameters']:,} | {wide['gflops']:.2f} | {wide['milliseconds']:.0f} | "
            f"{base / wide['milliseconds']:.2f} | {narrow['milliseconds']:.0f} | {_interval(row.get('dice'))} | "
            f"{'' if row['name'] == 'taichinet' else _interval(row.get('difference'), signed=True)} | "
            f"{'yes' if row['name'] in front else ''} |"
        )
    missing = [f"`{TRAINED}-{row['name']}`" for row in rows if "dice" not in row]
    if missing:
        lines += ["", f"Not trained yet, so without Dice: {', '.join(missing)}."]
    return "\n".join([*lines, "", *_findings(rows, repeat), *_over_folds(rows)]) + "\n"


def _findings(rows: list[dict[str, Any]], repeat: Interval) -> list[str]:
    """What the intervals and a repeated training allow to say, one line for each network beside TaiChiNet."""
    lines = [
        "## What this fold tells",
        "",
        f"TaiChiNet itself, trained once more by the same recipe (`{REPEAT}`, in bf16 on another machine), differs "
        f"from the first training by {_interval(repeat, signed=True)}: an interval over images does not hold what a "
        f"training leaves to chance. A difference below {abs(repeat.mean):.3f} is therefore no finding, whatever its "
        "interval.",
        "",
    ]
    base = next(row for row in rows if row["name"] == "taichinet")["busi"]["milliseconds"]
    for row in rows:
        if row["name"] == "taichinet" or "dice" not in row:
            continue
        found: Interval = row["difference"]
        if found.low <= 0 <= found.high:
            verdict = "not told apart from TaiChiNet"
        elif abs(found.mean) <= abs(repeat.mean):
            verdict = f"{'higher' if found.mean > 0 else 'lower'}, by less than two trainings of TaiChiNet differ"
        else:
            verdict = f"{'better' if found.mean > 0 else 'worse'} than TaiChiNet"
        lines.append(f"- `{row['name']}`: {base / row['busi']['milliseconds']:.1f} x as fast, {verdict}.")
    return lines


def _over_folds(rows: list[dict[str, Any]]) -> list[str]:
    """The networks that were trained on several folds; nothing where none was."""
    several = [row for row in rows if "over_folds" in row]
    if len(several) < 2:
        return []
    first = several[0]["over_folds"]
    lines = [
        "",
        "## Over several folds",
        "",
        f"Mean and sample standard deviation of Dice over {first['folds']} grouped folds, and the difference to "
        f"TaiChiNet on the same {first['dice'].images} images in {first['dice'].clusters} groups. Folds average over "
        "what one training leaves to chance.",
        "",
        "| Network | Dice | Difference |",
        "| :-- | :-- | :-- |",
    ]
    for row in several:
        over = row["over_folds"]
        difference = "" if row["name"] == "taichinet" else _interval(over["difference"], signed=True)
        lines.append(f"| `{row['name']}` | {over['mean']:.3f} ± {over['deviation']:.3f} | {difference} |")
    return lines


def _interval(found: Interval | None, signed: bool = False) -> str:
    if found is None:
        return ""
    sign = "+" if signed else ""
    return f"{found.mean:{sign}.3f} ({found.low:{sign}.3f} to {found.high:{sign}.3f})"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Dice with its interval against the latency at full width."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    trained = [row for row in rows if "dice" in row]
    with rc_context({"svg.hashsalt": "fast-variants"}):  # the same data draw the same file
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for row in trained:
            dice, latency = row["dice"], row["busi"]["milliseconds"]
            below, above = dice.mean - dice.low, dice.high - dice.mean
            bar = axes.errorbar(latency, dice.mean, [[below], [above]], fmt="o", capsize=3)
            axes.annotate(
                row["name"].removeprefix("taichinet-"),
                (latency, dice.mean),
                xytext=(6, 4),
                textcoords="offset points",
                fontsize=8,
                color=bar.lines[0].get_color(),
            )
        axes.set_xlim(left=0)
        axes.set_xlabel(f"ms an image ({SCALES['busi']})")
        axes.set_ylabel(f"Dice, one grouped fold ({SCALES[TRAINED]})")
        axes.grid(alpha=0.3)
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
