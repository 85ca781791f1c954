"""`taichinet predict`: image formats, failures, interrupted runs, and protection of existing files."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
import torch
import typer
from fakes.busi import make_fake_busi
from helpers import default_interrupt
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner, Result

from taichinet.cli.predict import predict
from taichinet.errors import DataError, LockedError, PartialFailureError, SettingError, WeightsError
from taichinet.inference import shipped
from taichinet.inference.outputs import JOURNAL
from taichinet.inference.predictor import NetworkInput, Predictor
from taichinet.inference.runtimes.runtime import Maps
from taichinet.models.catalogue import create_model
from taichinet.models.weights import save_weights
from taichinet.models.weights_folder import WeightsConfig
from taichinet.storage.atomic import replacing
from taichinet.storage.csv_cells import escape_cell
from taichinet.storage.digest import digest_file
from taichinet.storage.lock import locked
from taichinet.version import __version__


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_weights(tmp_path_factory.mktemp("weights"), "taichinet")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    return folder


def random_weights(folder: Path, model: str, **options: object) -> Path:
    torch.manual_seed(0)
    options = {"width": 2, **options}
    return save_weights(create_model(model, **options), WeightsConfig(model, options, 32), folder)


def random_image(height: int = 20, width: int = 30, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8))


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(predict)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows_in(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "predictions.json").read_text())
    return rows


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


def names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_folder_gives_three_maps_per_image_and_one_table(scans: Path, weights: Path, tmp_path: Path) -> None:
    random_image(20, 30).save(scans / "a.png")
    random_image(41, 17).save(scans / "b.JPG")
    out = tmp_path / "deep" / "out"
    result = run(scans, "--weights", weights, "-o", out)
    assert result.exit_code == 0, result.output
    assert names_in(out) == {
        *(f"{name}_{kind}.png" for name in "ab" for kind in ("mask", "probability", "disagreement", "overlay")),
        "predictions.csv",
        "predictions.json",
        "index.html",
    }
    first, second = rows_in(out)
    assert [first["file"], second["file"]] == [str(scans / "a.png"), str(scans / "b.JPG")]
    for row, size in ((first, (20, 30)), (second, (41, 17))):
        assert (row["height"], row["width"]) == size
        mask = read(out / f"{row['name']}_mask.png")
        probability = read(out / f"{row['name']}_probability.png")
        disagreement = read(out / f"{row['name']}_disagreement.png")
        assert mask.shape == probability.shape == disagreement.shape == size
        assert set(np.unique(mask)) <= {0, 255}
        assert row["lesion_pixels"] == np.count_nonzero(mask)
        assert row["area_share"] == pytest.approx(np.count_nonzero(mask) / mask.size)
        assert row["max_probability"] == pytest.approx(probability.max() / 255, abs=1 / 255)
        assert row["mean_disagreement"] == pytest.approx(disagreement.mean() / 255, abs=1 / 255)
        assert (row["status"], row["error"]) == ("done", None)
        assert row["seconds"] > 0
    with (out / "predictions.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert list(table[0]) == list(first)
    assert table[0] == {key: "" if value is None else str(value) for key, value in first.items()}


def test_each_row_has_the_origin_of_the_results(scans: Path, weights: Path, tmp_path: Path) -> None:
    random_image().save(scans / "a.png")
    (scans / "b.png").write_bytes(b"torn")
    named = tmp_path / "mine"
    shutil.copytree(weights, named)
    with pytest.raises(PartialFailureError):
        predict([scans], tmp_path / "out", named, threshold=0.3, runtime="eager")
    for row in rows_in(tmp_path / "out"):
        assert (row["weights"], row["runtime"], row["precision"]) == ("mine", "eager", "float32")
        assert row["weights_digest"] == digest_file(named / "model.safetensors")
        assert (row["threshold"], row["version"]) == (0.3, __version__)
    trained = tmp_path / "busi" / "weights"  # as in a run
    origin = {"dataset": "busi", "recipe": "best-lite", "protocol": "grouped", "include_normal": False}
    save_weights(create_model("unet", width=2), WeightsConfig("unet", {"width": 2}, 32, provenance=origin), trained)
    result = run(scans / "a.png", "-w", trained, "-o", tmp_path / "out")
    assert rows_in(tmp_path / "out")[0]["weights"] == "busi/best-lite/grouped/busi"
    assert "was trained without normal images" in result.stderr
    assert "Runtime: tuned" in result.stderr
    assert "the default for these weights" in result.stderr


def test_page_links_every_output_in_subfolders_with_any_name(scans: Path, weights: Path, tmp_path: Path) -> None:
    names = ["a & b#1/x <y>.png", "100%/c d.png", os.fsdecode(b"\xff.png"), "'q\".png"]
    for name in names:
        (scans / name).parent.mkdir(exist_ok=True)
        random_image().save(scans / name)
    out = tmp_path / "out"
    assert run(scans, "-r", "-w", weights, "-o", out).exit_code == 0
    addresses = re.findall(r'(?:href|src)="([^"#]+)"', (out / "index.html").read_text(encoding="utf-8"))
    linked = {out / os.fsdecode(unquote_to_bytes(address)) for address in addresses}
    written = {path for path in out.rglob("*") if path.is_file() and path.name != "index.html"}
    assert linked == written
    assert len(written) == 4 * len(names) + 2
    result = run(scans, "-r", "-w", weights, "-o", out, "--no-overlay")
    assert result.exit_code == 0, result.output
    assert {path for path in out.rglob("*") if path.is_file()} == {
        path for path in written if not path.name.endswith("_overlay.png")
    }


def test_page_and_overlay_of_another_program_are_not_overwritten(scans: Path, weights: Path, tmp_path: Path) -> None:
    random_image().save(scans / "a.png")
    (tmp_path / "index.html").write_text("<title>mine</title>")
    random_image().save(tmp_path / "a_overlay.png")
    with pytest.raises(DataError, match="overwritten") as caught:
        predict([scans], tmp_path, weights)
    assert list(caught.value.problems) == [str(tmp_path / name) for name in ("a_overlay.png", "index.html")]
    assert (tmp_path / "index.html").read_text() == "<title>mine</title>"


def test_note_for_images_of_another_organ(weights: Path, tmp_path: Path) -> None:
    thyroid = tmp_path / "weights"
    origin = {"dataset": "tn3k", "include_normal": True}
    save_weights(create_model("unet", width=2), WeightsConfig("unet", {"width": 2}, 32, provenance=origin), thyroid)
    result = run(make_fake_busi(tmp_path / "data"), "-r", "-w", thyroid, "-o", tmp_path / "out")
    assert "was trained on images of the thyroid (tn3k), but busi shows the breast" in result.stderr
    assert "normal images" not in result.stderr


def test_table_contains_bounding_box_of_mask(scans: Path, weights: Path, tmp_path: Path) -> None:
    random_image(20, 30).save(scans / "a.png")
    run(scans, "-w", weights, "-o", tmp_path / "all", "--threshold", "0")
    run(scans, "-w", weights, "-o", tmp_path / "none", "--threshold", "1")
    box = ("box_top", "box_left", "box_bottom", "box_right")
    (full,), (empty,) = rows_in(tmp_path / "all"), rows_in(tmp_path / "none")
    assert [full[key] for key in box] == [0, 0, 20, 30]
    assert [empty[key] for key in box] == [None] * 4
    assert (full["components"], empty["components"]) == (1, 0)
    assert read(tmp_path / "all" / "a_mask.png").min() == 255


def test_images_of_every_mode_and_size_are_predicted(scans: Path, weights: Path, tmp_path: Path) -> None:
    grey = random_image(20, 30)
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    grey.save(scans / "turned.jpg", exif=exif)
    wide.save(scans / "sixteen.tif")
    wide.save(scans / "sixteen.png")
    grey.convert("CMYK").save(scans / "cmyk.tiff")
    grey.convert("RGBA").save(scans / "alpha.webp")
    grey.convert("P").save(scans / "palette.bmp")
    random_image(1, 1).save(scans / "dot.png")
    random_image(3000, 20).save(scans / "tall.png")
    result = run(scans, "-w", weights, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    sizes = {Path(row["file"]).name: (row["height"], row["width"]) for row in rows_in(tmp_path / "out")}
    assert sizes.pop("turned.jpg") == (30, 20)
    assert sizes.pop("dot.png") == (1, 1)
    assert sizes.pop("tall.png") == (3000, 20)
    assert len(sizes) == 5
    assert set(sizes.values()) == {(20, 30)}


def test_colour_network_reads_colour(scans: Path, tmp_path: Path) -> None:
    colour = random_weights(tmp_path / "weights", "unet", in_channels=3)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(scans / "colour.png")
    Image.fromarray(pixels).convert("L").save(scans / "grey.png")
    assert run(scans, "-w", colour, "-o", tmp_path / "out").exit_code == 0
    with_colour, grey = rows_in(tmp_path / "out")
    assert with_colour["max_probability"] != grey["max_probability"]


def test_single_path_network_removes_stale_disagreement_map(scans: Path, weights: Path, tmp_path: Path) -> None:
    random_image().save(scans / "a.png")
    out = tmp_path / "out"
    run(scans, "-w", weights, "-o", out)
    assert (out / "a_disagreement.png").exists()
    one_path = random_weights(tmp_path / "weights", "unet")
    assert run(scans, "-w", one_path, "-o", out).exit_code == 0
    assert not (out / "a_disagreement.png").exists()
    assert rows_in(out)[0]["mean_disagreement"] is None


def test_images_with_the_same_stem_get_distinct_outputs(scans: Path, weights: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "A.bmp", "a_png.tif", "b.png"):
        random_image().save(scans / name)
    (scans / "more").mkdir()
    random_image().save(scans / "more" / "a.png")
    result = run(scans, scans / "more", "-w", weights, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    names = {row["file"]: row["name"] for row in rows_in(tmp_path / "out")}
    assert len(names) == len({name.casefold() for name in names.values()}) == 6
    assert names[str(scans / "a.png")] == "a_png"
    assert names[str(scans / "a.jpg")] == "a_jpg"
    assert names[str(scans / "b.png")] == "b"
    assert len(list((tmp_path / "out").glob("*_mask.png"))) == 6


def test_masks_hidden_and_other_files_are_skipped_and_reported(scans: Path, weights: Path, tmp_path: Path) -> None:
    folder = make_fake_busi(scans) / "benign"
    random_image().save(folder / ".hidden.png")
    (folder / "notes.txt").write_text("no image")
    result = run(folder, "-w", weights, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert [row["name"] for row in rows_in(tmp_path / "out")] == [f"benign ({n})" for n in range(1, 5)]
    assert "Skipped 5 files, a mask" in result.stderr
    assert "notes.txt" in result.stderr
    assert ".hidden.png" in result.stderr


def test_dicom_files_are_named_with_the_remedy(scans: Path, weights: Path, tmp_path: Path) -> None:
    random_image().save(scans / "a.png")
    for name in ("1.2.840.7", "IM0001", "b.png"):
        (scans / name).write_bytes(bytes(128) + b"DICM" + bytes(64))
    (scans / "old.DCM").write_bytes(bytes(64))
    with pytest.raises(PartialFailureError, match=r"b\.png: is a DICOM file; convert it to PNG"):
        predict([scans], tmp_path / "out", weights)
    (scans / "b.png").unlink()
    result = run(scans, "-w", weights, "-o", tmp_path / "out")
    line = next(line for line in result.stderr.splitlines() if line.startswith("Skipped"))
    assert line.startswith("Skipped 3 files, DICOM, which has to be converted to PNG first")
    assert line.endswith("1.2.840.7, IM0001, old.DCM")


def test_masks_in_a_file_list_are_skipped_but_a_single_mask_is_predicted(
    scans: Path, weights: Path, tmp_path: Path
) -> None:
    folder = make_fake_busi(scans) / "benign"
    run(*sorted(folder.glob("*.png")), "-w", weights, "-o", tmp_path / "out")
    assert len(rows_in(tmp_path / "out")) == 4
    run(folder / "benign (1)_mask.png", "-w", weights, "-o", tmp_path / "alone")
    assert [row["name"] for row in rows_in(tmp_path / "alone")] == ["benign (1)_mask"]


def test_recursive_option_is_required_and_output_folder_is_not_read(scans: Path, weights: Path, tmp_path: Path) -> None:
    folder = make_fake_busi(scans)
    with pytest.raises(DataError, match="--recursive"):
        predict([folder], tmp_path / "out", weights)
    for _ in range(2):
        predict([folder], folder / "out", weights, recursive=True)
        assert len(rows_in(folder / "out")) == 9


@pytest.mark.parametrize("inside", [".", "out"])
def test_second_run_does_not_read_output_of_the_first(inside: str, scans: Path, weights: Path) -> None:
    random_image().save(scans / "a.png")
    random_image().save(scans / "a.jpg")
    out = scans / inside
    for _ in range(2):
        result = run(scans, "-w", weights, "-o", out)
        assert result.exit_code == 0, result.output
        assert [row["name"] for row in rows_in(out)] == ["a_jpg", "a_png"]
    images = sorted(path for path in scans.glob("*.[pj][np]g"))
    run(*images, "-w", weights, "-o", out)
    assert len(rows_in(out)) == 2


def test_masks_of_a_data_set_are_not_overwritten(scans: Path, weights: Path) -> None:
    folder = make_fake_busi(scans) / "benign"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError, match=r"benign \(1\)_mask\.png"):
        predict([folder], folder, weights)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_input_written_by_taichinet_is_not_overwritten(scans: Path, weights: Path, tmp_path: Path) -> None:
    random_image().save(scans / "a.png")
    out = tmp_path / "out"
    predict([scans], out, weights)
    before = (out / "a_mask.png").read_bytes()
    with pytest.raises(DataError, match="overwritten"):
        predict([out / "a_mask.png", scans / "a.png"], out, weights)
    assert (out / "a_mask.png").read_bytes() == before


def test_unreadable_files_are_reported_and_others_predicted(scans: Path, weights: Path, tmp_path: Path) -> None:
    for name in ("a.png", "d.png"):
        random_image().save(scans / name)
    (scans / "b.png").write_bytes((scans / "a.png").read_bytes()[:200])
    (scans / "c.jpg").write_bytes(b"")
    (scans / "e.tif").symlink_to(scans / "gone.tif")
    out = tmp_path / "out"
    result = run(scans, "-w", weights, "-o", out)
    assert isinstance(result.exception, PartialFailureError)
    assert result.exception.exit_code == 7
    assert "3 of 5" in str(result.exception)
    for name in ("b.png", "c.jpg", "e.tif"):
        assert str(scans / name) in str(result.exception)
    rows = rows_in(out)
    assert [row["status"] for row in rows] == ["done", "failed", "failed", "done", "failed"]
    assert all(row["error"] and row["height"] is None for row in rows if row["status"] == "failed")
    assert {path.name for path in out.glob("*_mask.png")} == {"a_mask.png", "d_mask.png"}


def test_outputs_of_a_file_that_became_unreadable_are_removed(scans: Path, weights: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        random_image().save(scans / name)
    predict([scans], tmp_path / "out", weights)
    (scans / "b.png").write_bytes(b"torn")
    with pytest.raises(PartialFailureError):
        predict([scans], tmp_path / "out", weights)
    assert not list((tmp_path / "out").glob("b_*.png"))


def test_name_too_long_for_outputs_does_not_stop_the_run(scans: Path, weights: Path, tmp_path: Path) -> None:
    random_image().save(scans / f"{'x' * 245}.png")
    random_image().save(scans / "a.png")
    with pytest.raises(PartialFailureError, match="xxx"):
        predict([scans], tmp_path / "out", weights)


def test_data_error_if_all_images_fail(scans: Path, weights: Path, tmp_path: Path) -> None:
    (scans / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.png") as caught:
        predict([scans], tmp_path / "out", weights)
    assert caught.value.exit_code == 3
    assert rows_in(tmp_path / "out")[0]["status"] == "failed"


def test_interrupted_run_writes_finished_rows(
    scans: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taichinet.datasets import image_io

    def read_or_interrupt(path: Path) -> NDArray[np.uint8]:
        if path.name == "b.png":
            raise KeyboardInterrupt
        return np.zeros((8, 8), dtype=np.uint8)

    monkeypatch.setattr(image_io, "read_grey", read_or_interrupt)
    for name in ("a.png", "b.png"):
        random_image().save(scans / name)
    with pytest.raises(KeyboardInterrupt):
        predict([scans], tmp_path / "out", weights)
    assert [row["name"] for row in rows_in(tmp_path / "out")] == ["a"]


def test_all_missing_paths_are_reported(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(DataError, match="spelling") as caught:
        predict([tmp_path / "one.png", tmp_path / "two"], tmp_path / "out", weights)
    assert len(caught.value.problems) == 2
    assert not (tmp_path / "out").exists()


def test_empty_folder_is_rejected_with_list_of_formats(scans: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No image in .*\.png, \.jpg"):
        predict([scans], tmp_path / "out", weights)


def test_output_path_that_is_a_file_is_rejected(scans: Path, weights: Path, tmp_path: Path) -> None:
    random_image().save(scans / "a.png")
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(DataError, match="-o"):
        predict([scans], tmp_path / "out", weights)


def test_file_given_several_times_is_predicted_once(scans: Path, weights: Path, tmp_path: Path) -> None:
    random_image().save(scans / "a.png")
    predict([scans / "a.png", scans, scans / ".." / "scans" / "a.png"], tmp_path / "out", weights)
    assert len(rows_in(tmp_path / "out")) == 1


def test_named_file_is_read_with_any_suffix(scans: Path, weights: Path, tmp_path: Path) -> None:
    random_image().save(scans / "scan.dat", format="PNG")
    predict([scans / "scan.dat"], tmp_path / "out", weights)
    assert rows_in(tmp_path / "out")[0]["status"] == "done"


def test_json_option_prints_only_rows_on_stdout(scans: Path, weights: Path, tmp_path: Path) -> None:
    random_image().save(scans / "a.png")
    random_image().save(scans / "a_mask.png")
    out = tmp_path / "out"
    result = run(scans, "-w", weights, "-o", out, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == rows_in(out)
    assert "Predicting" not in result.stderr
    (scans / "b.png").write_bytes(b"")
    result = run(scans, "-w", weights, "-o", out, "--json")
    assert isinstance(result.exception, PartialFailureError)
    assert [row["status"] for row in json.loads(result.stdout)] == ["done", "failed"]


def test_without_json_a_summary_line_is_printed(scans: Path, weights: Path, tmp_path: Path) -> None:
    random_image().save(scans / "a [b].png")
    result = run(scans, "-w", weights, "-o", tmp_path / "out")
    assert "1 of 1 images predicted" in result.stdout
    assert (tmp_path / "out" / "a [b]_mask.png").exists()


def test_invalid_weights_and_threshold_raise_before_files_are_written(
    scans: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_image().save(scans / "a.png")
    out = tmp_path / "out"
    with pytest.raises(WeightsError, match=r"config\.json"):
        predict([scans], out, tmp_path)
    with pytest.raises(SettingError, match="threshold"):
        predict([scans], out, weights, threshold=50)
    monkeypatch.setattr(shipped, "SHIPPED", "never-trained")
    with pytest.raises(WeightsError, match="--weights"):
        predict([scans], out)
    assert not out.exists() or not names_in(out)


def test_shipped_weights_are_the_default(
    scans: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_image().save(scans / "a.png")
    monkeypatch.setattr(shipped, "shipped_weights", lambda: weights)
    predict([scans], tmp_path / "out")
    assert rows_in(tmp_path / "out")[0]["status"] == "done"


def test_output_option_is_required(scans: Path) -> None:
    random_image().save(scans / "a.png")
    result = run(scans)
    assert result.exit_code == 2


def test_output_mirrors_subfolders_of_input(scans: Path, weights: Path, tmp_path: Path) -> None:
    for seed, patient in enumerate(("p1", "p2")):
        (scans / patient).mkdir()
        random_image(height=20 + seed, seed=seed).save(scans / patient / "scan.png")  # sizes tell the maps apart
    out = tmp_path / "out"
    predict([scans], out, weights, recursive=True)
    assert [row["name"] for row in rows_in(out)] == ["p1/scan", "p2/scan"]
    for patient in ("p1", "p2"):
        assert {path.name for path in (out / patient).iterdir()} == {
            "scan_mask.png",
            "scan_probability.png",
            "scan_disagreement.png",
            "scan_overlay.png",
        }
        with (
            Image.open(scans / patient / "scan.png") as scan,
            Image.open(out / patient / "scan_probability.png") as map_,
        ):
            assert map_.size == scan.size
    first, second = ((out / patient / "scan_probability.png").read_bytes() for patient in ("p1", "p2"))
    assert first != second


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_path_that_is_not_a_regular_file_is_rejected(kind: str, scans: Path, weights: Path, tmp_path: Path) -> None:
    path = scans / "a.png"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    named = Path("/dev/zero") if kind == "device" else path
    with pytest.raises(DataError, match=f"is a {kind}" if kind != "fifo" else "is a FIFO"):
        predict([named], tmp_path / "out", weights)
    random_image().save(scans / "b.png")
    result = run(scans, "-w", weights, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert ("Skipped 1 file, a FIFO" in result.stderr) == (kind != "device")


def test_link_to_itself_is_reported_and_does_not_stop_the_run(scans: Path, weights: Path, tmp_path: Path) -> None:
    (scans / "loop.png").symlink_to("loop.png")
    random_image().save(scans / "a.png")
    with pytest.raises(DataError, match="link to itself"):
        predict([scans / "loop.png"], tmp_path / "out", weights)
    with pytest.raises(PartialFailureError, match=r"loop\.png"):
        predict([scans], tmp_path / "out", weights)
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(DataError, match="-o"):
        predict([scans], tmp_path / "circle", weights)


def test_cells_starting_like_a_formula_are_escaped_only_in_csv(
    scans: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scans)
    names = ["+b", "-c", "=a", "@d", "plain"]
    for name in names:
        random_image().save(scans / f"{name}.png")
    predict([Path(f"{name}.png") for name in names], tmp_path / "out", weights)
    with (tmp_path / "out" / "predictions.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["name"] for row in table] == ["'+b", "'-c", "'=a", "'@d", "plain"]
    assert [row["file"] for row in table] == ["'+b.png", "'-c.png", "'=a.png", "'@d.png", "plain.png"]
    assert [row["name"] for row in rows_in(tmp_path / "out")] == names


def test_numbers_are_not_escaped() -> None:
    assert [escape_cell(value) for value in (-1.5, None, "\tx", "\rx", "a=b", "")] == [
        -1.5,
        None,
        "'\tx",
        "'\rx",
        "a=b",
        "",
    ]


def start_predict(*arguments: object, **environment: str) -> subprocess.Popen[bytes]:
    with default_interrupt():
        return subprocess.Popen(
            [sys.executable, "-m", "taichinet", "predict", *map(os.fsencode, map(str, arguments))],
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


def test_any_file_name_can_be_printed(scans: Path, weights: Path, tmp_path: Path) -> None:
    for name in (os.fsdecode(b"\xff.png"), "\u0142.png"):
        random_image().save(scans / name)
    (scans / "[bold][" / "x]").mkdir(parents=True)
    random_image().save(scans / "[bold][" / "x]" / "b.png")
    (scans / "[bold][" / "x]" / "bad[").mkdir()
    (scans / "[bold][" / "x]" / "bad[" / "red].png").write_bytes(b"torn")
    (scans / "[bold][" / "x]" / "notes.txt").write_text("")
    out = tmp_path / "\u0142 [" / "x] out"
    process = start_predict(scans, "-r", "-w", weights, "-o", out, PYTHONIOENCODING="latin-1")
    printed, messages = process.communicate(timeout=300)
    assert process.returncode == 7, messages
    assert b"3 of 4 images predicted" in printed
    assert b"[bold][/x]/bad[/red].png" in messages
    assert b"Traceback" not in messages
    assert sorted(row["name"] for row in rows_in(out)) == ["[bold][/x]/b", "[bold][/x]/bad[/red]", "\u0142", "\udcff"]


def without_seconds(folder: Path) -> list[dict[str, Any]]:
    return [{**row, "seconds": None} for row in rows_in(folder)]


def maps_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


IMAGE_COUNT = 40


@pytest.fixture(scope="module")
def large_folder(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of images that take seconds to predict, and the output folder of a complete run."""
    scans, complete = tmp_path_factory.mktemp("scans"), tmp_path_factory.mktemp("runs") / "complete"
    for seed in range(IMAGE_COUNT):
        random_image(800, 900, seed).save(scans / f"{seed:02}.png", compress_level=0)
    predict([scans], complete, weights)
    return scans, complete


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_run_ended_by_a_signal_is_resumed(
    number: signal.Signals, large_folder: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    scans, complete = large_folder
    out = tmp_path / "out"
    process = start_predict(scans, "-w", weights, "-o", out)
    journal = out / JOURNAL
    while not journal.exists() or journal.read_bytes().count(b"\n") < 12:  # the header, and eleven images
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(number)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number], messages
    assert b"Traceback" not in messages
    done = [json.loads(line) for line in journal.read_text().splitlines()[1:] if line.endswith("}")]
    assert 10 <= len(done) < IMAGE_COUNT
    if number != signal.SIGKILL:
        assert {row["file"] for row in rows_in(out)} == {entry["row"]["file"] for entry in done}
    written = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    predict([scans], out, weights)
    for entry in done:
        mask = out / f"{entry['row']['name']}_mask.png"
        assert mask.stat().st_mtime_ns == written[mask], "a finished image was computed again"
    assert without_seconds(out) == without_seconds(complete)
    assert maps_in(out) == maps_in(complete)
    assert names_in(out) == names_in(complete), "temporary files remain"


def test_temporary_files_of_a_killed_run_are_removed_and_others_kept(
    scans: Path, weights: Path, tmp_path: Path
) -> None:
    random_image().save(scans / "a.png")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(KeyboardInterrupt), replacing(out / "a_mask.png") as own:
        raise KeyboardInterrupt
    own.write_bytes(b"half")  # a killed process cannot remove it
    other = out / ".notes.txt.0123abcd.tmp"
    other.write_bytes(b"of another program")
    predict([scans], out, weights)
    assert not own.exists()
    assert other.exists()


@pytest.fixture
def interrupted(
    scans: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, list[NDArray[np.uint8]]]:
    """An output folder with 8 of 12 images finished, and the list of batches passed to the network."""
    for seed in range(12):
        random_image(seed=seed).save(scans / f"{seed:02}.png")
    batches, original_maps = list[NDArray[np.uint8]](), Predictor.network_maps

    def network_maps(self: Predictor, inputs: Sequence[NetworkInput]) -> Maps:
        batches.append(np.stack([item.pixels for item in inputs]))
        if len(batches) == 2 and len(inputs) == 4:
            raise KeyboardInterrupt
        return original_maps(self, inputs)

    monkeypatch.setattr(Predictor, "network_maps", network_maps)
    with pytest.raises(KeyboardInterrupt):
        predict([scans], tmp_path / "out", weights)
    assert len(rows_in(tmp_path / "out")) == 8
    batches.append(np.empty(0, np.uint8))  # so that no later batch counts as the second
    batches.append(np.empty(0, np.uint8))
    return tmp_path / "out", batches


def test_finished_images_are_not_computed_again(
    interrupted: tuple[Path, list[NDArray[np.uint8]]], scans: Path, weights: Path
) -> None:
    out, batches = interrupted
    before = len(batches)
    predict([scans], out, weights)
    assert [len(batch) for batch in batches[before:]] == [4]
    assert [row["status"] for row in rows_in(out)] == ["done"] * 12
    assert not (out / JOURNAL).exists()


@pytest.mark.parametrize("changed", ["image", "map", "threshold", "weights", "journal"])
def test_all_images_are_computed_again_after_a_change(
    changed: str,
    interrupted: tuple[Path, list[NDArray[np.uint8]]],
    scans: Path,
    weights: Path,
    tmp_path: Path,
) -> None:
    out, batches = interrupted
    threshold = 0.3 if changed == "threshold" else None
    if changed == "image":
        random_image(seed=99).save(scans / "03.png")
    elif changed == "map":
        random_image().save(out / "03_mask.png", pnginfo=taichinet_metadata())
    elif changed == "weights":
        weights = random_weights(tmp_path / "others", "taichinet", head="none")
    elif changed == "journal":
        lines = (out / JOURNAL).read_text().splitlines()
        (out / JOURNAL).write_text("\n".join([*lines[:4], lines[4][:30]]))
    before = len(batches)
    predict([scans], out, weights, threshold)
    assert sum(len(batch) for batch in batches[before:]) == 12
    predict([scans], tmp_path / "complete", weights, threshold)
    assert without_seconds(out) == without_seconds(tmp_path / "complete")
    assert maps_in(out) == maps_in(tmp_path / "complete")


def taichinet_metadata() -> PngInfo:
    text = PngInfo()
    text.add_text("Software", "taichinet predict")
    return text


def test_concurrent_runs_cannot_share_an_output_folder(scans: Path, weights: Path, tmp_path: Path) -> None:
    random_image().save(scans / "a.png")
    predict([scans], tmp_path / "out", weights)
    before = maps_in(tmp_path / "out")
    with (
        locked(tmp_path / "out" / ".predictions.lock"),
        pytest.raises(LockedError, match=str(os.getpid())),
    ):
        predict([scans], tmp_path / "out", weights, threshold=0.1)
    assert maps_in(tmp_path / "out") == before


def test_interrupted_second_run_removes_table_and_maps_of_the_first(
    scans: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(12):
        random_image(seed=seed).save(scans / f"{seed:02}.png")
    out = tmp_path / "out"
    predict([scans], out, weights, threshold=0.0)

    def killed(*_: object) -> None:
        raise SystemExit(9)

    with monkeypatch.context() as patch:
        patch.setattr("taichinet.inference.folder.predict_files", killed)
        for name in ("write_table", "write_page"):  # as after SIGKILL
            patch.setattr(f"taichinet.inference.outputs.{name}", lambda *_: None)
        with pytest.raises(SystemExit):
            predict([scans], out, weights, threshold=1.0)
    assert names_in(out) == {JOURNAL}
    (scans / "00.png").unlink()
    predict([scans], out, weights, threshold=1.0)
    assert len(rows_in(out)) == len(list(out.glob("*_mask.png"))) == 11


def test_maps_missing_from_the_new_table_are_reported(scans: Path, weights: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        random_image().save(scans / name)
    run(scans, "-w", weights, "-o", tmp_path / "out")
    result = run(scans / "a.png", "-w", weights, "-o", tmp_path / "out")
    assert "keeps the maps of 1 image of an earlier run" in result.stderr


def test_table_of_another_program_is_not_overwritten(scans: Path, weights: Path, tmp_path: Path) -> None:
    random_image().save(scans / "a.png")
    table = tmp_path / "predictions.csv"
    table.write_text("image;score\n1;2\n")
    with pytest.raises(DataError, match=r"predictions\.csv"):
        predict([scans], tmp_path, weights)
    assert table.read_text() == "image;score\n1;2\n"
