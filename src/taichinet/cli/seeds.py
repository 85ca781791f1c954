"""Printing of studies that differ only in their training seed."""

from __future__ import annotations

import json
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from taichinet.cli.printing import print_counts
from taichinet.cli.tables import print_table

if TYPE_CHECKING:
    from taichinet.datasets.manifest import ImageCounts
    from taichinet.experiments.cross_validate import Study


def print_seeds(studies: list[Study], as_json: bool, counts: ImageCounts) -> None:
    """Print the mean scores of the lesion images of each seed, and their mean and standard deviation over seeds.

    The value of a seed is the mean over its folds. The spread over seeds is that of repeated trainings on the same
    folds; it is not the standard deviation over folds.
    """
    from taichinet.reports.document.format import SHORT, digits_of, number

    seeds = [study.folds[0].record.experiment.training.seed for study in studies]
    values = {score: [study.summary.lesion.score(score).mean for study in studies] for score in SHORT}
    known = {score: [value for value in row if value is not None] for score, row in values.items()}
    means = {score: fmean(row) if row else None for score, row in known.items()}
    spread = {score: stdev(row) if len(row) > 1 else None for score, row in known.items()}
    if as_json:
        rows = [
            {"seed": seed, "folder": str(study.folder), "summary": study.summary.model_dump(mode="json")}
            for seed, study in zip(seeds, studies, strict=True)
        ]
        over = {score: {"mean": means[score], "std": spread[score], "seeds": len(known[score])} for score in SHORT}
        print(json.dumps({"studies": rows, "over_seeds": over, "images": counts.to_json_dict()}))
        return
    table = Table("seed", title="Lesion images: mean over folds, and mean and standard deviation (SD) over seeds")
    for heading in SHORT.values():
        table.add_column(heading, justify="right")
    for index, seed in enumerate(seeds):
        table.add_row(str(seed), *(number(values[score][index], digits_of(score)) for score in SHORT))
    table.add_section()
    for title, row in (("mean", means), ("SD", spread)):
        table.add_row(title, *(number(row[score], digits_of(score)) for score in SHORT))
    console = Console()
    print_table(table, console)
    for study in studies:
        console.print(f"Written to {study.folder}", soft_wrap=True, markup=False, highlight=False)
    print_counts(counts)
