"""Groups under several labels, disagreeing masks, and groups that a fold file splits are reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from taichinet.datasets.checks.leakage import compare_masks, count_folds, find_disagreements, find_groups, find_leaks
from taichinet.datasets.duplicates.search import DuplicatePair, DuplicateReport
from taichinet.datasets.folds import NEVER_TESTED, FoldPlan
from taichinet.datasets.manifest import Manifest, Mask, Sample


def make_sample(
    folder: Path, key: str, rows: int, label: str = "benign", patient: str | None = None, size: int = 40
) -> Sample:
    """An image whose mask covers the upper `rows` of 40 (scaled to `size`)."""
    folder.mkdir(exist_ok=True)
    mask = np.zeros((size, size), np.uint8)
    mask[: rows * size // 40] = 255
    for name, pixels in (("image", np.full((size, size), 90, np.uint8)), ("mask", mask)):
        Image.fromarray(pixels).save(folder / f"{key} {name}.png")
    return Sample(key, label, folder / f"{key} image.png", (Mask(folder / f"{key} mask.png"),), patient)


def make_pair(first: str, second: str, kind: str = "altered") -> DuplicatePair:
    return DuplicatePair(first, second, kind, 0.9)  # type: ignore[arg-type]


def make_plan(fold_of: dict[str, int], digest: str = "") -> FoldPlan:
    return FoldPlan("x", digest, "paper", 0, 2, (), fold_of)


def test_group_with_two_labels_is_reported() -> None:
    report = DuplicateReport((make_pair("a", "b"), make_pair("b", "c", "cropped")), (("a", "b", "c"),))
    findings = list(find_groups(report, {"a": "benign", "b": "benign", "c": "malignant"}))
    assert [(finding.kind, finding.keys) for finding in findings] == [
        ("near-duplicates", ("a", "b", "c")),
        ("contradictory labels", ("b", "c")),
    ]
    assert "(1 altered pair, 1 cropped pair)" in findings[0].message
    assert "b is labelled benign, c malignant" in findings[1].message


def test_masks_of_copies_are_compared_at_one_size_and_disagreement_is_reported(tmp_path: Path) -> None:
    samples = {
        s.key: s
        for s in (
            make_sample(tmp_path, "a", 20),
            make_sample(tmp_path, "b", 20, size=80),
            make_sample(tmp_path, "c", 5),
            make_sample(tmp_path, "d", 0),
            make_sample(tmp_path, "e", 0),
        )
    }
    pairs = (
        make_pair("a", "b"),
        make_pair("a", "c"),
        make_pair("a", "d"),
        make_pair("d", "e"),
        make_pair("b", "c", "cropped"),
    )
    agreements = compare_masks(DuplicateReport(pairs, ()), Manifest("busi", tuple(samples.values())))
    assert [(agreement.first, agreement.second, agreement.dice) for agreement in agreements] == [
        ("a", "b", 1.0),
        ("a", "c", 2 * 5 / 25),
        ("a", "d", 0.0),
    ]
    assert [finding.keys for finding in find_disagreements(agreements)] == [("a", "c"), ("a", "d")]


def test_split_scenes_and_split_patients_are_reported_with_their_folds(tmp_path: Path) -> None:
    manifest = Manifest(
        "x", tuple(make_sample(tmp_path, key, 5, patient=p) for key, p in zip("abcdef", "112233", strict=True))
    )
    fold_of = {"a": 0, "b": 0, "c": 0, "d": 1, "e": 1, "f": 1}
    groups = (("a", "e"), ("e", "f"))
    scene, patient = find_leaks(make_plan(fold_of, manifest.digest()), manifest, groups)
    assert (scene.kind, scene.keys) == ("split scene", ("a", "e"))
    assert "This scene is split: fold 0 tests a; fold 1 tests e." in scene.message
    assert (patient.kind, patient.keys) == ("split patient", ("c", "d"))
    counts = count_folds(make_plan(fold_of), manifest.labels, (*groups, *manifest.patients))
    assert [(row.fold, row.images, row.by_label, row.leaking) for row in counts] == [
        (0, 3, (("benign", 3),), 2),
        (1, 3, (("benign", 3),), 2),
    ]


def test_image_never_tested_by_official_split_is_reported_without_fold_number(tmp_path: Path) -> None:
    manifest = Manifest(
        "x", (make_sample(tmp_path, "a", 5), make_sample(tmp_path, "b", 5), make_sample(tmp_path, "c", 5))
    )
    official = make_plan({"a": 0, "b": NEVER_TESTED, "c": NEVER_TESTED}, manifest.digest())
    (leak,) = find_leaks(official, manifest, (("a", "b"), ("b", "c")))
    assert leak.message == "This scene is split: no fold tests b; fold 0 tests a."


def test_images_outside_the_folds_are_reported_as_note(tmp_path: Path) -> None:
    lesions = Manifest("x", (make_sample(tmp_path, "a", 5), make_sample(tmp_path, "b", 5)))
    all_images = Manifest(
        "x", (*lesions.samples, make_sample(tmp_path, "n", 0, "normal"), make_sample(tmp_path, "m", 0, "normal"))
    )
    (note,) = find_leaks(make_plan({"a": 0, "b": 1}, lesions.digest()), all_images, (("a", "n"),))
    assert (note.kind, note.severity, note.keys) == ("outside folds", "note", ("n", "m"))
    assert note.message == "The folds leave out 2 images (2 normal): n, m."
    (note_of_one_fold,) = find_leaks(
        make_plan(dict.fromkeys("a", 0), all_images.subset({"a"}).digest()), all_images, ()
    )
    assert note_of_one_fold.message == "The folds leave out 3 images (1 benign, 2 normal): b, n, m."
    extra_keys = {f"z{number}": 0 for number in range(7)}
    assert (
        "has 7 keys without an image: z0, z1, z2, z3, z4 and 2 more."
        in list(find_leaks(make_plan({"a": 0, **extra_keys}), all_images, ()))[-1].message
    )
    kinds = [finding.kind for finding in find_leaks(make_plan({"a": 0, "b": 1}, "of other pixels"), all_images, ())]
    assert kinds == ["outside folds", "other fold file"]


def test_fold_file_of_other_images_is_reported(tmp_path: Path) -> None:
    manifest = Manifest("x", (make_sample(tmp_path, "a", 5), make_sample(tmp_path, "b", 5)))
    missing, foreign = find_leaks(make_plan({"a": 0, "z": 1}), manifest, ())
    assert (missing.keys, foreign.keys) == (("b",), ("z",))
    (other,) = find_leaks(make_plan({"a": 0, "b": 1}, "of other pixels"), manifest, ())
    assert other.kind == "other fold file"
    assert list(find_leaks(make_plan({"a": 0, "b": 1}, manifest.digest()), manifest, ())) == []
