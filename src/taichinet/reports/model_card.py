"""The README.md beside packed weights: what the network is, where it was trained, what it scored, its limits."""

from __future__ import annotations

from pathlib import Path

from taichinet.errors import WeightsError
from taichinet.evaluation.undefined import SIZES
from taichinet.experiments.experiment import Experiment
from taichinet.experiments.records import RESULT_FILE, FoldRecord, network_title, read_record
from taichinet.reports.departures import choices_not_printed, departures
from taichinet.reports.document.format import LONG, scored
from taichinet.reports.document.markdown import document_markdown, generated_by
from taichinet.reports.document.model import Document, Note, Points, Section, Table

FRONT_MATTER = """---
library_name: taichinet
pipeline_tag: image-segmentation
tags: [breast-ultrasound, medical-imaging, segmentation]
---
"""
HEADER = generated_by("taichinet pack")
SCORES = ("dice", "jaccard", "precision", "sensitivity")
NO_NORMAL = ", all with a lesion: on a normal breast it often predicts a lesion."


def model_card(run: Path, megabytes: float, number_format: str) -> str:
    """Markdown from the result.json of the run folder `run`; WeightsError where the fold is not finished."""
    remedy = "Give the folder of one completed fold, e.g. runs/busi/cpu-taichinet/grouped/fold-0."
    result = read_record(run / RESULT_FILE, FoldRecord, WeightsError, remedy)
    experiment, selection = result.experiment, result.selection
    size = experiment.data.size
    lesion = next(group for group in result.summary.groups if group.group == "lesion")
    rows = tuple((LONG[name], *(scored(lesion.score(name, at)) for at in SIZES)) for name in SCORES)
    lead = (
        f"Lesion segmentation in breast ultrasound: {result.parameters:,} parameters, input {size} x {size} px, "
        f"{number_format}, {megabytes:.1f} MB."
    )
    training = (
        f"Data: {result.dataset}, {result.images.train} training and {result.images.validation} validation images of "
        f"fold {result.fold} of {result.folds}, protocol {result.protocol} (seed {result.fold_seed}).",
        f"Weights of epoch {selection.epoch} of {experiment.training.epochs}, rule {selection.rule} on the "
        f"{selection.on}.",
        f"Differences from the paper: {_departures(experiment)}.",
        f"Commit {result.commit or 'unknown'}, {result.placement}.",
    )
    scores = Table(("Score", "at network size", "at native size"), (rows,))
    alone = "." if experiment.data.include_normal else NO_NORMAL
    limits = (
        "A research tool, not a medical device: no diagnosis, no treatment decision. It was trained on "
        f"{result.dataset} only{alone}"
    )
    heading = f"Scores on the {lesion.images} lesion images of its test fold, which were not used in training"
    note = "One fold and one seed. The mean over all folds is in docs/results.md of the project."
    document = Document(
        f"{network_title(experiment.model)}, recipe `{experiment.name}`, fold {result.fold}",
        (lead,),
        (
            Section("training", "Training", (Points(training),)),
            Section("scores", heading, (scores, Note(note))),
            Section("limits", "What it is not for", (Note(limits),)),
        ),
    )
    return FRONT_MATTER + document_markdown(document, HEADER)


def _departures(experiment: Experiment) -> str:
    return "; ".join([*departures(experiment), *choices_not_printed(experiment)]) or "nothing"
