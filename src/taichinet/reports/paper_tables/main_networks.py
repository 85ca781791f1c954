"""The overview as one table."""

from __future__ import annotations

from taichinet.evaluation.statistics import SIGNIFICANCE
from taichinet.evaluation.uncertainty import LEVEL
from taichinet.reports.document.format import interval, percent, scored
from taichinet.reports.document.model import Block, Cell, Note, Points, table_of
from taichinet.reports.paper_tables.against import VERDICTS
from taichinet.reports.paper_tables.condition_text import (
    data_text,
    folds_text,
    selection_of,
    training_text,
    without_scores,
)
from taichinet.reports.paper_tables.overview import Condition, Overview, is_complete, regions_of
from taichinet.reports.paper_tables.runs import Method

HOW_TO_READ = (
    "DI: Dice of the lesion images, mean ± sample standard deviation over folds, at input resolution; native: at "
    "original resolution. HD95: 95 % Hausdorff distance in pixels of the original image.",
    "The U-Net of a difference has the same data, folds, image size and epochs. The difference is that of the Dice of "
    "the same lesion images at original resolution. "
    f"Brackets contain the {LEVEL:.0%} interval of the mean difference (bootstrap; near-duplicates and images of one "
    "patient are resampled together).",
    "A difference is clear if the interval excludes 0 and Wilcoxon's paired test over images agrees (p below "
    f"{SIGNIFICANCE:g} after Holm's correction over the comparisons with the same data and training, and the same "
    "sign). “No clear difference” does not show that two networks are equal.",
    "A result with one seed is of one training. The intervals do not include the variation over trainings.",
)


def table_blocks(overview: Overview) -> list[Block]:
    """The main networks in one table, and which runs are not in it."""
    rows = [
        _row(condition, method, region)
        for condition in overview.conditions
        for method in condition.methods
        for region in regions_of(method)
    ]
    blocks: list[Block] = [table_of(rows, 3, "The main networks."), Points(HOW_TO_READ)]
    other = len(overview.methods) - len(overview.shown)
    if other:
        runs = "One further run is" if other == 1 else f"{other} further runs are"
        what = "incomplete folds, ablations and variants" if all(map(is_complete, overview.shown)) else "variants"
        blocks.append(Note(f"{runs} not in this table: {what}."))
    if missing := without_scores(overview):
        blocks.append(Note(f"Not compared, because scores.csv is missing: {missing}."))
    return blocks


def _row(condition: Condition, method: Method, region: str | None) -> dict[str, str | Cell]:
    normal, selection = method.first.summary.normal_images, selection_of(region)
    comparison = condition.compared(method, condition.baseline, region)
    with_prediction = f"{percent(normal.false_positive_rate)} of {normal.images}" if normal.images else "not tested"
    difference: str | Cell = ""
    if comparison is not None:
        difference = Cell(interval(comparison.test.difference), VERDICTS[comparison.verdict])
    return {
        "Network": Cell(method.file.network, f"`{method.name}`"),
        "Data": data_text(method) + (f", {region}" if region else ""),
        "Training": training_text(method),
        "DI": scored(method.score(selection, "dice")),
        "DI native": scored(method.score(selection, "dice", "native")),
        "DI native minus U-Net's": difference,
        "HD95 native (px)": scored(method.score(selection, "hd95", "native"), 1),
        "Normal images with a prediction": with_prediction,
        "Images": str(method.images(selection)),
        "Folds": folds_text(method),
    }
