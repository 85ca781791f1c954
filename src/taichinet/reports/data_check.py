"""The HTML page of `taichinet data check`: findings by kind, most severe first, with example images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from taichinet.datasets.checks.check import DataReport
from taichinet.datasets.checks.finding import KINDS, Finding, FindingKind, Severity, counted
from taichinet.datasets.checks.statistics import Spread
from taichinet.datasets.decoded import region_masks
from taichinet.datasets.image_io import read_grey_and_colour
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.errors import DataError
from taichinet.reports.document import model as doc
from taichinet.reports.document.format import EMPTY, number, title_of
from taichinet.reports.document.html import document_html, jpeg_bytes
from taichinet.reports.document.markdown import generated_by
from taichinet.reports.overlay import PREDICTION, SECOND, TRUTH, outline
from taichinet.storage.atomic import write_text

HEADER = generated_by("taichinet data check --report")
JPEG_QUALITY = 72  # about 20 KB per image
MARKS: Mapping[Severity, str] = {"error": "●", "warning": "▲", "note": "○"}
MAX_FINDINGS: Mapping[Severity, int] = {"error": 24, "warning": 8, "note": 6}  # shown with images, for each kind
MAX_IMAGES = 6  # shown for each finding
MAX_LINES = 200  # findings without images, for each kind
MAX_SIDE = 400  # pixels of the longer side of a finding's image; the page shows it at half this size
PADDING = 4  # pixels between a finding and its box
STROKES = (replace(TRUTH, width=2.6), replace(SECOND, width=2.4))  # one per region, from the outermost inwards
Samples = Mapping[str, Sample]  # by key; empty if the data set cannot be read
ReadMasks = Callable[[Sample], NDArray[np.bool_]]  # masks of all regions, (R, H, W)


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


def data_document(report: DataReport, manifest: Manifest | None, root: str) -> doc.Document:
    """The content of the page, see `write_data_page`."""
    samples = {} if manifest is None else {sample.key: sample for sample in manifest}
    regions = () if manifest is None else manifest.regions
    masks = partial(region_masks, regions=len(regions), nested=manifest is None or manifest.nested)
    kinds = (
        _kind(f"kind-{place}", kind, report.of_kind(kind), samples, masks) for place, kind in enumerate(report.counts())
    )
    sections = (_overview(report, regions), _classes(report), _folds(report), *kinds)
    totals = ", ".join(counted(count, severity) for severity, count in report.by_severity().items())
    lead = (_lead(report), f"{totals}. Data set: `{root}`.")
    shown = tuple(section for section in sections if section is not None)
    return doc.Document(f"Data check of {title_of(report.dataset)}", lead, shown, contents=True)


def _lead(report: DataReport) -> str:
    if not report.images:
        return "The data set cannot be read. All problems are listed below."
    groups = report.duplicates
    duplicates = "no near-duplicates were found"
    if groups.groups:
        duplicates = f"{groups.covered:,} of them belong to {len(groups.groups):,} groups of near-duplicates"
    damaged = "" if report.readable else " Some files cannot be read; all others were checked."
    return f"{report.images:,} images were checked; {duplicates}.{damaged}"


def _overview(report: DataReport, regions: Sequence[str]) -> doc.Section:
    if not report.findings:
        return doc.Section("overview", "Overview", (doc.Note("No findings."),))
    rows = []
    for kind in report.counts():
        findings, info = report.of_kind(kind), KINDS[kind]
        cells = {
            "Findings": str(len(findings)),
            "Images": str(len({key for finding in findings for key in finding.keys})),
        }
        rows.append({"Kind": f"{MARKS[info.severity]} {info.title}", "Meaning": info.meaning, **cells})
    legend = ", ".join(f"{mark} {severity}" for severity, mark in MARKS.items())
    blocks: list[doc.Block] = [
        doc.table_of(rows, words=2),
        doc.Note(f"{legend}."),
        *([_legend(regions)] if regions else []),
    ]
    return doc.Section("overview", "Overview", tuple(blocks))


def _classes(report: DataReport) -> doc.Section | None:
    if not report.classes:
        return None
    note = doc.Note(
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
    blocks: list[doc.Block] = [note, doc.table_of(rows)]
    if report.mean_agreement is not None:
        middle = median(agreement.dice for agreement in report.agreements)
        blocks.append(
            doc.Note(
                f"In {counted(len(report.agreements), 'pair')} of near-duplicates both images have a mask. The masks "
                f"of a pair agree with a mean Dice of {report.mean_agreement:.3f} (median {middle:.3f}), a rough upper "
                "limit for any network on this data set."
            )
        )
    return doc.Section("classes", "Classes", tuple(blocks))


def _folds(report: DataReport) -> doc.Section | None:
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
    note = doc.Note("Leaking images have a near-duplicate, or another image of the same patient, in another fold.")
    return doc.Section("folds", "Folds", (note, doc.table_of(rows)))


def _kind(
    anchor: str, kind: FindingKind, findings: Sequence[Finding], samples: Samples, masks: ReadMasks
) -> doc.Section:
    info = KINDS[kind]
    with_images = any(key in samples for finding in findings for key in finding.keys)
    shown = findings[: MAX_FINDINGS[info.severity] if with_images else MAX_LINES]
    more = ""
    if len(shown) < len(findings):
        hidden = len(findings) - len(shown)
        more = f", of which the first {len(shown)} are shown; the other {hidden} are in the JSON report"
    note = doc.Note(f"{info.meaning} {counted(len(findings), 'finding')}{more}.")
    messages = doc.Points(tuple(finding.message for finding in shown))
    blocks = _finding_images(shown, samples, masks) if with_images else [messages]
    return doc.Section(anchor, f"{MARKS[info.severity]} {info.title}", (note, *blocks))


def _finding_images(findings: Sequence[Finding], samples: Samples, masks: ReadMasks) -> list[doc.Block]:
    """Findings with several images each get a row; all others share one grid with their messages as captions."""
    members = [(finding, [key for key in finding.keys if key in samples]) for finding in findings]
    if all(len(keys) <= 1 for _, keys in members):
        items = [
            (f"{key}: {finding.message}", _image(samples[key], masks, finding))
            for finding, keys in members
            for key in keys
        ]
        texts = tuple(finding.message for finding, keys in members if not keys)
        return [doc.Images(tuple(items), columns=4), *([doc.Points(texts)] if texts else [])]
    blocks: list[doc.Block] = []
    for finding, keys in members:
        hidden = len(keys) - MAX_IMAGES
        blocks.append(doc.Note(finding.message + (f" {hidden} more images are not shown." if hidden > 0 else "")))
        items = [(_caption(samples[key]), _image(samples[key], masks, finding)) for key in keys[:MAX_IMAGES]]
        blocks.append(doc.Images(tuple(items), columns=3 if len(items) < 4 else 6))
    return blocks


def _caption(sample: Sample) -> str:
    """The key, with the class unless the key begins with it."""
    return sample.key if sample.key.startswith(sample.label) else f"{sample.key} {sample.label}"


def _legend(regions: Sequence[str]) -> doc.Legend:
    names = ["the mask"] if len(regions) == 1 else regions
    contours = [
        doc.LegendItem(f"contour of {name}", (stroke.colour,)) for name, stroke in zip(names, STROKES, strict=False)
    ]
    return doc.Legend((*contours, doc.LegendItem("box around the finding", (PREDICTION.colour,))))


def _spread(spread: Spread, digits: int) -> str:
    """Median, with minimum and maximum in brackets."""
    return f"{number(spread.median, digits)} ({number(spread.least, digits)}–{number(spread.greatest, digits)})"


def _image(sample: Sample, read_masks: ReadMasks, finding: Finding) -> bytes | None:
    """JPEG of a sample with its masks, and the boxes of `finding` if it is the first; None if unreadable."""
    try:
        grey, rgb = read_grey_and_colour(sample.image)
        masks = read_masks(sample)
    except DataError:
        return None
    height, width = grey.shape
    scale = min(1.0, MAX_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(grey if rgb is None else rgb).convert("RGB").resize(size, Image.Resampling.LANCZOS)
    for mask, stroke in zip(masks, STROKES, strict=False):
        outline(image, np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)), stroke)
    pen = ImageDraw.Draw(image)
    for box in finding.boxes if sample.key == finding.keys[0] else ():
        left, top = box.left * scale - PADDING, box.top * scale - PADDING
        right, bottom = (box.left + box.width) * scale + PADDING, (box.top + box.height) * scale + PADDING
        pen.rectangle((left, top, right, bottom), outline=PREDICTION.colour, width=2)
    return jpeg_bytes(image, JPEG_QUALITY)
