"""`data check` of a bundle: the findings on masks, labels, near-duplicates and folds, and what is not checked."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import change_record
from PIL import Image
from typer.testing import CliRunner

from taichinet.cli.app import app
from taichinet.datasets.phantoms.folder import write_phantom_busi

MARKS = ("caliper", "dotted line", "text", "drawn line", "colour", "corner mark", "ruler", "black frame")
ONLY_ORIGINAL = {"several masks", "several parts", "disagreeing masks", *MARKS}


def check(*words: object, code: int = 0) -> dict[str, Any]:
    """The JSON report of `taichinet data check WORDS`."""
    done = CliRunner().invoke(app, ["data", "check", *(str(word) for word in words), "--json"])
    assert done.exit_code == code, done.output
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms with an empty mask, a speck, an image under two labels, and a lesion with two masks."""
    folder = write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 12, 10, 8, seed=1, size=(96, 128))
    benign, malignant = folder / "benign", folder / "malignant"
    Image.fromarray(np.zeros((96, 128), np.uint8)).save(_mask(benign, 1))
    mask = np.array(Image.open(_mask(benign, 2)))
    mask[0, 0] = 255
    Image.fromarray(mask).save(_mask(benign, 2))
    shutil.copy(benign / "benign (3).png", malignant / "malignant (3).png")
    second = np.zeros((96, 128), np.uint8)
    second[80:90, 5:25] = 255
    Image.fromarray(second).save(benign / "benign (4)_mask_1.png")
    return folder


def _mask(folder: Path, number: int) -> Path:
    return folder / f"{folder.name} ({number})_mask.png"


@pytest.fixture(scope="module")
def bundle(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "busi-32.zip"
    assert CliRunner().invoke(app, ["data", "bundle", str(data), "--size", "32", "-o", str(path)]).exit_code == 0
    return path


def test_findings_are_those_of_the_original_apart_from_what_is_not_checked(data: Path, bundle: Path) -> None:
    original, bundled = check(data), check(bundle)

    def keys(report: dict[str, Any], kind: str) -> list[list[str]]:
        return sorted(finding["keys"] for finding in report["findings"] if finding["kind"] == kind)

    assert (bundled["dataset"], bundled["images"]) == (original["dataset"], original["images"])
    for kind in set(original["counts"]) - ONLY_ORIGINAL - {"outlier"}:
        assert keys(bundled, kind) == keys(original, kind), kind
    assert keys(bundled, "empty mask") == [["benign (1)"]]
    assert ["benign (2)"] in keys(bundled, "specks")
    assert keys(bundled, "contradictory labels") == [["benign (3)", "malignant (3)"]]
    assert not set(bundled["counts"]) & ONLY_ORIGINAL
    assert bundled["counts"]["not checked"] == 1
    assert bundled["used_and_skipped"] == original["used_and_skipped"]
    sizes = [[(row["key"], row["height"], row["width"]) for row in report["facts"]] for report in (original, bundled)]
    assert sizes[0] == sizes[1]


def test_terminal_and_page_say_what_was_not_checked(bundle: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "check", str(bundle), "--report", str(tmp_path / "page.html")])

    assert done.exit_code == 0
    assert "burnt-in marks, frames, single mask files" in done.stdout
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "burnt-in marks, frames, single mask files" in page
    assert "data:image/jpeg" not in page


def test_leaks_of_a_fold_file_are_found(data: Path, bundle: Path, tmp_path: Path) -> None:
    record = json.loads(zipfile.ZipFile(bundle).read("bundle.json"))
    (plan,) = (plan for plan in record["complete"]["plans"] if plan["protocol"] == "grouped")
    plan["fold_of"]["benign (3)"], plan["fold_of"]["malignant (3)"] = 0, 1
    (tmp_path / "folds.json").write_text(json.dumps(plan))

    reports = [check(given, "--folds", tmp_path / "folds.json") for given in (data, bundle)]

    assert reports[1]["counts"]["split scene"] == 1
    assert reports[1]["folds"] == reports[0]["folds"]


def test_damaged_member_is_unreadable_with_exit_code_3_and_the_others_are_checked(bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(damaged, "w") as target:
        for name in source.namelist():
            hit = name in ("images/00005.png", "masks/00007-0.png")
            target.writestr(name, source.read(name)[: -9 if hit else None] + b"x" * (9 if hit else 0))

    report = check(damaged, code=3)

    assert report["counts"]["unreadable"] == 2
    assert report["used_and_skipped"]["skipped"] == 2
    assert len(report["facts"]) == report["images"] - 2


def test_truncated_bundle_is_reported(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "short.zip").write_bytes(bundle.read_bytes()[:5000])

    assert check(tmp_path / "short.zip", code=3)["counts"] == {"unreadable": 1}


@pytest.mark.parametrize("groups", [[["benign (1)", "absent"]], [["benign (1)", "benign (1)"]]])
def test_groups_of_unknown_or_repeated_images_are_refused(
    groups: list[list[str]], bundle: Path, tmp_path: Path
) -> None:
    changed = Path(shutil.copy(bundle, tmp_path / "changed.zip"))
    change_record(changed, lambda record: record["complete"].update(groups=groups))

    (finding,) = check(changed, code=3)["findings"]

    assert "a key in 'groups' occurs twice or is not in 'samples'" in finding["message"]
