"""The README.md beside the weights of a network that was trained on all images."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from taichinet.datasets.catalogue import CATALOGUE
from taichinet.experiments.for_use import NetworkForUse
from taichinet.experiments.records import EvaluationRecord, TrainingRecord, network_title
from taichinet.reports.document.format import duration, title_of
from taichinet.reports.document.markdown import document_markdown
from taichinet.reports.document.model import Block, Document, Points, Section, table_of
from taichinet.reports.model_card.evaluations import evaluation_sections
from taichinet.reports.model_card.failures import failure_section
from taichinet.reports.model_card.fold import HEADER, NOT_A_DEVICE
from taichinet.reports.model_card.front_matter import front_matter
from taichinet.reports.model_card.operating_point import operating_point_section
from taichinet.reports.model_card.scores import no_test_images, score_sections, summaries_of
from taichinet.reports.model_card.subject import subject_of

NOT_RECORDED = "not recorded"


def card_for_use(
    network: NetworkForUse,
    megabytes: float,
    number_format: str,
    evaluations: Sequence[EvaluationRecord] = (),
    failures: pd.DataFrame | None = None,
) -> str:
    """Return the model card as Markdown.

    Args:
        network: The network and its folds.
        megabytes: Size of the weights.
        number_format: Number format of the weights.
        evaluations: Evaluations of the networks of the folds, see `read_evaluations`.
        failures: Failures with their classes, see `read_failures`.
    """
    record = network.record
    size = record.experiment.data.size
    subject = subject_of(record.dataset)
    operations = "" if record.gflops is None else f" {record.gflops:.1f} GFLOPs,"
    lead = (
        f"{subject.task}: {record.parameters:,} parameters,{operations} input {size} x {size} px, {number_format}, "
        f"{megabytes:.1f} MB.",
        no_test_images(network),
    )
    sections = (
        Section("data", "Training data", _data(network)),
        Section("training", "Training", (Points(_training(record)),)),
        *score_sections(network),
        operating_point_section(network),
        *evaluation_sections(evaluations, network.datasets),
        *(() if failures is None else (failure_section(failures),)),
        Section("limits", "Limits", (Points(_limits(network)),)),
    )
    title = f"{network_title(record.experiment.model)}, recipe `{record.experiment.name}`, trained on all images"
    summaries = summaries_of(network.scores, network.datasets)
    metadata = front_matter(record.experiment.name, network.datasets, record.protocol, summaries)
    return metadata + document_markdown(Document(title, lead, sections), HEADER)


def _data(network: NetworkForUse) -> tuple[Block, ...]:
    entries = {name: CATALOGUE.get(name) for name in network.datasets}
    rows = [
        {
            "Data set": title_of(name),
            "Licence": NOT_RECORDED if entry is None else entry.licence,
            "Source": NOT_RECORDED if entry is None else entry.source,
            "Images": f"{network.images[name]:,}",
        }
        for name, entry in entries.items()
    ]
    citations = tuple(f"{entry.title}: {entry.citation}" for entry in entries.values() if entry is not None)
    return (table_of(rows, words=3), Points(citations)) if citations else (table_of(rows, words=3),)


def _training(record: TrainingRecord) -> tuple[str, ...]:
    experiment, machine = record.experiment, record.machine
    training, data = experiment.training, experiment.data
    epochs = f"{training.epochs} epoch{'s' * (training.epochs != 1)}"
    encoder = experiment.options.get("encoder_weights")
    initial = f" The encoder was initialised with weights `{encoder}`." if encoder not in (None, "none") else ""
    processor = machine.get("accelerator") or machine.get("processor")
    parts = (processor, f"{machine['cores']} cores" if "cores" in machine else None, f"torch {machine.get('torch')}")
    return (
        f"Recipe `{experiment.name}`: {epochs} with batches of {training.batch_size}, optimiser {training.optimizer}, "
        f"learning rate {training.learning_rate:g}, augmentation {data.augmentation.kind}, seed {training.seed}."
        f"{initial}",
        f"Weights of the last epoch: without validation images, none is selected. Input {data.size} x {data.size} px, "
        f"images {'with and without' if data.include_normal else 'with'} a lesion.",
        f"Commit {record.commit or 'unknown'}, {record.placement}, {', '.join(filter(None, parts))}, "
        f"{duration(record.wall_seconds)}.",
    )


def _limits(network: NetworkForUse) -> tuple[str, ...]:
    names = " and ".join(title_of(name) for name in network.datasets)
    subject = subject_of(network.record.dataset)
    normal = "" if network.record.experiment.data.include_normal else subject.without_normal
    return (
        NOT_A_DEVICE,
        f"It was trained on {network.record.images:,} images of {names} only.{normal}",
        "On images of other machines, hospitals or patient groups, scores can be lower than those above.",
        "The licences of the training data may restrict the use of the weights.",
    )
