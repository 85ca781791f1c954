"""The sections on `--against` and `--scores`: all methods compared with one of them, and evaluations of the user."""

from __future__ import annotations

from collections.abc import Sequence

from taichinet.evaluation.statistics import SIGNIFICANCE, PairedTest
from taichinet.reports.document.format import (
    PROTOCOLS,
    SHORT,
    digits_of,
    interval,
    number,
    percent,
    probability,
    rate,
    recipes_by_text,
    scored,
    signed,
    title_of,
)
from taichinet.reports.document.model import Block, Heading, Note, Points, table_of
from taichinet.reports.paper_tables.comparisons import SCORE, Against, Comparison
from taichinet.reports.paper_tables.evaluations import Evaluated
from taichinet.reports.paper_tables.results import ComparisonResults
from taichinet.reports.paper_tables.tested import Selection, Tested

UNKNOWN = "not known"
VERDICTS = {"higher": "higher Dice", "lower": "lower Dice", "unclear": "no clear difference"}


def against_blocks(results: ComparisonResults) -> list[Block]:
    """A table of tests and a verdict on each method for each data set; nothing without `--against`."""
    against = results.against
    if against is None:
        return []
    blocks: list[Block] = [
        Points(
            (
                f"Every method is compared with `{against.reference}` on the lesion images of the folds that both have "
                "completed: the same images, each tested in the same fold. DI is the mean over these images at "
                "original resolution.",
                "Holm's correction is over all comparisons of this section. A difference is clear if the corrected p "
                f"is below {SIGNIFICANCE:g}, the interval excludes 0, and both have the same sign. “No clear "
                "difference” does not show that two methods are equal: the interval has the differences that the "
                "images allow.",
            )
        )
    ]
    references = {id(comparison.reference): comparison.reference for comparison in against.comparisons}
    for reference in references.values():
        blocks += _with_one_reference(reference, against)
    if against.refused:
        reasons = recipes_by_text((reason, method.name) for method, reason in against.refused)
        blocks += [Note("Not compared:"), Points(tuple(f"{names}: {reason}." for reason, names in reasons.items()))]
    return blocks


def _with_one_reference(reference: Tested, against: Against) -> list[Block]:
    comparisons = [comparison for comparison in against.comparisons if comparison.reference is reference]
    heading = f"Tested on {title_of(reference.tested_on)}"
    if reference.protocol is not None:
        heading += f", {PROTOCOLS.get(reference.protocol, reference.protocol)}"
    sentences = tuple(verdict_sentence(comparison) for comparison in comparisons)
    rows = comparison_rows(comparisons)
    return [Heading(heading), Points(sentences), table_of(rows, 2, f"{heading}: compared with `{against.reference}`.")]


def verdict_sentence(comparison: Comparison) -> str:
    """E.g. "`own-MyNet` has a higher Dice than `cpu-unet`: +0.021 [0.010, 0.033], p (Holm) 0.002, 647 images."."""
    of = f" of the region {comparison.region}" if comparison.region else ""
    method, reference, test = f"`{comparison.method.name}`", f"`{comparison.reference.name}`", comparison.test
    text = {
        "higher": f"{method} has a higher Dice{of} than {reference}",
        "lower": f"{method} has a lower Dice{of} than {reference}",
        "unclear": f"No clear difference of the Dice{of} between {method} and {reference}",
    }[comparison.verdict]
    p = probability(comparison.p_holm)
    corrected = f", p (Holm) {p}" if p else ", equal on every image"
    reason = ""
    if p and not test.difference.bounded:
        reason = " No verdict without an interval: there is one group of images, or the same difference in each."
    return f"{text}: difference {interval(test.difference)}{corrected}, {test.images} images.{reason}"


def comparison_rows(comparisons: Sequence[Comparison]) -> list[dict[str, str]]:
    """The rows of the table: the reference in each region, then the methods compared with it."""
    several = len({comparison.region for comparison in comparisons}) > 1
    rows = []
    for region in dict.fromkeys(comparison.region for comparison in comparisons):
        members = [comparison for comparison in comparisons if comparison.region == region]
        widest = max(members, key=lambda comparison: len(comparison.folds))
        for comparison, method in [(None, widest.reference), *((member, member.method) for member in members)]:
            place = comparison or widest
            row = {
                "Method": f"`{method.name}`" + (f", {region}" if several else ""),
                "Trained on": UNKNOWN if method.trained_on is None else title_of(method.trained_on),
                "Folds": ", ".join(map(str, place.folds)),
                "Seeds": str(len(method.tables)),
                "DI": number(_mean(method, place), 3),
            }
            test = None if comparison is None else comparison.test
            row |= paired_cells(
                f"DI minus `{place.reference.name}`", test, float("nan") if comparison is None else place.p_holm
            )
            rows.append(row | {"Verdict": "" if comparison is None else VERDICTS[comparison.verdict]})
    return rows


def _mean(method: Tested, comparison: Comparison) -> float:
    """Mean over the compared images."""
    selection = Selection(region=comparison.region)
    return float(method.per_image(selection, SCORE, comparison.folds).mean())


def paired_cells(heading: str, test: PairedTest | None, p_holm: float) -> dict[str, str]:
    """The cells of a paired test; empty without one. `heading` is that of the difference."""
    return {
        "Images": "" if test is None else str(test.images),
        "Groups": "" if test is None else str(test.difference.clusters),
        heading: "" if test is None else interval(test.difference),
        "Better / worse on": "" if test is None else f"{test.better} / {test.worse}",
        "p": "" if test is None else probability(test.p),
        "p (Holm)": probability(p_holm),
        "Effect": "" if test is None else signed(test.effect, 2),
    }


def evaluation_blocks(results: ComparisonResults) -> list[Block]:
    """The scores of the evaluations that the user named; nothing without them."""
    if not results.evaluations:
        return []
    note = (
        "Read with `--scores`: predicted masks of other programs (`taichinet score`), and evaluations of weights "
        "(`taichinet evaluate`). For masks it is not known on which images their model was trained."
    )
    rows = [_evaluation_cells(evaluation) for evaluation in results.evaluations]
    return [Points((note,)), table_of(rows, 3, "Evaluations named by the user: lesion images.")]


def evaluation_place(evaluation: Evaluated) -> dict[str, str]:
    """The name of an evaluation and what was tested, as in the tables of the methods."""
    data = title_of(evaluation.tested_on)
    return {"Recipe": f"`{evaluation.name}`", "Data": ", ".join(filter(None, (data, evaluation.protocol)))}


def _evaluation_cells(evaluation: Evaluated) -> dict[str, str]:
    group, detection = evaluation.record.summary.lesion, evaluation.detection
    return {
        **evaluation_place(evaluation),
        "Trained on": UNKNOWN if evaluation.trained_on is None else title_of(evaluation.trained_on),
        "Images": str(group.images),
        **{heading: scored(group.score(name), digits_of(name)) for name, heading in SHORT.items()},
        "DI native": scored(group.score("dice", "native")),
        "Lesions found": "" if detection is None else rate(detection.lesions),
        "Normal images with a prediction": "" if detection is None else percent(detection.normal_images.share),
    }
