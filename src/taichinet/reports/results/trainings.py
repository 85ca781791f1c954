"""The page on trainings: how each differs from the paper, what is uncertain, cost, machines, and networks for use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from taichinet.experiments.records import StudyRecord, TrainingRecord
from taichinet.models.catalogue import find_entry
from taichinet.reports.document.format import duration, number, recipes_by_text
from taichinet.reports.document.model import Block, Document, Heading, Note, Points, Section, table_of
from taichinet.reports.paper_tables.differences import all_differences
from taichinet.reports.results.all_runs import by_images, images_of, study_cells

LEAD = (
    "How each network was trained. Differences are from the paper's recipe, or from our default if the paper does not "
    "specify a setting. The wall time is the sum over completed folds; mining counts for the run that did it, other "
    "runs read its easy and hard pixels from the cache. GFLOPs are for one image at the recipe's size. An empty cell "
    "was not measured."
)


def trainings_document(results: Sequence[StudyRecord], for_use: Sequence[TrainingRecord] = ()) -> Document:
    """Return the page, with a section for each data set with or without normal images.

    Args:
        results: The studies.
        for_use: Trainings on all images with the settings and images of one of the studies.

    Returns:
        The page.
    """
    sections = []
    for key, (heading, members) in by_images(results).items():
        trained = [record for record in for_use if images_of(record) == key]
        blocks: list[Block] = [Heading("Differences from the paper's recipe"), _differences(members)]
        blocks += [*_uncertain(members), Heading("Cost"), table_of([_cost_row(member) for member in members], 3)]
        blocks += [Heading("Machines"), _machines(members), *_for_use(trained)]
        sections.append(Section("", heading, tuple(blocks)))
    return Document("Trainings: settings, cost and machines", (LEAD,), tuple(sections))


def _differences(members: Sequence[StudyRecord]) -> Points:
    """The differences that all recipes share first, then the others by recipe."""
    by_name = {member.experiment.name: all_differences(member.experiment) for member in members}
    first = next(iter(by_name.values()))
    shared = [text for text in first if len(by_name) > 1 and all(text in texts for texts in by_name.values())]
    own = ((name, [text for text in texts if text not in shared]) for name, texts in by_name.items())
    points = _by_text(("; ".join(texts) or ("none further" if shared else "none"), name) for name, texts in own)
    return Points((f"All recipes: {'; '.join(shared)}", *points.texts)) if shared else points


def _uncertain(members: Sequence[StudyRecord]) -> list[Block]:
    models = dict.fromkeys(member.experiment.model for member in members)
    notes = tuple(f"{entry.title}: {entry.note}" for model in models if (entry := find_entry(model)).note)
    return [Heading("Uncertain"), Points(notes)] if notes else []


def _cost_row(member: StudyRecord) -> dict[str, str]:
    return {
        **study_cells(member),
        "Parameters": f"{member.parameters:,}",
        "GFLOPs": number(member.gflops, 2, ""),
        "Wall time": duration(member.wall_seconds),
        "Commit": ", ".join(f"`{commit}`" for commit in member.commits),
    }


def _for_use(records: Sequence[TrainingRecord]) -> list[Block]:
    """One line for each network that was trained on all images; it has no scores of its own."""
    lines = []
    for record in records:
        done = [str(fold) for fold in record.decision_folds]
        some = f"fold{'s' * (len(done) > 1)} {', '.join(done)} of {record.folds}"
        folds = "all folds" if len(done) == record.folds else some
        decision = "threshold 0.5" if record.decision is None else f"its decision is the mean of those of {folds}"
        lines.append((f"{record.images:,} images; {decision}", record.experiment.name, f" ({record.protocol})"))
    note = "Trained on all images. The scores of such a recipe are those of the networks of its folds."
    return [Heading("Networks for use"), Note(note), _by_text(lines)] if lines else []


def _machines(members: Sequence[StudyRecord]) -> Points:
    """One line for each machine and number format, with the recipes that ran there."""
    units = {"accelerator": "{}", "processor": "{}", "cores": "{} cores", "memory_gib": "{} GiB"}
    units |= {"python": "Python {}", "torch": "torch {}"}
    lines = []
    for member in members:
        parts = [text.format(member.machine[key]) for key, text in units.items() if member.machine.get(key)]
        lines.append((", ".join([*parts, member.placement]), member.experiment.name, f" ({member.protocol})"))
    return _by_text(lines)


def _by_text(lines: Iterable[tuple[str, ...]]) -> Points:
    return Points(tuple(f"{names}: {text}" for text, names in recipes_by_text(lines).items()))
