"""From computed results to the document: the seven tables first, then leakage, empty truths, costs, what is left."""

from __future__ import annotations

from collections.abc import Sequence

from taichinet.datasets.catalogue import find_dataset
from taichinet.evaluation.uncertainty import LEVEL
from taichinet.experiments.paper import paper_tables
from taichinet.models.catalogue import CATALOGUE
from taichinet.reports.comparison.blocks import Block, BlockRow, common_and_own
from taichinet.reports.comparison.leakage import LeakageDelta
from taichinet.reports.comparison.results import ComparisonResults
from taichinet.reports.comparison.runs import Method, Run, Selection
from taichinet.reports.document.format import (
    PROTOCOLS,
    SHORT,
    digits_of,
    duration,
    heading_of,
    interval,
    percent,
    probability,
    scored,
    signed,
    title_of,
)
from taichinet.reports.document.model import Block as DocumentBlock
from taichinet.reports.document.model import Document, Heading, Note, Points, Section, Table

TITLE = "The paper's tables: our results beside the printed ones"


def make_document(results: ComparisonResults) -> Document:
    """All that the report says."""
    sections = []
    for table in paper_tables().values():
        parts = [part for block in results.blocks if block.table is table for part in _block_part(block, results)]
        if parts:
            sections.append(Section(table.name, f"Table {table.numeral}: {table.caption}", tuple(parts)))
    sections += [_leakage(results), _empty_truths(results.methods), _costs(results), _left_over(results)]
    return Document(TITLE, _lead(results), tuple(sections))


def _lead(results: ComparisonResults) -> tuple[str, ...]:
    return (
        "Mean ± sample standard deviation over folds of the fold's mean. With several seeds, a fold's mean is the mean "
        "over the seeds. All scores are at network size. The difference is our mean minus the printed mean. A cell "
        "that was not run is empty.",
        "The deviations of our recipes from the paper's are listed above each table; interpret differences in light of "
        "them. “Our default” is our choice where the paper does not print one.",
        "Networks are compared by the Dice of each image that both were tested on. Brackets hold the "
        f"{LEVEL:.0%} interval of the mean difference (percentile bootstrap, {results.resamples} resamples of whole "
        "groups of near-duplicates or patients). p is the two-sided Wilcoxon signed-rank test, which treats images as "
        "independent, with Holm's correction over the rows of the table. The effect is the matched-pairs rank-biserial "
        "correlation, from −1 (worse on every image) to 1. These figures describe the variation over images, not over "
        "trainings.",
        *_unverified(results.methods),
    )


def _unverified(methods: Sequence[Method]) -> tuple[str, ...]:
    """Which runs are older than the digest of scores.csv in summary.json; nothing where all are checked."""
    runs = [run for method in methods for run in method.runs]
    old = [run for run in runs if run.recorded is None]
    if not old:
        return ()
    new = [run for run in runs if run.recorded is not None]
    which = ""
    if new:  # name the shorter list
        which = f", all but {_names(new)}," if len(new) < len(old) else f" ({_names(old)})"
    return (
        f"Unverified: {len(old)} of {len(runs)} runs{which} were made before summary.json recorded the row count and "
        "digest of scores.csv. For these, only the number of images was checked.",
    )


def _names(runs: Sequence[Run]) -> str:
    return ", ".join(dict.fromkeys(f"`{run.base}`" for run in runs))


def _block_part(block: Block, results: ComparisonResults) -> tuple[DocumentBlock, ...]:
    if block.scale is None or block.protocol is None:
        return Heading(f"{_data(block)}: not run"), _scores_table(block, "Printed results; none of ours.")
    heading = f"{_data(block)}, `{block.scale}` recipes, {PROTOCOLS[block.protocol]}"
    tables = [_scores_table(block, f"{heading}: ours, the paper's, the difference.")]
    if any(row.tests for row in block.rows):
        tables.append(_tests_table(block, f"{heading}: against TaiChiNet."))
    return Heading(heading), Points(_points(block)), *tables, *map(Note, _notes(block, results))


def _data(block: Block) -> str:
    part = block.part
    normal = ""
    if find_dataset(part.trained_on).has_normal:
        normal = " with normal images" if part.include_normal else " without normal images"
    if part.trained_on != part.tested_on:
        return f"Trained on {title_of(part.trained_on)}{normal}, tested on {title_of(part.tested_on)}"
    return f"{title_of(part.tested_on)}{normal}"


def _points(block: Block) -> tuple[str, ...]:
    """The departures of the recipes, the folds and seeds that are done: what all rows share first."""
    shared, own = common_and_own(block)
    points = [f"Deviations from the paper, all rows: {'; '.join(shared) or 'none'}."]
    together: dict[tuple[str, ...], list[str]] = {}
    for name, texts in own.items():
        together.setdefault(texts, []).append(f"`{name}`")
    points += [f"{', '.join(names)}, in addition: {'; '.join(texts)}." for texts, names in together.items()]
    return (*points, *_extent([method for _, method in block.filled]))


def _extent(methods: Sequence[Method]) -> list[str]:
    told: dict[str, list[str]] = {}
    for method in methods:
        done, planned = len(method.folds_done), method.first.file.folds
        folds = "all folds" if done == planned else f"{done} of {planned} folds"
        seeds = "1 seed" if len(method.runs) == 1 else f"{len(method.runs)} seeds"
        told.setdefault(f"{folds}, {seeds}", []).append(f"`{method.name}`")
    if len(told) == 1:
        return [f"Completed, all rows with results: {next(iter(told))}."]
    return [f"Completed: {text}: {', '.join(dict.fromkeys(names))}." for text, names in told.items()]


def _scores_table(block: Block, caption: str) -> Table:
    columns = block.part.columns
    return Table(
        headings=("Method", "", *(heading_of(column) for column in columns)),
        groups=tuple(
            (
                (row.row.title, _ours(block, row), *(scored(score) for score in row.scores)),
                ("", "paper", *(f"{figure.mean:.3f} ± {figure.std:.3f}" for figure in row.row.figures)),
                ("", "difference", *(signed(row.difference(place)) for place in range(len(columns)))),
            )
            for row in block.rows
        ),
        words=2,
        caption=caption,
    )


def _ours(block: Block, row: BlockRow) -> str:
    """Which run it is where the row's name does not tell."""
    if row.method is None or row.method.name == f"{block.scale}-{row.row.variation}":
        return "ours"
    return f"ours (`{row.method.name}`, the same recipe)"


def _tests_table(block: Block, caption: str) -> Table:
    several = len({test.column for row in block.rows for test in row.tests}) > 1
    rows = [
        (
            row.row.title + (f", {heading_of(one.column)}" if several else ""),
            str(one.test.images),
            str(one.test.difference.clusters),
            interval(one.test.difference),
            f"{one.test.better} / {one.test.worse}",
            probability(one.test.p),
            probability(one.p_holm),
            signed(one.test.effect, 2),
        )
        for row in block.rows
        for one in row.tests
    ]
    headings = ("Method", "Images", "Groups", "Dice minus TaiChiNet's", "Better / worse on", "p", "p (Holm)", "Effect")
    return Table(headings, (tuple(rows),), 1, caption)


def _notes(block: Block, results: ComparisonResults) -> tuple[str, ...]:
    notes = []
    if not any(row.tests for row in block.rows):
        filled = {row.row.variation for row, _ in block.filled}
        if "taichinet" not in filled:
            notes.append("No comparison: TaiChiNet was not run here.")
    elif not results.groups.known(block.part.tested_on):
        notes.append("No fold plan lists near-duplicates or patients of these images: each image is resampled alone.")
    models = dict.fromkeys(method.experiment.model for _, method in block.filled)
    return (*notes, *(f"{entry.title}: {entry.note}" for model in models if (entry := CATALOGUE[model]).note))


def _leakage(results: ComparisonResults) -> Section:
    if not results.leakage:
        note = "No recipe has results under both protocols. Train one under each, with --protocol paper and grouped."
        return Section("leakage", "Leakage delta", (Note(note),))
    lead = Note(
        "The same recipe on the paper's random folds, which put near-duplicates of test images into the training part, "
        "and on grouped folds, which do not. Means over images; the difference is paper minus grouped."
    )
    deltas = (block for one in results.leakage for block in _delta_part(one))
    return Section("leakage", "Leakage delta", (lead, *deltas))


def _delta_part(one: LeakageDelta) -> tuple[DocumentBlock, ...]:
    file = one.paper.first.file
    normal = " with normal images" if one.paper.experiment.data.include_normal else ""
    how = "the same images, compared one by one" if one.paired else "different images, both sides resampled"
    copies = (
        ""
        if one.leaking is None
        else f" {one.leaking} of the {one.images[0]} test images of the random folds have a copy in another fold."
    )
    folds = f"{len(one.paper.folds_done)} random and {len(one.grouped.folds_done)} grouped of {file.folds} folds"
    heading = f"`{one.paper.name}` on {title_of(file.dataset)}{normal}"
    rows = tuple(
        (
            SHORT[delta.score],
            f"{delta.paper:.{digits_of(delta.score)}f}",
            f"{delta.grouped:.{digits_of(delta.score)}f}",
            interval(delta.difference, digits_of(delta.score)),
        )
        for delta in one.deltas
    )
    table = Table(("Score", "Paper's folds", "Grouped folds", "Difference"), (rows,), 1, f"{heading}: leakage delta.")
    return Heading(heading), Points((f"{folds}; {how}.{copies}",)), table


def _empty_truths(methods: Sequence[Method]) -> Section:
    """Both policies beside the lesion images alone, for every method that was tested on normal images."""
    rows = []
    for method in methods:
        normals = method.normals
        if not normals.images:
            continue
        cells = [
            scored(method.score(selection, score))
            for selection in (Selection(), Selection("all", "paper"), Selection("all", "correct-empty-is-1"))
            for score in ("dice", "jaccard")
        ]
        rate, area = percent(normals.false_positive_rate), percent(normals.mean_false_positive_area, 2)
        rows.append((f"`{method.name}`", _where(method), *cells, str(normals.images), rate, area))
    headings = (
        *("Recipe", "Data", "DI, lesions", "JA, lesions", "DI, empty = 0", "JA, empty = 0", "DI, empty on empty = 1"),
        *("JA, empty on empty = 1", "Normal images", "With a false positive", "Area"),
    )
    note = (
        "The score of an image without a lesion: either 0 for any prediction, which matches the paper's Jaccard "
        "exactly and its Dice roughly, or 1 where nothing was predicted. The first pair of columns excludes these "
        "images."
    )
    table = Table(headings, (tuple(rows),), 2, "Policies for images without a lesion, side by side.")
    blocks = (Points((note,)), table) if rows else (Note("No run was tested on normal images."),)
    return Section("empty-truths", "Images without a lesion", blocks)


def _costs(results: ComparisonResults) -> Section:
    printed = {
        row.variation: row.parameters
        for table in paper_tables().values()
        for part in table.parts
        for row in part.rows
        if row.parameters
    }
    rows = []
    for method in results.methods:
        file = method.first.file
        if method.first.tested_on != file.dataset:
            continue
        seconds = method.inference_seconds
        rows.append(
            (
                f"`{method.name}`",
                _where(method),
                f"{file.parameters:,}",
                printed.get(method.name.partition("-")[2], ""),
                "" if file.gflops is None else f"{file.gflops:.2f}",
                duration(method.seconds_per_fold),
                "" if seconds is None else f"{1000 * seconds:.1f} ms",
                _machine(method),
            )
        )
    headings = (
        "Recipe",
        "Data",
        "Parameters",
        "Printed",
        "GFLOPs",
        "Training per fold",
        "Inference per image",
        "Machine",
    )
    note = (
        "Parameters and GFLOPs are of the recipe's own width and size, the printed parameters of the paper's. Training "
        "includes mining where the run did it itself. Inference is the median over batches of the test part, network "
        "alone; older runs did not measure it. Times on shared machines are not reliable."
    )
    table = Table(headings, (tuple(rows),), 2, "Parameters, GFLOPs and times.")
    return Section("costs", "Costs", (Points((note,)), table))


def _left_over(results: ComparisonResults) -> Section:
    rows = tuple(
        (f"`{one.method.name}`", _where(one.method), one.reason, scored(one.method.score(Selection(), "dice")))
        for one in results.left_over
    )
    if not rows:
        return Section("others", "Runs that fill no row", (Note("None."),))
    table = Table(("Recipe", "Data", "Why", "DI, lesions"), (rows,), 3, "Runs that fill no row of the paper's tables.")
    return Section("others", "Runs that fill no row", (table,))


def _where(method: Method) -> str:
    first = method.first
    data = title_of(first.file.dataset) + (" with normal" if method.experiment.data.include_normal else "")
    on = "" if first.tested_on == first.file.dataset else f", on {title_of(first.tested_on)}"
    return f"{data}{on}, {method.protocol}"


def _machine(method: Method) -> str:
    machine = method.first.file.machine
    parts = (
        machine.get("accelerator"),
        machine.get("processor"),
        f"{machine['cores']} cores" if "cores" in machine else "",
    )
    return ", ".join(str(part) for part in (*parts, method.first.file.placement) if part)
