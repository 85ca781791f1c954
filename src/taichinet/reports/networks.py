"""The catalogue as a table: size and cost of every network, how sure we are of it, what is not certain."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from taichinet.errors import SettingError
from taichinet.experiments.experiment import vary
from taichinet.experiments.paper import paper_table
from taichinet.experiments.recipes.ablations import ABLATIONS
from taichinet.experiments.recipes.catalogue import busi_taichinet
from taichinet.models.catalogue import CATALOGUE
from taichinet.models.complexity import measure_complexity
from taichinet.reports.document.markdown import document_markdown, generated_by
from taichinet.reports.document.model import Document, Points, Section, Table

HEADER = generated_by("taichinet models -o")

SOURCE_SIZE, SOURCE_CHANNELS = 224, 3  # how the sources' own figures were taken


@dataclass(frozen=True)
class NetworkRow:
    """One network, measured at the asked size; `source_*` are what its source measures, for comparison."""

    name: str
    title: str
    parameters: int
    gflops: float
    source_parameters: int
    source_gflops: float | None
    pretrained: str
    paper: str
    confidence: str
    note: str

    def to_json_dict(self) -> dict[str, Any]:
        """The row for programs."""
        return asdict(self)


def network_rows(size: int, channels: int) -> list[NetworkRow]:
    """A row for each network of the catalogue, with its default options.

    Raises SettingError for a size that not every network takes.
    """
    rows = []
    for name, entry in CATALOGUE.items():
        if size < 1 or size % entry.size_multiple:
            raise SettingError(
                f"{entry.title} takes sizes that are multiples of {entry.size_multiple}, not {size}. "
                "Give a multiple of 32 to compare all networks."
            )
        cost = measure_complexity(name, size, in_channels=channels)
        rows.append(
            NetworkRow(
                name=name,
                title=entry.title,
                parameters=cost.parameters,
                gflops=cost.gflops,
                source_parameters=entry.source.parameters,
                source_gflops=entry.source.gflops,
                pretrained="file" if entry.has_pretrained else "none",
                paper=entry.paper,
                confidence=entry.confidence,
                note=entry.note,
            )
        )
    return rows


def networks_page(rows: list[NetworkRow], size: int, channels: int) -> str:
    """docs/networks.md."""
    lead = (
        f"Networks with their default options at {size} x {size} pixels and {channels} input channel(s). GFLOPs are "
        "for one forward pass of one image; convolutions and matrix products are counted, a multiplication and an "
        f"addition are two operations. *Source*: what the network's source has at {SOURCE_SIZE} px with "
        f"{SOURCE_CHANNELS} channels; for TaiChiNet and its U-Net, what gives the paper's printed 18.33M (before the "
        "head) and 8.64M. *ImageNet*: whether `options.pretrained` takes a file of weights; without one every "
        "network starts from random weights. *Confidence*: our confidence that this is the network of the paper."
    )
    notes = tuple(f"{row.title}: {row.note}" for row in rows if row.note)
    sections = (
        Section("networks", "All networks", (_networks(rows),)),
        Section("ablations", "Table I of the paper, measured in the same way", (_ablations(size, channels),)),
        Section("uncertain", "Uncertain", (Points(notes),)),
    )
    return document_markdown(Document("Networks", (lead,), sections), HEADER)


def _networks(rows: list[NetworkRow]) -> Table:
    cells = tuple(
        (
            f"`{row.name}`",
            row.title,
            row.confidence,
            row.paper,
            row.pretrained,
            f"{row.parameters:,}",
            f"{row.gflops:.2f}",
            f"{row.source_parameters:,}",
            "" if row.source_gflops is None else f"{row.source_gflops:.2f}",
        )
        for row in rows
    )
    numbers = ("Parameters", "GFLOPs", "Source parameters", "Source GFLOPs")
    return Table(("Name", "Network", "Confidence", "Paper", "ImageNet", *numbers), (cells,), words=5)


def _ablations(size: int, channels: int) -> Table:
    full = vary(busi_taichinet(), {"options.in_channels": channels})
    cells = []
    for row in paper_table("table1").parts[0].rows:
        recipe = ABLATIONS[row.variation](full) if row.variation in ABLATIONS else full
        cost = measure_complexity(recipe.model, size, **recipe.options)
        cells.append((f"`{row.variation}`", f"{cost.parameters:,}", f"{cost.gflops:.2f}", row.parameters or ""))
    return Table(("Row", "Parameters", "GFLOPs", "Printed parameters"), (tuple(cells),))
