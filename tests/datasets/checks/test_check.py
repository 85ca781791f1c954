"""The complete check: every kind of finding appears in the report, and BUSI's known faults are found."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from fakes.busi import make_fake_busi
from fakes.graphics import cross, dots, in_colour, ticks, tissue, upright_line, word
from PIL import Image

from taichinet.datasets.checks.check import DataReport, check_dataset, unreadable_report
from taichinet.datasets.checks.finding import KINDS, FindingKind
from taichinet.datasets.folds import make_folds
from taichinet.datasets.manifest import Manifest, Mask, Sample
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import DataError
from taichinet.progress import progress_to

BUSI = Path(os.environ.get("TAICHINET_DATA", ""), "Dataset_BUSI_with_GT")


def make_sample(
    folder: Path, key: str, pixels: np.ndarray, mask: np.ndarray | None = None, label: str = "benign"
) -> Sample:
    if mask is None:
        mask = np.zeros(pixels.shape[:2], np.uint8)
        mask[60:100, 90:140] = 255
    Image.fromarray(pixels).save(folder / f"{key}.png")
    Image.fromarray(mask).save(folder / f"{key}_mask.png")
    return Sample(key, label, folder / f"{key}.png", (Mask(folder / f"{key}_mask.png"),))


def faulty_manifest(folder: Path) -> Manifest:
    """One image for nearly every kind of finding, each with different tissue."""
    mask = np.zeros((160, 220), np.uint8)
    mask[60:100, 90:140] = 255
    empty_mask, tiny_mask, several_parts, specks, holes, border = (mask.copy() for _ in range(6))
    empty_mask[:] = 0
    tiny_mask[:] = 0
    tiny_mask[80:84, 100:106] = 255
    several_parts[20:40, 20:60] = 255
    specks[10, 10] = 255
    holes[70:73, 100:104] = 0
    border[60:100, 200:] = border[60:100, 140:200] = 255
    samples = [
        make_sample(folder, key, tissue(seed=number), changed)
        for number, (key, changed) in enumerate(
            (
                ("empty", empty_mask),
                ("tiny", tiny_mask),
                ("parts", several_parts),
                ("specks", specks),
                ("holes", holes),
                ("border", border),
            )
        )
    ]
    samples.append(make_sample(folder, "painted", tissue(seed=10), label="normal"))
    graphics: dict[str, Callable[[np.ndarray], object]] = {
        "crosses": lambda image: cross(image, 70, 90),
        "dots": lambda image: dots(image, 60, 60),
        "words": lambda image: word(image, "LTH", 120, 50),
        "line": lambda image: upright_line(image, 130, 30, 110),
        "corner": lambda image: word(image, "I", 2, 4, size=2),
        "ruler": lambda image: ticks(image, 5, 24, count=6),
        "frame": lambda image: image.__setitem__(slice(130, None), 0),
    }
    for number, (key, draw) in enumerate(graphics.items(), start=20):
        image = tissue(seed=number)
        draw(image)
        samples.append(make_sample(folder, key, image))
    samples.append(make_sample(folder, "colour", in_colour(tissue(seed=30), (40, 100, 12, 20))))
    samples.append(make_sample(folder, "bright", np.clip(tissue(seed=31) * 0.2 + 200, 0, 255).astype(np.uint8)))
    original = tissue(seed=32)
    samples.append(make_sample(folder, "one", original))
    samples.append(
        make_sample(folder, "two", (original * 0.9).astype(np.uint8), np.roll(mask, 30, axis=0), "malignant")
    )
    lesions = samples[2]
    second = folder / "parts_mask_1.png"
    Image.fromarray(mask).save(second)
    samples[2] = Sample(lesions.key, lesions.label, lesions.image, (*lesions.masks, Mask(second)))
    broken = make_sample(folder, "broken", tissue(seed=33))
    (folder / "broken.png").write_bytes((folder / "broken.png").read_bytes()[:200])
    return Manifest("faulty", (*samples, broken), left_out=("someone's mask is of another size",))


TESTED_ELSEWHERE: set[FindingKind] = {
    "inverted mask",
    "region outside",
    "split scene",
    "split patient",
    "other fold file",
    "outside folds",
    "not checked",
    "outlier",
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> DataReport:
    manifest = faulty_manifest(tmp_path_factory.mktemp("faulty"))
    return check_dataset(manifest)


EXPECTED: dict[FindingKind, set[tuple[str, ...]]] = {
    "unreadable": {("broken",)},
    "contradictory labels": {("one", "two")},
    "empty mask": {("empty",)},
    "painted normal": {("painted",)},
    "disagreeing masks": {("one", "two")},
    "near-duplicates": {("one", "two")},
    "tiny mask": {("tiny",)},
    "several parts": {("parts",)},
    "specks": {("specks",)},
    "holes": {("holes",)},
    "caliper": {("crosses",)},
    "dotted line": {("dots",)},
    "text": {("words",)},
    "drawn line": {("line",)},
    "colour": {("colour",)},
    "several masks": {("parts",)},
    "touches border": {("border",)},
    "corner mark": {("corner",)},
    "ruler": {("ruler",)},
    "black frame": {("frame",)},
    "left out": {()},
}


def test_every_kind_of_finding_is_tested_here_or_elsewhere() -> None:
    assert EXPECTED.keys() | TESTED_ELSEWHERE == KINDS.keys()


@pytest.mark.parametrize("kind", EXPECTED)
def test_each_fault_is_reported_for_its_image_only(report: DataReport, kind: FindingKind) -> None:
    assert {finding.keys for finding in report.of_kind(kind)} == EXPECTED[kind]


def test_image_of_unusual_brightness_is_outlier_and_marked_images_are_not(report: DataReport) -> None:
    outliers = {finding.keys for finding in report.of_kind("outlier")}
    assert ("bright",) in outliers
    assert outliers.isdisjoint({("crosses",), ("words",), ("holes",)})


def test_damaged_image_makes_data_set_unreadable_but_other_images_are_checked(report: DataReport) -> None:
    assert not report.readable
    assert len(report.facts) == report.images - 1


def test_findings_are_sorted_by_severity_and_report_is_json(report: DataReport) -> None:
    severities = [finding.severity for finding in report.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    report_dict = json.loads(json.dumps(report.to_json_dict()))
    assert report_dict["counts"]["caliper"] == 1
    assert sum(report_dict["by_severity"].values()) == len(report_dict["findings"])
    assert {finding["severity"] for finding in report_dict["findings"]} == {"error", "warning", "note"}


def test_correct_data_set_has_no_error_and_grouped_folds_do_not_leak(tmp_path: Path) -> None:
    manifest = DATASET.read(make_fake_busi(tmp_path, 8, 6, 4))
    plan = make_folds(manifest, (), "grouped", seed=0, count=2)
    progress: list[int] = []
    with progress_to(lambda text, done, total: progress.append(done) if text == "checking images" else None):
        report = check_dataset(manifest, plan)
    assert report.readable
    assert report.by_severity()["error"] == 0
    assert sum(fold.images for fold in report.folds) == 18
    assert all(fold.leaking == 0 for fold in report.folds)
    assert progress == list(range(19))
    assert [row.label for row in report.classes] == ["benign", "malignant", "normal"]


def test_colour_is_no_finding_in_data_set_of_colour_images(tmp_path: Path) -> None:
    fundus = Manifest("drishti-gs", (make_sample(tmp_path, "a", in_colour(tissue(seed=30), (40, 100, 12, 20))),))
    assert check_dataset(fundus).of_kind("colour") == ()
    assert check_dataset(replace(fundus, name="busi")).of_kind("colour")


def test_every_problem_of_a_failed_read_becomes_a_finding() -> None:
    report = unreadable_report("busi=x", DataError("cannot be read", ["a.png: bad", "b.png: worse"]))
    assert [finding.message for finding in report.findings] == ["a.png: bad", "b.png: worse"]
    assert not report.readable
    assert not unreadable_report("x", DataError("There is no x.")).readable


@pytest.mark.real
@pytest.mark.skipif(not BUSI.is_dir(), reason="TAICHINET_DATA has no folder Dataset_BUSI_with_GT")
def test_known_faults_of_real_busi_are_found() -> None:
    manifest = DATASET.read(BUSI, verify=False)
    random = make_folds(manifest, (), "paper", seed=0, count=5)
    report = check_dataset(manifest, random)

    assert report.readable
    assert report.images == 780
    assert {row.label: row.images for row in report.classes} == {"benign": 437, "malignant": 210, "normal": 133}
    assert len(report.of_kind("several masks")) == 17
    assert report.of_kind("empty mask") == report.of_kind("painted normal") == ()
    contradictions = {finding.keys for finding in report.of_kind("contradictory labels")}
    assert contradictions >= {
        ("benign (433)", "malignant (145)"),
        ("benign (437)", "normal (34)"),
        ("benign (269)", "normal (1)"),
        ("benign (131)", "malignant (51)"),
        ("benign (42)", "malignant (51)"),
        ("benign (399)", "malignant (93)"),
        ("benign (164)", "malignant (52)"),
        ("benign (85)", "malignant (52)"),
    }
    assert len(report.duplicates.groups) == pytest.approx(153, abs=3)
    agreement = {(pair.first, pair.second): pair.dice for pair in report.agreements}
    assert agreement["benign (433)", "malignant (145)"] > 0.5
    assert mean(agreement.values()) == pytest.approx(0.794, abs=0.02)  # 0.848 for the pairs found by thumbnails
    # By visual inspection of contact sheets, about one image in six has calipers and one in five has text.
    assert 110 <= len(report.of_kind("caliper")) <= 160
    assert 110 <= len(report.of_kind("dotted line")) <= 135
    assert 130 <= len(report.of_kind("text")) <= 175
    assert {finding.keys for finding in report.of_kind("colour")} >= {("benign (240)",), ("benign (323)",)}
    assert len(report.of_kind("split scene")) > 80  # random folds leak
    assert all(fold.leaking > 10 for fold in report.folds)
