"""A radiologist segments a folder of her own images, looks at the page, and corrects what failed."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest
from cli.test_commands import run
from inference.test_contact_sheet import Page
from PIL import Image

from sessions import SOURCES, first_command
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import PartialFailureError
from taichinet.storage.digest import digest_file

NAMES = {  # image: name of its maps
    "bild.png": "bild",
    "Patientin Müller/Aufnahme 1.JPG": "Patientin Müller/Aufnahme 1",
    "Patientin Müller/links/ä?&%20 <b>.tif": "Patientin Müller/links/ä?&%20 <b>",
    "rechts #2/bild.png": "rechts #2/bild_png",
    "rechts #2/bild.bmp": "rechts #2/bild_bmp",
    "rechts #2/screenshot.webp": "rechts #2/screenshot",
}
FAILED = {"torn.png": "cut short or damaged", "empty.png": "zero bytes"}
MAPS = ("mask", "probability", "disagreement", "overlay")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 7, 1, 0, seed=3, size=(96, 128))
    return sorted((folder / "benign").glob("*).png"))


@pytest.fixture(scope="module")
def scans(phantoms: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("radiologist") / "Meine Bilder 2026"
    for phantom, name in zip(phantoms, NAMES, strict=False):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(phantom) as image:
            image.convert("RGBA" if name.endswith("webp") else "RGB").save(folder / name)
    (folder / "torn.png").write_bytes(phantoms[-1].read_bytes()[:3000])
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("BI-RADS", encoding="utf-8")
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): digest_file(file) for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def masks(scans: Path) -> Path:
    """The first run, with the weights in the package: two images fail, and all others are segmented."""
    before, output = digests(scans), scans.parent / "masks"
    result = first_command("predict", "-r", scans, "-o", output, code=7)
    assert "6 of 8 images predicted" in result.stdout
    assert "not an image file type: notes.txt" in result.stderr
    for name, reason in FAILED.items():
        assert any(name in line and reason in line for line in result.stderr.splitlines())
    assert digests(scans) == before
    return output


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_every_image_has_maps_of_its_size_and_a_place_on_the_page(scans: Path, masks: Path) -> None:
    page = Page((masks / "index.html").read_text(encoding="utf-8"))
    addresses = {unquote(address) for address in page.addresses}
    for file, name in NAMES.items():
        with Image.open(scans / file) as image, Image.open(masks / f"{name}_mask.png") as mask:
            assert mask.size == image.size
            assert set(mask.convert("L").tobytes()) <= {0, 255}
        assert {f"{name}_{kind}.png" for kind in MAPS} <= addresses
        assert all((masks / f"{name}_{kind}.png").is_file() for kind in MAPS)
    assert len(page.cards) == len(NAMES)
    assert "2 failed" in page.text
    found = [row for row in rows_of(masks).values() if row["lesion_pixels"] not in ("", "0")]
    assert len(found) >= 3, "the lesions of phantoms are easy"


def test_every_row_says_how_its_mask_was_made(masks: Path) -> None:
    weights = SOURCES / "taichinet" / "weights" / "best-lite" / "model.safetensors"
    rows = rows_of(masks)
    assert sorted(rows) == sorted([*NAMES.values(), "torn", "empty"])
    for entry in json.loads((masks / "predictions.json").read_text(encoding="utf-8")):
        assert entry["weights_digest"] == rows[entry["name"]]["weights_digest"] == digest_file(weights)
        assert entry["weights"] == rows[entry["name"]]["weights"] == "best-lite"
        assert entry["status"] == rows[entry["name"]]["status"] == ("failed" if entry["error"] else "done")
        assert {"runtime", "precision", "threshold", "version"} <= entry.keys()


def test_next_runs_segment_only_what_is_new_or_changed(
    scans: Path, masks: Path, phantoms: list[Path], tmp_path: Path
) -> None:
    mine, output = tmp_path / "scans", tmp_path / "masks"
    shutil.copytree(scans, mine)
    with pytest.raises(PartialFailureError, match="2 of 8 images failed"):
        run("predict", "-r", mine, "-o", output)
    assert {name: row["lesion_pixels"] for name, row in rows_of(output).items()} == {
        name: row["lesion_pixels"] for name, row in rows_of(masks).items()
    }
    first = {name: (output / f"{name}_mask.png").stat().st_mtime_ns for name in NAMES.values()}
    shutil.copy(phantoms[-1], mine / "torn.png")
    (mine / "empty.png").unlink()
    assert "7 of 7 images predicted" in run("predict", "-r", mine, "-o", output)
    assert {name: (output / f"{name}_mask.png").stat().st_mtime_ns for name in NAMES.values()} == first
    assert {row["status"] for row in rows_of(output).values()} == {"done"}
    assert (output / "torn_overlay.png").is_file()
    run("predict", "-r", mine, "-o", output, "--threshold", 0.9)
    rows = rows_of(output)
    assert {row["threshold"] for row in rows.values()} == {"0.9"}
    assert all((output / f"{name}_mask.png").stat().st_mtime_ns > time for name, time in first.items())


def test_subfolders_that_are_not_read_are_named(scans: Path, tmp_path: Path) -> None:
    result = first_command("predict", scans, "-o", tmp_path / "masks", code=7)
    assert "1 of 3 images predicted" in result.stdout
    assert "Skipped 2 subfolders, only read with --recursive: Patientin Müller, rechts #2" in result.stderr
