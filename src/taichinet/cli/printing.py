"""Print results of commands: tables, or JSON with --json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from taichinet.cli.tables import print_table
from taichinet.datasets.checks.finding import KINDS, counted

if TYPE_CHECKING:  # avoids slow imports that a command may not need
    from taichinet.datasets.checks.check import DataReport
    from taichinet.datasets.manifest import ImageCounts
    from taichinet.evaluation.aggregate import Summary
    from taichinet.evaluation.detection_summary import Detection
    from taichinet.experiments.all_images import TrainedOnAll
    from taichinet.experiments.records import ShiftScores, TrainingRecord

POLICY_NAMES = {"paper": "empty ground truth scores 0", "correct-empty-is-1": "correct empty mask scores 1"}


def print_study(
    folder: Path | None,
    summary: Summary,
    as_json: bool,
    counts: ImageCounts | None = None,
    shifts: Sequence[ShiftScores] = (),
) -> None:
    """Print the scores of a study, its output folder if any, and the numbers of images used and skipped."""
    if as_json:
        content: dict[str, object] = {"folder": None if folder is None else str(folder)}
        content["summary"] = summary.model_dump(mode="json")
        if shifts:
            content["shifts"] = [scores.model_dump(mode="json") for scores in shifts]
        print(json.dumps(content if counts is None else {**content, "images": counts.to_json_dict()}))
        return
    console = Console(soft_wrap=True)
    print_table(summary_table(summary), console)
    for dataset, normal in {"": summary.normal_images, **summary.normal_images_by_dataset}.items():
        if normal.images:
            console.print(
                f"Normal images{f' of {dataset}' if dataset else ''}: {normal.images}; false-positive rate "
                f"{normal.false_positive_rate:.3f}, mean false-positive area {normal.mean_false_positive_area:.4f} of "
                "the image."
            )
    if summary.detection is not None:
        console.print(detection_line(summary.detection), markup=False, highlight=False)
    if shifts:
        print_table(shift_table(shifts), console)
    if folder is not None:
        console.print(f"Written to {folder}", markup=False)
    if counts is not None:
        print_counts(counts)


def print_trained_on_all_json(trained: Sequence[TrainedOnAll]) -> None:
    """Print the network that was trained on all images as JSON; of several seeds, all of them under `networks`."""
    rows = []
    for network in trained:
        decision = network.record.decision
        row = {
            "folder": str(network.folder),
            "decision": None if decision is None else decision.model_dump(mode="json"),
        }
        rows.append({**row, "decision_folds": network.record.decision_folds})
    print(json.dumps(rows[0] if len(rows) == 1 else {"networks": rows}))


def print_trained_on_all(folder: Path, record: TrainingRecord) -> None:
    """Print the folder of a network that was trained on all images, and where its decision and scores come from."""
    done, study = len(record.decision_folds), folder.parent
    if record.experiment.decision.calibrate and done < record.folds:
        source = f"the mean of {done} of {record.folds} folds" if done else "a threshold of 0.5"
        advice = "Train the other folds, then repeat this command with --resume to update it; nothing is trained again."
        text = f"Its decision is {source}. {advice}"
    elif record.decision is None:
        text = "Its decision is a threshold of 0.5."
    else:
        text = f"Its decision is the mean of {done} folds."
    lines = (
        f"Trained on all {record.images} images of {record.dataset}. {text}",
        f"It has no test scores: those of the recipe are in {study / 'summary.json'}.",
        f"Written to {folder}",
    )
    Console().print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)


def detection_line(detection: Detection) -> str:
    """Lesions that are found and normal images with a prediction, with Wilson intervals."""
    from taichinet.reports.document.format import rate

    lesions, normal = detection.lesions, detection.normal_images
    texts = [f"Lesions found: {lesions.events} of {lesions.total}, {rate(lesions)}"] if lesions.total else []
    if normal.total:
        texts.append(f"Normal images with a prediction: {normal.events} of {normal.total}, {rate(normal)}")
    return f"{'; '.join(texts)} (original resolution, 95 % Wilson intervals)."


def print_counts(counts: ImageCounts, dataset: str = "") -> None:
    """Print the numbers of images used, with an empty mask, and skipped, to standard error."""
    Console(stderr=True).print(counts.sentence(dataset), soft_wrap=True, markup=False, highlight=False)


def print_skipped(lines: Sequence[str], most: int = 3) -> None:
    """Print the first skipped images with the reason, and the number of further ones, to standard error."""
    console = Console(stderr=True, soft_wrap=True)
    for line in lines[:most]:
        console.print(f"Skipped: {line}", markup=False, highlight=False)
    if len(lines) > most:
        console.print(f"Skipped: {len(lines) - most} more", highlight=False)


def shift_table(shifts: Sequence[ShiftScores]) -> Table:
    """Dice, its loss and false positives for each shift."""
    from taichinet.reports.document.format import number, percent

    table = Table("Change of the images", title="Changed images, at input resolution", box=SIMPLE_HEAD)
    for heading in ("DI", "Loss of DI", "Lesion images", "Normal images with a prediction"):
        table.add_column(heading, justify="right")
    for row in shifts:
        false = f"{percent(row.false_positive_rate)} of {row.normal_images}" if row.normal_images else ""
        table.add_row(row.shift, number(row.dice, 3), number(row.lost_dice, 3), str(row.lesion_images), false)
    return table


def summary_table(summary: Summary) -> Table:
    """Mean ± standard deviation over folds: one column per group, one row per score.

    Scores are at the input resolution of the network; DI and HD95 are also at the original resolution. The group of all
    images is shown only if there are normal images: without them it equals the group of lesion images. So does the
    class "lesion" of a data set without classes.
    """
    from taichinet.reports.document.format import SHORT, digits_of, scored

    groups = [
        group
        for group in summary.groups
        if group.images
        and (summary.normal_images.images or group.group != "all")
        and group.group != "normal"
        and (group is summary.lesion or group.group != "lesion")
    ]
    table = Table(title="Mean ± standard deviation over folds")
    table.add_column("")
    for group in groups:
        policy = "" if group.policy is None else f"\n{POLICY_NAMES[group.policy]}"
        table.add_column(f"{escape(group.group)} images{policy}\nn = {group.images}", justify="right")
    for score, heading in SHORT.items():
        table.add_row(heading, *(scored(group.score(score), digits_of(score)) for group in groups))
    for score, heading in (("dice", "DI, original resolution"), ("hd95", "HD95, original resolution")):
        table.add_row(heading, *(scored(group.score(score, "native"), digits_of(score)) for group in groups))
    return table


def print_data_report(report: DataReport, page: Path | None) -> None:
    """Print the number of findings of each kind with the most severe one, unreadable files, and the fold leakage."""
    console = Console(soft_wrap=True)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "kind", "findings", "images"):
        table.add_column(heading, justify="right" if heading in ("findings", "images") else "left")
    table.add_column("most severe")
    for kind, count in report.counts().items():
        findings = report.of_kind(kind)
        images = len({key for finding in findings for key in finding.keys})
        keys = findings[0].keys
        most_severe = ", ".join(keys[:2]) + (", ..." if len(keys) > 2 else "")
        severity = KINDS[kind].severity
        table.add_row(severity, KINDS[kind].title, str(count), str(images), escape(most_severe))
    if report.images:
        console.print(f"[bold]{escape(report.dataset)}[/]: {report.images} images", highlight=False)
        print_table(table, console)
    for finding in report.of_kind("unreadable"):
        console.print(f"[bold red]Cannot be read:[/] {escape(finding.message)}")
    for finding in (f for kind in ("other fold file", "outside folds", "not checked") for f in report.of_kind(kind)):
        console.print(escape(finding.message), highlight=False)
    for fold in report.folds:
        labels = ", ".join(f"{images} {label}" for label, images in fold.by_label)
        console.print(f"Fold {fold.fold}: {fold.images} images ({labels}), {fold.leaking} leaking", markup=False)
    if report.mean_agreement is not None:
        pairs = counted(len(report.agreements), "pair")
        mean = f"{report.mean_agreement:.3f}"
        console.print(f"Mean Dice between the masks of near-duplicates: {mean} ({pairs}).")
    if page is not None:
        console.print(f"Written to {page}", markup=False)
