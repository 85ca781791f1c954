"""The sections of the report, from computed results to document blocks.

`register_report_section` adds a section, also from outside the package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from taichinet.datasets.catalogue import find_dataset
from taichinet.errors import SettingError
from taichinet.evaluation.uncertainty import LEVEL
from taichinet.experiments.paper import PaperPart, paper_tables
from taichinet.models.catalogue import CATALOGUE
from taichinet.reports.document.format import (
    PROTOCOLS,
    SHORT,
    digits_of,
    duration,
    heading_of,
    interval,
    number,
    percent,
    recipes_by_text,
    scored,
    signed,
    title_of,
)
from taichinet.reports.document.model import Block, Document, Heading, Note, Points, Section, Table, table_of
from taichinet.reports.paper_tables.against import (
    against_blocks,
    evaluation_blocks,
    evaluation_place,
    paired_cells,
)
from taichinet.reports.paper_tables.detection import detection_blocks
from taichinet.reports.paper_tables.evaluations import Evaluated
from taichinet.reports.paper_tables.main_networks import table_blocks
from taichinet.reports.paper_tables.own_recipes import own_recipe_blocks
from taichinet.reports.paper_tables.results import Block as TableBlock
from taichinet.reports.paper_tables.results import BlockRow, ComparisonResults, LeakageDelta, common_and_own
from taichinet.reports.paper_tables.runs import Method, Run
from taichinet.reports.paper_tables.tested import Selection
from taichinet.reports.paper_tables.verdict import answer_blocks, verdict_blocks

TITLE = "Results, and the tables of the paper"
MakeBlocks = Callable[[ComparisonResults], Sequence[Block]]


SECTIONS: dict[str, tuple[str, MakeBlocks]] = {}  # heading and content by name


def register_report_section(name: str, heading: str, make_blocks: MakeBlocks) -> None:
    """Add a section to the report of `taichinet report`, after all sections registered before.

    Args:
        name: Unique name; the anchor of the section in the HTML page.
        heading: The heading of the section.
        make_blocks: Returns the content from the results, as blocks of `taichinet.reports.document.model`. The section
            is left out if there are none. Names between backticks are set as code; all other text is escaped.

    Raises:
        SettingError: A section of this name exists.

    Example:
        >>> from taichinet.reports.document.model import Note
        >>> def count_runs(results):
        ...     return [Note(f"{len(results.methods)} methods.")]
        >>> register_report_section("count", "Number of methods", count_runs)
        >>> _ = SECTIONS.pop("count")
    """
    if name in SECTIONS:
        raise SettingError(f"There already is a report section '{name}'. Choose another name.")
    SECTIONS[name] = (heading, make_blocks)


def make_document(results: ComparisonResults) -> Document:
    """Return the report with all registered sections."""
    sections = [Section(name, heading, tuple(make(results))) for name, (heading, make) in SECTIONS.items()]
    return Document(TITLE, (LEAD,), tuple(section for section in sections if section.blocks), contents=True)


LEAD = (
    "Trained networks compared image by image on the same test images, and their scores beside those that the paper "
    "reports."
)


def _how_to_read(results: ComparisonResults) -> list[Block]:
    """How to read the tables of the paper; nothing if none of them has a result."""
    if not any(block.filled for block in results.blocks):
        return []
    texts = (
        "Mean ± sample standard deviation over folds of the fold's mean. With several seeds, a fold's mean is the mean "
        "over the seeds. All scores are at input resolution. The difference is our mean minus the paper's mean. A row "
        "that was not run has the paper's values only.",
        "The differences of our recipes from the paper's are listed above each table; interpret differences in scores "
        "in light of them. “Our default” is our choice where the paper does not specify one.",
        "Networks are compared by the Dice of each image that both were tested on. Brackets contain the "
        f"{LEVEL:.0%} interval of the mean difference (percentile bootstrap, {results.resamples} resamples of whole "
        "groups of near-duplicates or patients). p is the two-sided Wilcoxon signed-rank test, which treats images as "
        "independent, with Holm's correction over the rows of the table. The effect is the matched-pairs rank-biserial "
        "correlation, from −1 (worse on every image) to 1. These values describe the variation over images, not over "
        "trainings.",
    )
    return [Points((*texts, *_unverified(results.methods)))]


def _unverified(methods: Sequence[Method]) -> tuple[str, ...]:
    """The runs that are older than the digest of scores.csv in summary.json; nothing if there are none."""
    runs = [run for method in methods for run in method.runs]
    old = [run for run in runs if run.recorded is None]
    new = [run for run in runs if run.recorded is not None]
    if not old:
        return ()
    names = ""
    if new:  # print the shorter list
        names = f", all except {_names(new)}," if len(new) < len(old) else f" ({_names(old)})"
    return (
        f"Unverified: {len(old)} of {len(runs)} runs{names} were made before summary.json recorded the row count and "
        "digest of scores.csv. For these, only the number of images was checked.",
    )


def _names(runs: Sequence[Run]) -> str:
    return ", ".join(dict.fromkeys(f"`{run.base}`" for run in runs))


def _table(name: str, results: ComparisonResults) -> list[Block]:
    """The parts of one table of the paper with at least one result; nothing if there are none."""
    filled = [block for block in results.blocks if block.table.name == name and block.filled]
    return [part for block in filled for part in _table_part(block, results)]


def _without_results(results: ComparisonResults) -> list[Block]:
    """Which tables, or parts of tables, have no results, and the command that fills them."""
    empty = [block for block in results.blocks if not block.filled]
    if not empty:
        return []
    parts: dict[str, list[str]] = {}
    for block in empty:
        parts.setdefault(block.table.numeral, []).append(_data_of(block.part))
    names = "; ".join(f"Table {numeral}: {' and '.join(data)}" for numeral, data in parts.items())
    return [
        Note(
            f"No network of these has been trained with the settings of its recipe: {names}. `taichinet compare "
            f"{empty[0].table.name} --data DATA -o RUNS` trains those of Table {empty[0].table.numeral}, with one "
            "--data for each of its data sets; `--scale short` reduces the training."
        )
    ]


def _data_of(part: PaperPart) -> str:
    data = title_of(part.tested_on)
    normal = ""
    if find_dataset(part.trained_on).has_normal:
        normal = " with normal images" if part.include_normal else " without normal images"
    if part.trained_on != part.tested_on:
        return f"Trained on {title_of(part.trained_on)}{normal}, tested on {data}"
    return f"{data}{normal}"


def _table_part(block: TableBlock, results: ComparisonResults) -> list[Block]:
    heading = f"{_data_of(block.part)}, `{block.scale}` recipes, {PROTOCOLS[str(block.protocol)]}"
    tables = [_scores_table(block, f"{heading}: ours, the paper's, the difference.")]
    if block.tests:
        tables.append(_tests_table(block, f"{heading}: compared with TaiChiNet."))
    return [Heading(heading), Points(_points(block)), *tables, *_notes(block, results)]


def _points(block: TableBlock) -> tuple[str, ...]:
    """Differences from the paper, and completed folds and seeds: first what all rows share."""
    shared, own = common_and_own(block)
    additions = recipes_by_text(("; ".join(texts), name) for name, texts in own.items())
    extents = recipes_by_text((_extent(method), method.name) for _, method in block.filled)
    completed = [f"Completed: {text}: {names}." for text, names in extents.items()]
    if len(extents) == 1:
        completed = [f"Completed, all rows with results: {next(iter(extents))}."]
    return (
        f"Differences from the paper, all rows: {'; '.join(shared) or 'none'}.",
        *(f"{names}, in addition: {text}." for text, names in additions.items()),
        *completed,
    )


def _extent(method: Method) -> str:
    """`all folds, 1 seed`."""
    done, planned = len(method.folds_done), method.file.folds
    folds = "all folds" if done == planned else f"{done} of {planned} folds"
    return f"{folds}, 1 seed" if len(method.runs) == 1 else f"{folds}, {len(method.runs)} seeds"


def _scores_table(block: TableBlock, caption: str) -> Table:
    columns = block.part.columns
    groups = tuple(_score_rows(block, row) for row in block.rows)
    return Table(("Method", "", *(heading_of(column) for column in columns)), groups, 2, caption)


def _score_rows(block: TableBlock, row: BlockRow) -> tuple[tuple[str, ...], ...]:
    """Our result, the paper's and the difference; a row that was not run has the paper's only."""
    paper = tuple(f"{figure.mean:.3f} ± {figure.std:.3f}" for figure in row.row.figures)
    if row.method is None:
        return ((row.row.title, "paper", *paper),)
    return (
        (row.row.title, _ours(block, row), *(scored(score) for score in row.scores)),
        ("", "paper", *paper),
        ("", "difference", *(signed(row.difference(place)) for place in range(len(block.part.columns)))),
    )


def _ours(block: TableBlock, row: BlockRow) -> str:
    """`ours`, with the name of the recipe if it is not that of the row."""
    if row.method is None or row.method.name == f"{block.scale}-{row.row.variation}":
        return "ours"
    return f"ours (`{row.method.name}`, the same recipe)"


def _tests_table(block: TableBlock, caption: str) -> Table:
    several = len({entry.column for entry in block.tests}) > 1
    rows = [
        {
            "Method": entry.row.row.title + (f", {heading_of(entry.column)}" if several else ""),
            **paired_cells("Dice minus TaiChiNet's", entry.test, entry.p_holm),
        }
        for entry in block.tests
    ]
    return table_of(rows, caption=caption)


def _notes(block: TableBlock, results: ComparisonResults) -> list[Note]:
    notes = []
    if not block.tests and all(row.row.variation != "taichinet" for row, _ in block.filled):
        notes.append("No comparison: TaiChiNet was not run here.")
    if block.tests and not results.groups.known(block.part.tested_on):
        notes.append("No fold plan lists near-duplicates or patients of these images: each image is resampled alone.")
    entries = (CATALOGUE[model] for model in dict.fromkeys(method.experiment.model for _, method in block.filled))
    return [Note(text) for text in (*notes, *(f"{entry.title}: {entry.note}" for entry in entries if entry.note))]


def _leakage(results: ComparisonResults) -> list[Block]:
    if not results.leakage:
        return [
            Note("No recipe has results under both protocols. Train one under each, with --protocol paper and grouped.")
        ]
    note = Note(
        "The same recipe on the paper's random folds, which put near-duplicates of test images into the training "
        "images, and on grouped folds, which do not. Means over images; the difference is paper minus grouped."
    )
    return [note, *(block for entry in results.leakage for block in _delta_part(entry))]


def _delta_part(entry: LeakageDelta) -> tuple[Block, ...]:
    file = entry.paper.file
    normal = " with normal images" if file.experiment.data.include_normal else ""
    heading = f"`{entry.paper.name}` on {title_of(file.dataset)}{normal}"
    how = "the same images, compared one by one" if entry.paired else "different images, both resampled"
    folds = f"{len(entry.paper.folds_done)} random and {len(entry.grouped.folds_done)} grouped of {file.folds} folds"
    text = f"{folds}; {how}."
    if entry.leaking is not None:
        images = f"{entry.leaking} of the {entry.images[0]} test images of the random folds"
        text += f" {images} have a near-duplicate in another fold."
    rows = [
        {
            "Score": SHORT[delta.score],
            "Paper's folds": number(delta.paper, digits_of(delta.score)),
            "Grouped folds": number(delta.grouped, digits_of(delta.score)),
            "Difference": interval(delta.difference, digits_of(delta.score)),
        }
        for delta in entry.deltas
    ]
    return Heading(heading), Points((text,)), table_of(rows, caption=f"{heading}: leakage delta.")


def _empty_ground_truth(results: ComparisonResults) -> list[Block]:
    """Scores of lesion images and of all images under both policies, for methods tested on normal images."""
    selections = {
        "lesions": Selection(),
        "empty = 0": Selection("all", "paper"),
        "empty on empty = 1": Selection("all", "correct-empty-is-1"),
    }
    rows = []
    for method in results.methods:
        normal = method.first.summary.normal_images
        if not normal.images:
            continue
        scores = {
            f"{SHORT[score]}, {images}": scored(method.score(selection, score))
            for images, selection in selections.items()
            for score in ("dice", "jaccard")
        }
        false_positives = {
            "Normal images": str(normal.images),
            "With a false positive": percent(normal.false_positive_rate),
            "Area": percent(normal.mean_false_positive_area, 2),
        }
        rows.append({**_recipe(method), **scores, **false_positives})
    if not rows:
        return [Note("No run was tested on normal images.")]
    note = (
        "The score of an image without a lesion: either 0 for any prediction, which matches the paper's Jaccard "
        "exactly and its Dice roughly, or 1 if nothing was predicted. The first pair of columns excludes these images."
    )
    return [Points((note,)), table_of(rows, 2, "Policies for images without a lesion, side by side.")]


def _detection(results: ComparisonResults) -> list[Block]:
    return detection_of(results.methods, results.evaluations)


def detection_of(methods: Sequence[Method], evaluations: Sequence[Evaluated] = ()) -> list[Block]:
    """The tables of detection of all methods and evaluations for which it was recorded; nothing if there are none."""
    rows = [(_recipe(method), method.detection) for method in methods]
    return detection_blocks([*rows, *((evaluation_place(entry), entry.detection) for entry in evaluations)])


def _costs(results: ComparisonResults) -> list[Block]:
    parts = [part for table in paper_tables().values() for part in table.parts]
    printed = {row.variation: row.parameters for part in parts for row in part.rows if row.parameters}
    rows = []
    for method in results.methods:
        if not method.own_data:
            continue
        file, seconds = method.file, method.inference_seconds
        machine = file.machine
        cores = f"{machine['cores']} cores" if "cores" in machine else ""
        hardware = (machine.get("accelerator"), machine.get("processor"), cores, file.placement)
        rows.append(
            {
                **_recipe(method),
                "Parameters": f"{file.parameters:,}",
                "Parameters in the paper": printed.get(method.name.partition("-")[2], ""),
                "GFLOPs": number(file.gflops, 2, ""),
                "Training per fold": duration(method.seconds_per_fold),
                "Inference per image": "" if seconds is None else f"{1000 * seconds:.1f} ms",
                "Machine": ", ".join(str(text) for text in hardware if text),
            }
        )
    note = (
        "Parameters and GFLOPs are of the recipe's own width and size; those in the paper are of its settings. "
        "Training includes mining if the run did it itself. Inference is the median over batches of the test images, "
        "network alone; older runs did not measure it. Times on shared machines are not reliable."
    )
    return [Points((note,)), table_of(rows, 2, "Parameters, GFLOPs and times.")]


def _left_over(results: ComparisonResults) -> list[Block]:
    rows = [
        {**_recipe(method), "Why": reason, "DI, lesions": scored(method.score(Selection(), "dice"))}
        for method, reason in results.left_over
    ]
    return [table_of(rows, 3, "Runs that fill no row of the paper's tables.")] if rows else [Note("None.")]


def _recipe(method: Method) -> dict[str, str]:
    data = title_of(method.file.dataset) + (" with normal" if method.experiment.data.include_normal else "")
    tested_on = "" if method.own_data else f", on {title_of(method.first.tested_on)}"
    return {"Recipe": f"`{method.name}`", "Data": f"{data}{tested_on}, {method.file.protocol}"}


# What was asked for with --against and --scores comes first.
register_report_section("against", "Compared with the chosen baseline", against_blocks)
register_report_section("evaluations", "Other predictions and evaluations", evaluation_blocks)
register_report_section("verdict", "Verdict", lambda results: verdict_blocks(results.overview))
register_report_section("overview", "The main networks", lambda results: table_blocks(results.overview))
register_report_section("answers", "All comparisons", lambda results: answer_blocks(results.overview))
register_report_section("how-to-read", "How to read the tables of the paper", _how_to_read)
for _paper_table in paper_tables().values():
    _heading = f"Table {_paper_table.numeral}: {_paper_table.caption}"
    register_report_section(_paper_table.name, _heading, partial(_table, _paper_table.name))
register_report_section("without-results", "Tables without results", _without_results)
register_report_section("own-recipes", "Our own recipes", own_recipe_blocks)
register_report_section("leakage", "Leakage delta", _leakage)
register_report_section("empty-truths", "Images without a lesion", _empty_ground_truth)
register_report_section("detection", "Detection of lesions", _detection)
register_report_section("costs", "Costs", _costs)
register_report_section("others", "Runs that fill no row", _left_over)
