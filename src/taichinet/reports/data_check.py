"""The HTML page of `taichinet data check`: findings by kind, most severe first, with example images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from taichinet.datasets.checks.check import DataReport
from taichinet.datasets.checks.finding import KINDS, Finding, FindingKind, Severity, counted
from taichinet.datasets.checks.statistics import Spread
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.reports.document.format import EMPTY, number, title_of
from taichinet.reports.document.html import document_html, jpeg_bytes
from taichinet.reports.document.markdown import generated_by
from taichinet.reports.document.model import (
    Block,
    Document,
    Images,
    Legend,
    LegendItem,
    Note,
    Points,
    Section,
    table_of,
)
from taichinet.reports.overlay import PREDICTION
from taichinet.reports.sample_images import STROKES, finding_image
from taichinet.storage.atomic import write_text

HEADER = generated_by("taichinet data check --report")
JPEG_QUALITY = 72  # about 20 KB per image
MARKS: Mapping[Severity, str] = {"error": "●", "warning": "▲", "note": "○"}
MAX_FINDINGS: Mapping[Severity, int] = {"error": 24, "warning": 8, "note": 6}  # shown with images, for each kind
MAX_IMAGES = 6  # shown for each finding
MAX_LINES = 200  # findings without images, for each kind


@dataclass(frozen=True)
class _Samples:
    """The samples of the data set by key; none if it cannot be read."""

    by_key: Mapping[str, Sample]
    regions: tuple[str, ...]

    def image(self, key: str, finding: Finding) -> bytes | None:
        """JPEG of a sample with its masks, and the boxes of `finding` if it is the first; None if unreadable."""
        boxes = finding.boxes if key == finding.keys[0] else ()
        image = finding_image(self.by_key[key], len(self.regions), boxes)
        return None if image is None else jpeg_bytes(image, JPEG_QUALITY)


def write_data_page(path: Path, report: DataReport, manifest: Manifest | None, root: str) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        report: The result of the check.
        manifest: The data set; None if it cannot be read, which gives a page without images.
        root: The name of the data set's folder.

    Raises:
        StorageError: The file cannot be written.
    """
    write_text(path, document_html(data_document(report, manifest, root), HEADER))


def data_document(report: DataReport, manifest: Manifest | None, root: str) -> Document:
    """The content of the page, see `write_data_page`."""
    samples = _Samples({}, ()) if manifest is None else _Samples({s.key: s for s in manifest}, manifest.regions)
    sections = (_overview(report, samples.regions), _classes(report), _folds(report))
    kinds = (_kind(f"kind-{place}", kind, report.of_kind(kind), samples) for place, kind in enumerate(report.counts()))
    totals = ", ".join(counted(count, severity) for severity, count in report.by_severity().items())
    lead = (_lead(report), f"{totals}. Data set: `{root}`.")
    shown = tuple(section for section in (*sections, *kinds) if section is not None)
    return Document(f"Data check of {title_of(report.dataset)}", lead, shown, contents=True)


def _lead(report: DataReport) -> str:
    if not report.images:
        return "The data set cannot be read. All problems are listed below."
    groups = report.duplicates
    duplicates = "no near-duplicates were found"
    if groups.groups:
        duplicates = f"{groups.covered:,} of them belong to {len(groups.groups):,} groups of near-duplicates"
    damaged = "" if report.readable else " Some files cannot be read; all others were checked."
    return f"{report.images:,} images were checked; {duplicates}.{damaged}"


def _overview(report: DataReport, regions: Sequence[str]) -> Section:
    if not report.findings:
        return Section("overview", "Overview", (Note("No findings."),))
    rows = []
    for kind in report.counts():
        findings, info = report.of_kind(kind), KINDS[kind]
        cells = {"Findings": str(len(findings)), "Images": str(_count_images(findings))}
        rows.append({"Kind": f"{MARKS[info.severity]} {info.title}", "Meaning": info.meaning, **cells})
    legend = ", ".join(f"{mark} {severity}" for severity, mark in MARKS.items())
    blocks: list[Block] = [table_of(rows, words=2), Note(f"{legend}."), *([_legend(regions)] if regions else [])]
    return Section("overview", "Overview", tuple(blocks))


def _classes(report: DataReport) -> Section | None:
    if not report.classes:
        return None
    note = Note(
        "Median, with minimum and maximum in brackets. Brightness and contrast are the mean and the standard deviation "
        "of the grey levels, 0 to 255; the mask area is a fraction of the image, for the outermost region."
    )
    rows = [
        {
            "Class": statistics.label,
            "Images": f"{statistics.images:,}",
            "Height (px)": _spread(statistics.height, 0),
            "Width (px)": _spread(statistics.width, 0),
            "Brightness": _spread(statistics.brightness, 0),
            "Contrast": _spread(statistics.contrast, 0),
            "Mask area": EMPTY if statistics.lesion_share is None else _spread(statistics.lesion_share, 3),
        }
        for statistics in report.classes
    ]
    blocks: list[Block] = [note, table_of(rows)]
    if report.mean_agreement is not None:
        middle = median(agreement.dice for agreement in report.agreements)
        blocks.append(
            Note(
                f"In {counted(len(report.agreements), 'pair')} of near-duplicates both images have a mask. The masks "
                f"of a pair agree with a mean Dice of {report.mean_agreement:.3f} (median {middle:.3f}), a rough upper "
                "limit for any network on this data set."
            )
        )
    return Section("classes", "Classes", tuple(blocks))


def _folds(report: DataReport) -> Section | None:
    if not report.folds:
        return None
    rows = [
        {
            "Fold": str(fold.fold),
            "Images": f"{fold.images:,}",
            "By class": ", ".join(f"{images} {label}" for label, images in fold.by_label),
            "Leaking": str(fold.leaking),
        }
        for fold in report.folds
    ]
    note = Note("Leaking images have a near-duplicate, or another image of the same patient, in another fold.")
    return Section("folds", "Folds", (note, table_of(rows)))


def _kind(anchor: str, kind: FindingKind, findings: Sequence[Finding], samples: _Samples) -> Section:
    info = KINDS[kind]
    with_images = any(key in samples.by_key for finding in findings for key in finding.keys)
    shown = findings[: MAX_FINDINGS[info.severity] if with_images else MAX_LINES]
    more = ""
    if len(shown) < len(findings):
        hidden = len(findings) - len(shown)
        more = f", of which the first {len(shown)} are shown; the other {hidden} are in the JSON report"
    note = Note(f"{info.meaning} {counted(len(findings), 'finding')}{more}.")
    messages = Points(tuple(finding.message for finding in shown))
    blocks = _finding_images(shown, samples) if with_images else [messages]
    return Section(anchor, f"{MARKS[info.severity]} {info.title}", (note, *blocks))


def _finding_images(findings: Sequence[Finding], samples: _Samples) -> list[Block]:
    """Findings with several images each get a row; all others share one grid with their messages as captions."""
    members = [(finding, [key for key in finding.keys if key in samples.by_key]) for finding in findings]
    if all(len(keys) <= 1 for _, keys in members):
        items = [
            (f"{key}: {finding.message}", samples.image(key, finding)) for finding, keys in members for key in keys
        ]
        texts = tuple(finding.message for finding, keys in members if not keys)
        return [Images(tuple(items), columns=4), *([Points(texts)] if texts else [])]
    blocks: list[Block] = []
    for finding, keys in members:
        hidden = len(keys) - MAX_IMAGES
        blocks.append(Note(finding.message + (f" {hidden} more images are not shown." if hidden > 0 else "")))
        items = [(_caption(samples.by_key[key]), samples.image(key, finding)) for key in keys[:MAX_IMAGES]]
        blocks.append(Images(tuple(items), columns=3 if len(items) < 4 else 6))
    return blocks


def _caption(sample: Sample) -> str:
    """The key, with the class unless the key begins with it."""
    return sample.key if sample.key.startswith(sample.label) else f"{sample.key} {sample.label}"


def _legend(regions: Sequence[str]) -> Legend:
    names = ["the mask"] if len(regions) == 1 else regions
    contours = [
        LegendItem(f"contour of {name}", (stroke.colour,)) for name, stroke in zip(names, STROKES, strict=False)
    ]
    return Legend((*contours, LegendItem("box around the finding", (PREDICTION.colour,))))


def _count_images(findings: Sequence[Finding]) -> int:
    return len({key for finding in findings for key in finding.keys})


def _spread(spread: Spread, digits: int) -> str:
    """Median, with minimum and maximum in brackets."""
    return f"{number(spread.median, digits)} ({number(spread.least, digits)}–{number(spread.greatest, digits)})"
