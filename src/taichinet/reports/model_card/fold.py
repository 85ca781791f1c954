"""The README.md beside the weights of one fold: the network, its training, its scores and its limits."""

from __future__ import annotations

from pathlib import Path

from taichinet.errors import WeightsError
from taichinet.experiments.records import RESULT_FILE, FoldRecord, network_title, read_record
from taichinet.reports.document.format import LONG
from taichinet.reports.document.markdown import document_markdown, generated_by
from taichinet.reports.document.model import Document, Note, Points, Section, table_of
from taichinet.reports.model_card.front_matter import front_matter
from taichinet.reports.model_card.scores import SCORES, at_both_resolutions
from taichinet.reports.model_card.subject import subject_of
from taichinet.reports.paper_tables.differences import all_differences

HEADER = generated_by("taichinet package-weights")
NOT_A_DEVICE = "A research tool, not a medical device: no diagnosis, no treatment decision."


def model_card(run: Path, megabytes: float, number_format: str) -> str:
    """Return the model card as Markdown.

    Args:
        run: The folder of a completed fold.
        megabytes: Size of the weights.
        number_format: Number format of the weights.

    Raises:
        WeightsError: The fold is not completed, or its result.json cannot be read.
    """
    remedy = (
        "Give the folder of one completed fold, e.g. runs/busi/cpu-taichinet/grouped/fold-0, or of a cross-validation."
    )
    result = read_record(run / RESULT_FILE, FoldRecord, WeightsError, remedy)
    experiment, selection = result.experiment, result.selection
    size = experiment.data.size
    subject = subject_of(result.dataset)
    lead = (
        f"{subject.task}: {result.parameters:,} parameters, input {size} x {size} px, "
        f"{number_format}, {megabytes:.1f} MB."
    )
    training = (
        f"Data: {result.dataset}, {result.images.train} training and {result.images.validation} validation images of "
        f"fold {result.fold} of {result.folds}, protocol {result.protocol} (seed {result.fold_seed}).",
        f"Weights of epoch {selection.epoch} of {experiment.training.epochs}, rule {selection.rule} on the "
        f"{selection.on}.",
        f"Differences from the paper: {'; '.join(all_differences(experiment)) or 'none'}.",
        f"Commit {result.commit or 'unknown'}, {result.placement}.",
    )
    lesion = next(group for group in result.summary.groups if group.group == "lesion")
    rows = [{"Score": LONG[name]} | at_both_resolutions(lesion, name) for name in SCORES]
    heading = f"Scores on the {lesion.images} lesion images of its test fold, which were not used in training"
    note = Note("One fold and one seed: the table has no standard deviation over folds.")
    normal = "" if experiment.data.include_normal else subject.without_normal
    limits = f"{NOT_A_DEVICE} It was trained on {result.dataset} only.{normal}"
    sections = (
        Section("training", "Training", (Points(training),)),
        Section("scores", heading, (table_of(rows), note)),
        Section("limits", "Limits", (Note(limits),)),
    )
    title = f"{network_title(experiment.model)}, recipe `{experiment.name}`, fold {result.fold}"
    scores = {result.dataset: result.summary}
    metadata = front_matter(experiment.name, result.dataset.split("+"), result.protocol, scores)
    return metadata + document_markdown(Document(title, (lead,), sections), HEADER)
