"""The data check's page: what was found, gravest first, with the pictures in one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from taichinet.datasets.checks.check import DataReport
from taichinet.datasets.checks.finding import KINDS, Finding, FindingKind, KindInfo, Severity
from taichinet.datasets.checks.statistics import ClassStatistics, Spread
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.reports.document.format import EMPTY, counted, number, title_of
from taichinet.reports.html import balanced, jpeg_uri, render
from taichinet.reports.overlay import PREDICTION
from taichinet.reports.sample_images import STROKES, finding_image
from taichinet.storage.atomic import write_text

TEMPLATE = "data_page.html"
JPEG_QUALITY = 72  # about 20 KB an image
MOST_FINDINGS: dict[Severity, int] = {"error": 24, "warning": 8, "note": 6}  # shown with pictures, of each kind
MOST_MEMBERS = 6  # pictures shown of one finding
MOST_LINES = 200  # findings without pictures, of each kind


@dataclass(frozen=True)
class Shown:
    """One picture of a finding: its key, its class where the key does not tell, and its address.

    `uri` is empty where the picture cannot be read.
    """

    key: str
    label: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Entry:
    """A finding as the page shows it; `more` pictures of it are left out."""

    message: str
    pictures: tuple[Shown, ...]
    more: int


@dataclass(frozen=True)
class Section:
    """All findings of one kind: how many, in how many pictures, and those shown."""

    anchor: str
    info: KindInfo
    findings: int
    images: int
    entries: tuple[Entry, ...]

    @property
    def more(self) -> int:
        """Findings that are not shown."""
        return self.findings - len(self.entries)

    @property
    def grouped(self) -> bool:
        """Whether some finding is about several pictures, which then stand in one row."""
        return any(len(entry.pictures) > 1 for entry in self.entries)


def write_data_page(path: Path, report: DataReport, manifest: Manifest | None, root: str) -> None:
    """Write the page of `report` on the data set called `root`; without `manifest` (unreadable) it has no pictures."""
    write_text(path, render_data_page(report, manifest, root))


def render_data_page(report: DataReport, manifest: Manifest | None, root: str) -> str:
    """The page as HTML."""
    samples = {} if manifest is None else {sample.key: sample for sample in manifest}
    regions = 1 if manifest is None else len(manifest.regions)
    sections = [
        _section(number_, kind, report.of_kind(kind), samples, regions) for number_, kind in enumerate(report.counts())
    ]
    severities = report.by_severity()
    return render(
        TEMPLATE,
        title=f"Data check of {title_of(report.dataset)}",
        heading=balanced(f"Data check of {title_of(report.dataset)}"),
        lead=_lead(report),
        root=root,
        severities=[(name, counted(count)) for name, count in severities.items()],
        sections=sections,
        marks={"error": "●", "warning": "▲", "note": "○"},
        classes=[_class_row(one) for one in report.classes],
        folds=[
            (
                str(one.fold),
                counted(one.images),
                ", ".join(f"{n} {label}" for label, n in one.by_label),
                str(one.leaking),
            )
            for one in report.folds
        ],
        agreement=_agreement(report),
        strokes=[
            (f"border of {'the mask' if regions == 1 or manifest is None else manifest.regions[index]}", stroke.colour)
            for index, stroke in enumerate(STROKES[:regions])
        ],
        box=PREDICTION.colour,
    )


def _lead(report: DataReport) -> str:
    if not report.images:
        return "The data set cannot be read: every problem is listed below."
    groups = report.duplicates
    scenes = (
        f"{counted(groups.covered)} of them belong to {counted(len(groups.groups))} groups of near-duplicates"
        if groups.groups
        else "no two of them show one scene"
    )
    damaged = "" if report.readable else " Some files cannot be read; the others were checked all the same."
    return f"{counted(report.images)} images were looked at; {scenes}.{damaged}"


def _agreement(report: DataReport) -> str:
    if report.mean_agreement is None:
        return ""
    middle = median(one.dice for one in report.agreements)
    pairs = len(report.agreements)
    twice = "In one pair a frame was outlined twice." if pairs == 1 else f"In {pairs} pairs a frame was outlined twice."
    return (
        f"{twice} The two masks agree at Dice {report.mean_agreement:.3f} on average (median {middle:.3f}): a rough "
        "ceiling for what any network can reach here."
    )


def _section(
    number_: int, kind: FindingKind, findings: Sequence[Finding], samples: dict[str, Sample], regions: int
) -> Section:
    pictured = any(key in samples for finding in findings for key in finding.keys)
    shown = findings[: MOST_FINDINGS[KINDS[kind].severity] if pictured else MOST_LINES]
    return Section(
        anchor=f"kind-{number_}",
        info=KINDS[kind],
        findings=len(findings),
        images=len({key for finding in findings for key in finding.keys}),
        entries=tuple(_entry(finding, samples, regions) for finding in shown),
    )


def _entry(finding: Finding, samples: dict[str, Sample], regions: int) -> Entry:
    known = [key for key in finding.keys if key in samples]
    pictures = []
    for place, key in enumerate(known[:MOST_MEMBERS]):
        picture = finding_image(samples[key], regions, finding.boxes if place == 0 else ())
        uri, (width, height) = ("", (0, 0)) if picture is None else (jpeg_uri(picture, JPEG_QUALITY), picture.size)
        label = samples[key].label
        pictures.append(Shown(key, "" if key.startswith(label) else label, uri, width, height))
    return Entry(finding.message, tuple(pictures), len(known) - len(pictures))


def _class_row(one: ClassStatistics) -> tuple[str, list[tuple[str, str]]]:
    cells = [
        ("Images", counted(one.images)),
        ("Height (px)", _spread(one.height, 0)),
        ("Width (px)", _spread(one.width, 0)),
        ("Brightness", _spread(one.brightness, 0)),
        ("Contrast", _spread(one.contrast, 0)),
        ("Painted share", EMPTY if one.lesion_share is None else _spread(one.lesion_share, 3)),
    ]
    return one.label, cells


def _spread(spread: Spread, digits: int) -> str:
    """Median, and in brackets least and greatest."""
    return f"{number(spread.median, digits)} ({number(spread.least, digits)}–{number(spread.greatest, digits)})"
