"""Checks a data set before training: `check_dataset` returns all findings and statistics as one DataReport.

bundled.py checks a bundle.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taichinet.datasets.catalogue import CATALOGUE
from taichinet.datasets.checks.finding import KINDS, SEVERITIES, Finding, FindingKind, Severity, counted
from taichinet.datasets.checks.leakage import (
    FoldCount,
    MaskAgreement,
    compare_masks,
    count_folds,
    find_disagreements,
    find_groups,
    find_leaks,
)
from taichinet.datasets.checks.marks import find_frame, find_marks
from taichinet.datasets.checks.masks import check_masks
from taichinet.datasets.checks.statistics import ClassStatistics, ImageFacts, by_class, find_outliers, measure
from taichinet.datasets.duplicates.fingerprint import Fingerprint, take_fingerprint
from taichinet.datasets.duplicates.search import DuplicateReport, duplicate_thresholds, match_fingerprints
from taichinet.datasets.folds import FoldPlan
from taichinet.datasets.image_io import read_grey_and_colour
from taichinet.datasets.manifest import ImageCounts, Manifest
from taichinet.datasets.sample import Sample
from taichinet.errors import DataError
from taichinet.progress import tracked

NO_DUPLICATES = DuplicateReport((), ())
MOST_BLACK = 0.05  # share of the image that borders and corners may take


@dataclass(frozen=True)
class DataReport:
    """All findings on a data set, most severe first, and its statistics.

    Attributes:
        dataset: Name of the data set.
        images: Number of samples.
        findings: The findings.
        classes: Statistics of each class.
        facts: Size, brightness, contrast and lesion area of each image.
        duplicates: Near-duplicates.
        agreements: Agreement of the masks of near-duplicates that show the same frame.
        folds: Statistics of each fold; empty without a fold plan.
    """

    dataset: str
    images: int
    findings: tuple[Finding, ...]
    classes: tuple[ClassStatistics, ...] = ()
    facts: tuple[ImageFacts, ...] = ()
    duplicates: DuplicateReport = NO_DUPLICATES
    agreements: tuple[MaskAgreement, ...] = ()
    folds: tuple[FoldCount, ...] = ()

    @property
    def readable(self) -> bool:
        """Whether all files could be read; otherwise the data set cannot be used."""
        return not self.of_kind("unreadable")

    @property
    def mean_agreement(self) -> float | None:
        """Mean Dice of the masks of near-duplicates, a rough upper limit for networks; None without such pairs."""
        return sum(pair.dice for pair in self.agreements) / len(self.agreements) if self.agreements else None

    def of_kind(self, kind: FindingKind) -> tuple[Finding, ...]:
        """The findings of one kind, highest weight first."""
        return tuple(finding for finding in self.findings if finding.kind == kind)

    def counts(self) -> dict[FindingKind, int]:
        """Number of findings of each kind that occurs, most severe kinds first."""
        return {kind: count for kind in KINDS if (count := len(self.of_kind(kind)))}

    def by_severity(self) -> dict[Severity, int]:
        """Number of errors, warnings and notes."""
        return {severity: sum(f.severity == severity for f in self.findings) for severity in SEVERITIES}

    def count_images(self, manifest: Manifest) -> ImageCounts:
        """Number of images of `manifest` that were checked, have an empty mask, and have a file that cannot be read."""
        faulty = self.of_kind("unreadable")
        damaged = {key for finding in faulty for key in finding.keys}
        empty = sum(fact.lesion_share is None and fact.key not in damaged for fact in self.facts)
        counts = manifest.count_images(empty)
        lines = (*manifest.left_out, *dict.fromkeys(finding.message for finding in faulty))
        return replace(counts, used=counts.used - len(damaged), faulty=lines)

    def to_json_dict(self) -> dict[str, Any]:
        """The report as values of JSON, with the severity of each finding and the meaning of each kind."""
        content = asdict(self)
        for finding, row in zip(self.findings, content["findings"], strict=True):
            row["severity"] = finding.severity
        return {
            **content,
            "readable": self.readable,
            "counts": self.counts(),
            "by_severity": self.by_severity(),
            "mean_agreement": self.mean_agreement,
            "kinds": {kind: asdict(KINDS[kind]) for kind in self.counts()},
        }


def check_dataset(manifest: Manifest, folds: FoldPlan | None = None) -> DataReport:
    """Check every sample of a data set, search near-duplicates, and check folds for leakage.

    Args:
        manifest: The data set, read without verification: files that cannot be decoded become findings.
        folds: A fold plan to check.

    Returns:
        The report.
    """
    findings = [Finding("left out", (), line) for line in manifest.left_out]
    examined: list[_Examined] = []
    in_colour = manifest.name in CATALOGUE and CATALOGUE[manifest.name].colour
    with ThreadPoolExecutor(max_workers=2) as pool:
        results = pool.map(lambda sample: _examine(sample, manifest, in_colour), manifest.samples)
        for result in tracked(results, "checking images", len(manifest.samples)):
            examined.append(result)
            findings += result.findings
    facts = tuple(result.facts for result in examined if result.facts is not None)
    findings += find_outliers(facts)
    damaged = {key for finding in findings if finding.kind == "unreadable" for key in finding.keys}
    fingerprints = {result.key: result.fingerprint for result in examined if result.fingerprint is not None}
    duplicates = match_fingerprints(fingerprints, duplicate_thresholds(manifest))
    findings += find_groups(duplicates, manifest.labels)
    whole = DuplicateReport(tuple(p for p in duplicates.pairs if not damaged & {p.first, p.second}), ())
    agreements = compare_masks(whole, manifest)
    findings += find_disagreements(agreements)
    counts: tuple[FoldCount, ...] = ()
    if folds is not None:
        findings += find_leaks(folds, manifest, duplicates.groups)
        counts = count_folds(folds, manifest.labels, (*duplicates.groups, *manifest.patients))
    return DataReport(
        dataset=manifest.name,
        images=len(manifest.samples),
        findings=sorted_by_severity(findings),
        classes=by_class(facts),
        facts=facts,
        duplicates=duplicates,
        agreements=agreements,
        folds=counts,
    )


def sorted_by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings, most severe first, in the order of the kinds, highest weight first."""
    kinds = list(KINDS)
    return tuple(sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), kinds.index(f.kind), -f.weight)))


@dataclass(frozen=True)
class _Examined:
    """The findings on one sample; `facts` and `fingerprint` are None if the image cannot be read."""

    key: str
    findings: tuple[Finding, ...]
    facts: ImageFacts | None
    fingerprint: Fingerprint | None


def _examine(sample: Sample, manifest: Manifest, in_colour: bool = False) -> _Examined:
    """Check the image and the masks of one sample, each decoded once; damaged files become findings.

    Colours are marks in grey images only and are not searched if all images are `in_colour`.
    """
    findings: list[Finding] = []
    try:
        grey, rgb = read_grey_and_colour(sample.image)
    except DataError as fault:
        return _Examined(sample.key, (Finding("unreadable", (sample.key,), str(fault)),), None, None)
    masks = []
    for mask in sample.masks:
        try:
            pixels = manifest.files.mask(mask)
            if (unfit := manifest.files.misfit(sample.image, mask.file, pixels.shape)) is not None:
                raise DataError(unfit)
        except DataError as fault:
            finding = Finding("unreadable", (sample.key,), str(fault))
            findings += [] if finding in findings else [finding]  # a file that paints several regions is reported once
        else:
            masks.append(pixels)
    lesion = None
    if len(masks) == len(sample.masks):
        findings += check_masks(sample, masks, manifest.regions, manifest.nested)
        outer = [pixels for mask, pixels in zip(sample.masks, masks, strict=True) if mask.region == 0]
        lesion = np.logical_or.reduce(outer) if outer else None
    findings += _check_graphics(sample.key, grey, None if in_colour else rgb)
    facts = measure(sample.key, sample.label, grey, lesion)
    return _Examined(sample.key, tuple(findings), facts, take_fingerprint(grey, sample.key))


def _check_graphics(key: str, grey: NDArray[np.uint8], rgb: NDArray[np.uint8] | None) -> list[Finding]:
    """Marks and frame of one image, one finding per kind."""
    findings = [
        Finding(kind, (key,), f"{counted(len(where), 'place')}.", float(len(where)), tuple(where))
        for kind, where in find_marks(grey, rgb).items()
    ]
    frame = find_frame(grey)
    black = frame.border_share + frame.corner_share
    if black > MOST_BLACK:
        message = (
            f"{100 * black:.0f}% of the image is black: borders of {frame.top}, {frame.bottom}, {frame.left} and "
            f"{frame.right} pixels (top, bottom, left, right), and {100 * frame.corner_share:.0f}% in its corners."
        )
        findings.append(Finding("black frame", (key,), message, black))
    return findings


def without_folder(text: str, root: Path) -> str:
    """`text` with paths of files relative to the data set at `root`."""
    return text.replace(f"{root}/", "").replace(str(root), root.name) if root.is_absolute() else text


def without_folders(report: DataReport, root: Path) -> DataReport:
    """`report` without the folder of the data set at `root`, so that it can be shared."""
    findings = tuple(replace(f, message=without_folder(f.message, root)) for f in report.findings)
    return replace(report, dataset=without_folder(report.dataset, root), findings=findings)


def unreadable_report(dataset: str, error: DataError) -> DataReport:
    """The report of a data set that cannot be read: each problem is a finding."""
    problems = error.problems or (error.summary,)
    return DataReport(dataset, 0, tuple(Finding("unreadable", (), problem) for problem in problems))
