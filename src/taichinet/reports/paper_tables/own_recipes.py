"""The section on our own recipes (`experiments/recipes/best.py`): compared on the lesion images of a data set."""

from __future__ import annotations

from collections.abc import Sequence

from taichinet.evaluation.aggregate import DICE_BEFORE
from taichinet.evaluation.statistics import PairedTest, holm
from taichinet.evaluation.undefined import SUFFIX
from taichinet.experiments.recipes.best import BEST
from taichinet.reports.document.format import number, percent, rate, title_of
from taichinet.reports.document.model import Block, Heading, Points, Table, table_of
from taichinet.reports.paper_tables.against import paired_cells
from taichinet.reports.paper_tables.comparisons import SCORE, compare_methods
from taichinet.reports.paper_tables.results import ComparisonResults
from taichinet.reports.paper_tables.runs import Method
from taichinet.reports.paper_tables.tested import Selection

REFERENCE = "best-lite"
OF_THE_PAPER = ("unet", "taichinet")  # recipes of these networks with the paper's training are compared, too


def own_recipe_blocks(results: ComparisonResults) -> list[Block]:
    """A table for each data set on which all folds of the reference were trained; nothing without one."""
    references = [m for m in results.methods if m.name == REFERENCE and m.own_data and _is_complete(m)]
    parts = [(reference, _others(reference, results.methods)) for reference in references]
    blocks: list[Block] = []
    for reference, others in parts:
        if others:
            heading = f"Tested on {title_of(reference.first.tested_on)}"
            blocks += [Heading(heading), _table(heading, reference, others, results)]
    if not blocks:
        return []
    return [
        Points(
            (
                "Mean over the lesion images at the original resolution, and paired tests against "
                f"`{REFERENCE}` as for the paper's tables. Before: without the presence decision, which empties masks. "
                "Every image is scored by a network that was not trained on it; folds with normal images differ from "
                "those without.",
            )
        ),
        *blocks,
    ]


def _is_complete(method: Method) -> bool:
    return method.file.protocol == "grouped" and len(method.folds_done) == method.file.folds


def _others(reference: Method, methods: Sequence[Method]) -> list[Method]:
    """The complete methods that were tested on the data set of `reference`, in the order of `methods`."""
    tested_on = reference.first.tested_on
    of_the_paper = {f"{scale}-{network}" for scale in ("busi", "cpu") for network in OF_THE_PAPER}
    same = [m for m in methods if m.first.tested_on == tested_on and _is_complete(m)]
    wanted = [m for m in same if m.name in BEST or (m.own_data and m.name in of_the_paper)]
    return [method for method in wanted if method is not reference]


def _table(caption: str, reference: Method, others: Sequence[Method], results: ComparisonResults) -> Table:
    tests = [compare_methods(m, reference, Selection(), SCORE, results.groups, results.resamples) for m in others]
    adjusted = holm([float("nan") if test is None else test.p for test in tests])
    rows = [_cells(reference, None, float("nan"))]
    rows += [_cells(method, test, p) for method, test, p in zip(others, tests, adjusted, strict=True)]
    return table_of(rows, 2, f"{caption}: compared with `{REFERENCE}`.")


def _cells(method: Method, test: PairedTest | None, p_holm: float) -> dict[str, str]:
    file, detection = method.file, method.detection
    normal = " with normal images" if method.experiment.data.include_normal else ""
    dice = method.per_image(Selection(), SCORE)
    before = DICE_BEFORE + SUFFIX["native"]
    has_before = all(before in run.rows for run in method.runs)
    cells = paired_cells(f"DI minus `{REFERENCE}`", test, p_holm)
    del cells["Images"], cells["Groups"]  # the first is that of the method
    return {
        "Recipe": f"`{method.name}`",
        "Trained on": title_of(file.dataset) + normal,
        "Images": str(len(dice)),
        "DI": number(float(dice.mean()), 3),
        "DI before": number(float(method.per_image(Selection(), before).mean()), 3) if has_before else "",
        "Lesions found": "" if detection is None else rate(detection.lesions),
        "Normal images with a prediction": "" if detection is None else percent(detection.normal_images.share),
        **cells,
    }
