"""Checks a bundle: its masks, labels, recorded near-duplicates and folds, without what needs the original images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from taichinet.datasets.bundle.read import BundledFiles
from taichinet.datasets.checks.check import DataReport, sorted_by_severity
from taichinet.datasets.checks.finding import Finding
from taichinet.datasets.checks.leakage import FoldCount, count_folds, find_leaks
from taichinet.datasets.checks.masks import check_masks
from taichinet.datasets.checks.statistics import ImageFacts, by_class, find_outliers, measure
from taichinet.datasets.duplicates.search import DuplicateReport
from taichinet.datasets.folds import FoldPlan
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.sample import Mask, Sample
from taichinet.errors import DataError
from taichinet.progress import tracked

NOT_CHECKED = (
    "A bundle has no original images: burnt-in marks, frames, single mask files and the agreement of the masks of "
    "near-duplicates were not checked. Near-duplicates are those found when the bundle was made; brightness and "
    "contrast are those at input resolution. Check the original data set as well."
)


def check_bundle(
    manifest: Manifest,
    files: BundledFiles,
    folds: FoldPlan | None = None,
) -> DataReport:
    """Check every sample of a bundle, and folds for leakage.

    Args:
        manifest: The data set, read without verification: members that cannot be decoded become findings.
        files: `manifest.files`.
        folds: A fold plan to check.

    Returns:
        The report, with a finding on what was not checked.
    """
    findings = [Finding("not checked", (), NOT_CHECKED)]
    findings += [Finding("left out", (), line) for line in manifest.left_out]
    facts: list[ImageFacts] = []
    for sample in tracked(manifest.samples, "checking images"):
        try:
            found, fact = _examine(sample, manifest, files)
        except DataError as fault:
            findings.append(Finding("unreadable", (sample.key,), str(fault)))
        else:
            findings += found
            facts.append(fact)
    findings += find_outliers(facts)
    groups = files.selection.groups
    findings += _describe_groups(groups, manifest)
    counts: tuple[FoldCount, ...] = ()
    if folds is not None:
        findings += find_leaks(folds, manifest, groups)
        counts = count_folds(folds, manifest.labels, (*groups, *manifest.patients))
    return DataReport(
        dataset=manifest.name,
        images=len(manifest.samples),
        findings=sorted_by_severity(findings),
        classes=by_class(facts),
        facts=tuple(facts),
        duplicates=DuplicateReport((), groups),
        folds=counts,
    )


def _examine(sample: Sample, manifest: Manifest, files: BundledFiles) -> tuple[list[Finding], ImageFacts]:
    """The findings on the united masks of one sample, and its facts; raises DataError if a member is damaged."""
    regions = sorted({mask.region for mask in sample.masks})
    united = [files.united_mask(sample, region) for region in regions]
    named = tuple(Mask(Path(f"united mask of {manifest.regions[region]}"), region) for region in regions)
    findings = check_masks(replace(sample, masks=named), united, manifest.regions, manifest.nested)
    grey = np.asarray(Image.fromarray(files.image(sample.image)).convert("L"))
    lesion = united[0] if regions[:1] == [0] else None
    height, width = files.header(sample.image).size
    facts = replace(measure(sample.key, sample.label, grey, lesion), height=height, width=width)
    # Several lesions are several parts of a united mask, not a fault of a file.
    return [finding for finding in findings if finding.kind != "several parts"], facts


def _describe_groups(groups: tuple[tuple[str, ...], ...], manifest: Manifest) -> Iterator[Finding]:
    """A finding for each group of near-duplicates, and one for each group under several labels."""
    for group in groups:
        yield Finding("near-duplicates", group, f"{len(group)} images of one scene.", len(group))
        labels = sorted({manifest.labels[key] for key in group})
        if len(labels) > 1:
            message = f"{', '.join(group)} show one scene and are labelled {' and '.join(labels)}."
            yield Finding("contradictory labels", group, message, len(group))
