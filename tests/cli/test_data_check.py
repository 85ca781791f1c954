"""`taichinet data check`: its report, its self-contained page, and exit code 3 for unreadable data."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from fakes.busi import make_fake_busi
from fakes.catalogue import FAKES
from PIL import Image
from typer.testing import CliRunner

from taichinet.cli.app import app
from taichinet.cli.data_check import check
from taichinet.datasets.catalogue import list_datasets
from taichinet.datasets.folds import make_folds, write_folds
from taichinet.datasets.readers.busi import DATASET
from taichinet.errors import FoldError


def add_copy(folder: Path) -> Path:
    """Add a darkened copy of a benign image to the malignant ones, with an empty mask, and return `folder`."""
    image = np.asarray(Image.open(folder / "benign" / "benign (2).png").convert("L"))
    Image.fromarray((image * 0.9).astype(np.uint8)).save(folder / "malignant" / "malignant (9).png")
    Image.fromarray(np.zeros(image.shape, np.uint8)).save(folder / "malignant" / "malignant (9)_mask.png")
    return folder


@pytest.mark.parametrize("name", list_datasets())
def test_every_data_set_can_be_checked(name: str, tmp_path: Path) -> None:
    folder, page = FAKES[name](tmp_path), tmp_path / "out" / "page.html"
    result = CliRunner().invoke(app, ["data", "check", f"{name}={folder}", "--report", str(page), "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["dataset"] == name
    assert printed["readable"]
    assert page.stat().st_size > 5_000


def test_findings_are_written_to_a_self_contained_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = add_copy(make_fake_busi(tmp_path))
    check(data=str(folder), report=tmp_path / "page.html", folds=None, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["counts"]["contradictory labels"] == 1
    assert printed["counts"]["empty mask"] == 1
    normal = sum(fact["label"] == "normal" for fact in printed["facts"])
    expected = {"used": printed["images"], "empty_mask": normal + 1, "skipped": 0, "why": []}
    assert printed["used_and_skipped"] == expected
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for text in ("Data check of BUSI", "One scene under two labels", "malignant (9)", "Classes"):
        assert text in page
    assert page.index("One scene under two labels") < page.index("Near-duplicates")
    assert re.findall(r'(?:src|href)="(?!data:image/jpeg;base64,|#)', page) == []
    assert page.count("<img") >= 4


def test_page_limits_images_and_reports_the_remaining_count(tmp_path: Path) -> None:
    folder = make_fake_busi(tmp_path, 4, 40, 2)
    for number in range(1, 41):
        mask = folder / "malignant" / f"malignant ({number})_mask.png"
        Image.new("L", Image.open(mask).size).save(mask)
    check(data=str(folder), report=tmp_path / "page.html", folds=None, as_json=True)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "40 findings, of which the first 24 are shown; the other 16" in page
    assert page.count("<img") < 60


def test_leaks_of_a_fold_file_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = add_copy(make_fake_busi(tmp_path, 6, 6, 4))
    manifest = DATASET.read(folder)
    seed = next(
        seed
        for seed in range(50)
        if (plan := make_folds(manifest, (), "paper", seed, 2)).fold_of["benign (2)"] != plan.fold_of["malignant (9)"]
    )
    write_folds(make_folds(manifest, (), "paper", seed, 2), tmp_path / "folds.json")
    check(data=str(folder), report=None, folds=tmp_path / "folds.json", as_json=False)
    printed = capsys.readouterr().out
    assert "Scenes split" in printed
    assert printed.count("1 leaking") == 2


def test_folds_without_normal_images_are_checked_on_all_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_fake_busi(tmp_path, 6, 6, 4)
    write_folds(make_folds(DATASET.read(folder, include_normal=False), (), "grouped", 0, 2), tmp_path / "folds.json")
    check(data=str(folder), report=tmp_path / "page.html", folds=tmp_path / "folds.json", as_json=False)
    printed = capsys.readouterr().out
    assert "The folds leave out 4 images (4 normal): normal (1), normal (2), normal (3), normal (4).\n" in printed
    assert "does not fit" not in printed
    assert "The folds leave out 4 images" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_summary_does_not_wrap_lines_at_80_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    check(data=str(add_copy(make_fake_busi(tmp_path))), report=None, folds=None, as_json=False)
    printed = capsys.readouterr().out
    assert "One scene under two labels" in printed
    assert "Mean Dice between the masks of near-duplicates: 0.000 (1 pair).\n" in printed


def test_unreadable_fold_file_is_rejected_before_images_are_decoded(tmp_path: Path) -> None:
    (tmp_path / "folds.json").write_text("{")
    with pytest.raises(FoldError):
        check(data=str(tmp_path), report=None, folds=tmp_path / "folds.json", as_json=False)


def test_damaged_image_and_missing_mask_are_reported_with_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_fake_busi(tmp_path)
    broken = folder / "benign" / "benign (2).png"
    broken.write_bytes(broken.read_bytes()[:100])
    page = tmp_path / "page.html"
    with pytest.raises(typer.Exit) as stopped:  # a damaged file: the other files are checked
        check(data=str(folder), report=page, folds=None, as_json=False)
    assert stopped.value.exit_code == 3
    captured = capsys.readouterr()
    assert "benign (2).png: is cut short" in captured.out.replace("\n", " ")
    images = len(list(folder.rglob("*).png")))
    normal = len(list((folder / "normal").glob("*).png")))
    line = f"Images: {images - 1} used, {normal} of them with an empty mask; 1 skipped ({broken}: is cut short"
    assert captured.err.splitlines()[-1].startswith(line)
    assert "cut short" in page.read_text(encoding="utf-8")
    assert "Classes" in page.read_text(encoding="utf-8")
    (folder / "benign" / "benign (3)_mask.png").unlink()
    with pytest.raises(typer.Exit) as stopped:  # a data set that the reader rejects: the report lists its problems
        check(data=str(folder), report=page, folds=None, as_json=True)
    assert stopped.value.exit_code == 3
    printed = json.loads(capsys.readouterr().out)
    assert printed["findings"][0]["kind"] == "unreadable"
    assert printed["used_and_skipped"] is None
    assert "has no mask" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["", "busi=", "folder="])
@pytest.mark.parametrize(("exists", "message"), [(True, "is not|no known"), (False, "does not exist")])
def test_empty_and_missing_folders_exit_with_code_3_and_write_a_page(
    name: str, exists: bool, message: str, tmp_path: Path
) -> None:
    folder, page = tmp_path / "data", tmp_path / "page.html"
    if exists:
        folder.mkdir()
    result = CliRunner().invoke(app, ["data", "check", f"{name}{folder}", "--report", str(page)])
    assert result.exit_code == 3
    assert re.search(message, result.output)
    assert str(folder) in result.output
    assert "Files that cannot be read" in page.read_text(encoding="utf-8")
    assert re.search(message, page.read_text(encoding="utf-8"))
    assert CliRunner().invoke(app, ["data", "check", f"{name}{folder}", "--json"]).exit_code == 3


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_interrupted_check_exits_with_130_and_no_traceback(tmp_path: Path) -> None:
    folder = make_fake_busi(tmp_path, 4, 4, 2)
    interrupting_code = (
        "import os, signal, threading, time\n"
        "import taichinet.datasets.checks.check as check\n"
        "from taichinet.cli.app import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background may have it ignored\n"
        "match_fingerprints = check.match_fingerprints\n"
        "def interrupted(*args, **kwargs):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(5)\n"
        "    return match_fingerprints(*args, **kwargs)\n"
        "check.match_fingerprints = interrupted\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", interrupting_code, "data", "check", str(folder)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert "Traceback" not in done.stderr
