"""All figures in README.md, read from results/ and from the paper's tables.

    python benchmarks/readme.py

Writes them between marks as `<!-- scores: begin -->` and `<!-- scores: end -->`. The times of the commands are those
that benchmarks/first_steps.py recorded.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from first_steps import SECTIONS
from measuring import read_record, write_between

from taichinet.errors import DataError
from taichinet.evaluation.aggregate import FoldScore
from taichinet.evaluation.statistics import PairedTest, decide, holm
from taichinet.experiments.paper import PaperPart, paper_tables
from taichinet.reports.document.format import duration, interval, number, percent, scored
from taichinet.reports.paper_tables.against import VERDICTS
from taichinet.reports.paper_tables.comparisons import SCORE, compare_methods
from taichinet.reports.paper_tables.runs import KnownGroups, Method, read_groups, read_methods
from taichinet.reports.paper_tables.tested import Selection

ROOT = Path(__file__).parents[1]
FIRST_STEPS = ROOT / "results" / "benchmarks" / "first_steps.json"
RESAMPLES = 2000
DATA_SET, EXTERNAL = "busi", "bus-uclm"


@dataclass(frozen=True)
class Row:
    """A row of the table: a network, its recipe and training, and its name in Table IV of the paper."""

    title: str
    recipe: str
    training: str
    printed: str | None = None


PAPER = "paper's, 224 px"
TAICHINET = Row("TaiChiNet", "busi-taichinet", PAPER, "TaiChiNet")
REFERENCE = Row("U-Net", "busi-unet", PAPER, "U-Net")
ATTENTION = Row("attention U-Net", "busi-attention-unet", PAPER, "attention U-Net")
PACKAGED = Row("TaiChiNet-lite, as in the package", "best-lite", "ours, 128 px, also on BUS-UCLM and normal images")
ROWS = (TAICHINET, REFERENCE, ATTENTION, PACKAGED)


def main() -> None:
    """Write every part."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for name, lines in parts().items():
        write_between(ROOT / "README.md", name, lines)


def parts() -> dict[str, list[str]]:
    """The lines of each part by its mark."""
    methods, groups = read_methods(ROOT / "results" / DATA_SET), read_groups(ROOT / "results")
    joint = read_methods(ROOT / "results" / f"{DATA_SET}+{EXTERNAL}")
    found = {row: _complete(joint if row is PACKAGED else methods, row.recipe) for row in ROWS}
    foreign = next(method for method in joint if method.protocol == "leave-one-dataset-out")
    steps = read_record(FIRST_STEPS)
    return {
        "expect": expectations(found, methods, groups),
        **{f"{name}-time": [_times(steps, name)] for name in SECTIONS},
        "times": time_table(methods),
        "scores": score_table(found, foreign, groups),
    }


def score_table(found: dict[Row, Method], foreign: Method, groups: KnownGroups) -> list[str]:
    """The lines of the table. Networks of another training are not compared: their images and folds differ."""
    others = [row for row in ROWS if row.training == REFERENCE.training and row is not REFERENCE]
    tests = {row: _test(found[row], found[REFERENCE], groups) for row in others}
    adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    lines = [
        "| Network | Training | Dice | Dice minus U-Net's | Verdict | Normal images with a prediction | Paper's Dice |",
        "| :-- | :-- | --: | --: | :-- | --: | --: |",
    ]
    for row in ROWS:
        method, test = found[row], tests.get(row)
        cells = [
            row.title,
            row.training,
            scored(method.score(Selection(), "dice", "native")),
            "" if test is None else interval(test.difference),
            "" if test is None else VERDICTS[decide(test, adjusted[row])],
            _false_alarms(method),
            "" if row.printed is None else scored(_figure(row)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    dice = foreign.score(Selection(EXTERNAL), "dice", "native")
    cells = ["TaiChiNet-lite, tested on BUS-UCLM", "ours, 128 px, on BUSI only", number(dice.mean, 3)]
    lines.append(f"| {' | '.join([*cells, '', '', _false_alarms(foreign, EXTERNAL), ''])} |")
    return lines


def expectations(found: dict[Row, Method], methods: Sequence[Method], groups: KnownGroups) -> list[str]:
    """Three sentences: what equals the paper, what is not reproduced, and what happens on normal images."""
    taichinet, unet, lite = (found[row] for row in (TAICHINET, REFERENCE, PACKAGED))
    test = _test(taichinet, unet, groups)
    full, plain = (method.score(Selection(), "dice", "native") for method in (taichinet, unet))
    printed = _figure(REFERENCE)
    short = {m.name: m for m in methods if m.name.startswith("short-") and m.experiment.data.include_normal}
    brief_taichinet = short["short-taichinet"]
    others = [row.variation for row in _table_four().rows if row.variation != "taichinet"]
    full_training = {method.name for method in methods if _has_all_folds(method)}
    brief = [name for name in others if f"busi-{name}" not in full_training]
    if plain.mean is None or printed.mean is None or abs(plain.mean - printed.mean) > (printed.std or 0):
        raise DataError(
            "U-Net no longer reaches the paper's Dice within its standard deviation: write another sentence"
        )
    return [
        "- **Equal to the paper:** layers, losses and training, equation by equation, with the paper's numbers of "
        "parameters. U-Net reaches the Dice of the paper's Table IV on BUSI within its standard deviation: "
        f"{scored(plain)} (paper: {scored(printed)}).",
        f"- **Not reproduced:** TaiChiNet's Dice of {scored(_figure(TAICHINET))}. Here it is {scored(full)}, "
        f"{interval(test.difference)} more than U-Net's; its mask is better on {test.better} images and worse on "
        f"{test.worse}. {len(brief)} of the paper's {len(others)} other networks were only trained briefly.",
        "- **Normal images:** networks trained as the one in the package predict a lesion on "
        f"{_false_alarms(lite)} of the normal images of BUSI, which they had not seen. After a short training as in "
        "the paper, with normal images, "
        f"TaiChiNet does so on {_false_alarms(brief_taichinet)} and U-Net on {_false_alarms(short['short-unet'])} of "
        f"{brief_taichinet.first.summary.normal_images.images} normal images of one fold.",
    ]


def time_table(methods: Sequence[Method]) -> list[str]:
    """The times of trainings: a row for each scale of recipes."""
    lines = ["| Five folds of BUSI | TaiChiNet | U-Net | Machine |", "| :-- | --: | --: | :-- |"]
    for scale in ("busi", "cpu"):
        pair = [_complete(methods, f"{scale}-{network}") for network in ("taichinet", "unet")]
        settings = pair[0].experiment
        machine = pair[0].file.machine
        place = machine["accelerator"] or f"{machine['cores']} CPU cores"
        title = f"recipes `{scale}-...`: {settings.data.size} px, {settings.training.epochs} epochs"
        lines.append(f"| {title} | {' | '.join(duration(m.file.wall_seconds) for m in pair)} | {place} |")
    return lines


def _times(record: Mapping[str, Any], name: str) -> str:
    machine, steps = record["machine"], record[name]
    times = ["less than 1 s" if step["seconds"] < 1 else duration(step["seconds"]) for step in steps]
    return f"Time on {machine['cores']} CPU cores: {', '.join(times[:-1])} and {times[-1]}."


def _complete(methods: Sequence[Method], recipe: str) -> Method:
    """The training of a recipe on all grouped folds, with its scores on BUSI."""
    wanted = [m for m in methods if m.name == recipe and m.tested_on == DATA_SET and _has_all_folds(m)]
    if not wanted:
        raise DataError(f"results/ has no training of {recipe} on all grouped folds with scores on {DATA_SET}")
    return wanted[0]


def _has_all_folds(method: Method) -> bool:
    return method.protocol == "grouped" and len(method.folds_done) == method.file.folds


def _test(method: Method, reference: Method, groups: KnownGroups) -> PairedTest:
    test = compare_methods(method, reference, Selection(), SCORE, groups, RESAMPLES)
    if test is None:
        raise DataError(f"{method.name} and {reference.name} have no image in common")
    return test


def _false_alarms(method: Method, dataset: str | None = None) -> str:
    summary = method.first.summary
    normal = summary.normal_images if dataset is None else summary.normal_images_by_dataset[dataset]
    return "" if normal is None or not normal.images else percent(normal.false_positive_rate, 0)


def _figure(row: Row) -> FoldScore:
    """The Dice that the paper prints for this network without normal images."""
    figure = next(printed.figures[0] for printed in _table_four().rows if printed.title == row.printed)
    return FoldScore(mean=figure.mean, std=figure.std)


def _table_four() -> PaperPart:
    return paper_tables()["table4"].parts[0]


if __name__ == "__main__":
    main()
