"""check_dataset: everything that can be said of a data set before anybody trains on it, as one DataReport."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from taichinet.datasets.catalogue import CATALOGUE
from taichinet.datasets.checks.examine import Examined, examine
from taichinet.datasets.checks.finding import KINDS, SEVERITIES, Finding, FindingKind, Severity
from taichinet.datasets.checks.leakage import FoldCount, count_folds, find_leaks
from taichinet.datasets.checks.scenes import MaskAgreement, compare_masks, find_disagreements, find_groups
from taichinet.datasets.checks.statistics import ClassStatistics, ImageFacts, by_class, find_outliers
from taichinet.datasets.duplicates.search import DuplicateReport, duplicate_thresholds, match_fingerprints
from taichinet.datasets.folds import FoldPlan
from taichinet.datasets.manifest import ImageCounts, Manifest
from taichinet.errors import DataError

NO_DUPLICATES = DuplicateReport((), ())


@dataclass(frozen=True)
class DataReport:
    """All findings on a data set, gravest first, and the figures behind them.

    `dataset` is its name, `images` how many samples the reader gave. `folds` is empty where no fold file was given.
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
        """Whether every file could be read; a reader refuses the data set where not."""
        return not self.of_kind("unreadable")

    @property
    def mean_agreement(self) -> float | None:
        """Mean Dice between the masks of copies: a rough ceiling for any network's; None without such pairs."""
        return sum(one.dice for one in self.agreements) / len(self.agreements) if self.agreements else None

    def of_kind(self, kind: FindingKind) -> tuple[Finding, ...]:
        """The findings of one kind, heaviest first."""
        return tuple(finding for finding in self.findings if finding.kind == kind)

    def counts(self) -> dict[FindingKind, int]:
        """How many findings of each kind there are, gravest kinds first; kinds without one are left out."""
        return {kind: count for kind in KINDS if (count := len(self.of_kind(kind)))}

    def by_severity(self) -> dict[Severity, int]:
        """How many errors, warnings and notes there are."""
        return {severity: sum(f.severity == severity for f in self.findings) for severity in SEVERITIES}

    def count_images(self, manifest: Manifest) -> ImageCounts:
        """How many images of `manifest` were looked at, have an empty mask, and have a file that cannot be read."""
        faulty = self.of_kind("unreadable")
        damaged = {key for finding in faulty for key in finding.keys}
        empty = sum(one.lesion_share is None and one.key not in damaged for one in self.facts)
        counts = manifest.count_images(empty)
        lines = (*manifest.left_out, *dict.fromkeys(finding.message for finding in faulty))
        return replace(counts, used=counts.used - len(damaged), faulty=lines)

    def to_json_dict(self) -> dict[str, Any]:
        """The whole report in JSON's types; each finding with its severity, kinds with what they mean."""
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


def check_dataset(
    manifest: Manifest, folds: FoldPlan | None = None, on_progress: Callable[[int, int], None] | None = None
) -> DataReport:
    """Examine every sample of `manifest` (read without verifying), compare all, and check `folds` for leaks.

    Files that cannot be decoded become findings, and the others are checked all the same. Pictures are decoded one by
    one and only fingerprints kept; `on_progress` gets (pictures done, all).
    """
    findings = [Finding("left out", (), line) for line in manifest.left_out]
    examined: list[Examined] = []
    in_colour = manifest.name in CATALOGUE and CATALOGUE[manifest.name].colour
    with ThreadPoolExecutor(max_workers=2) as pool:
        for one in pool.map(lambda sample: examine(sample, manifest, in_colour), manifest.samples):
            examined.append(one)
            findings += one.findings
            if on_progress is not None:
                on_progress(len(examined), len(manifest.samples))
    facts = tuple(one.facts for one in examined if one.facts is not None)
    findings += find_outliers(facts)
    damaged = {key for finding in findings if finding.kind == "unreadable" for key in finding.keys}
    alike = duplicate_thresholds(manifest)
    prints = {one.key: one.fingerprint for one in examined if one.fingerprint is not None}
    duplicates = match_fingerprints(prints, alike.thumbnail, detail_correlation=alike.detail)
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
        findings=_in_order(findings),
        classes=by_class(facts),
        facts=facts,
        duplicates=duplicates,
        agreements=agreements,
        folds=counts,
    )


def without_folder(text: str, root: Path) -> str:
    """`text` with the files of the data set at `root` named from its own folder on, not from that of the machine."""
    return text.replace(f"{root}/", "").replace(str(root), root.name) if root.is_absolute() else text


def without_folders(report: DataReport, root: Path) -> DataReport:
    """`report` as it can be handed on: no finding names the folder that the data set at `root` is in."""
    findings = tuple(replace(one, message=without_folder(one.message, root)) for one in report.findings)
    return replace(report, dataset=without_folder(report.dataset, root), findings=findings)


def unreadable_report(dataset: str, error: DataError) -> DataReport:
    """The report of a data set that its reader refuses: each problem is a finding."""
    problems = error.problems or (error.summary,)
    return DataReport(dataset, 0, tuple(Finding("unreadable", (), problem) for problem in problems))


def _in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors, then warnings, then notes; of a severity as KINDS has them; of a kind the heaviest first."""
    kinds = list(KINDS)
    return tuple(
        sorted(
            findings,
            key=lambda f: (SEVERITIES.index(f.severity), kinds.index(f.kind), -f.weight),
        )
    )
