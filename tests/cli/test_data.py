"""`taichinet data list` and `taichinet data export` from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.busi import make_fake_busi
from fakes.ddti import make_fake_ddti
from fakes.nnunet import make_fake_nnunet
from typer.testing import CliRunner

from taichinet.cli.app import app
from taichinet.datasets.catalogue import list_datasets, open_dataset
from taichinet.datasets.folds import make_folds, write_folds
from taichinet.datasets.interchange.export import export_monai
from taichinet.errors import DataError, FoldError, SettingError


def run(*args: object) -> str:
    """Standard output of `taichinet data ARGS`; errors of the command are raised."""
    result = CliRunner().invoke(app, ["data", *map(str, args)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_contains_every_data_set_with_licence_and_source() -> None:
    rows = json.loads(run("list", "--json"))
    assert [row["name"] for row in rows] == list(list_datasets())
    assert all(row["licence"] and row["source"] and row["regions"] for row in rows)
    table = run("list")
    assert all(name in table for name in list_datasets())


def test_export_keeps_near_duplicates_in_one_fold(tmp_path: Path) -> None:
    folder = make_fake_ddti(tmp_path / "source", count=10)
    copies = {"1": "4", "7": "10", "13": "16", "19": "22"}
    for original, copy in copies.items():
        for kind in ("image", "mask"):
            (folder / kind / f"{copy}.PNG").write_bytes((folder / kind / f"{original}.PNG").read_bytes())
    for seed in range(3):
        out = tmp_path / f"raw{seed}"
        args = ("export", folder, "--format", "nnunet", "-o", out, "--seed", seed, "--fold-count", 2)
        printed = json.loads(run(*args, "--dataset-id", 12, "--json"))
        assert printed["written"] == str(out / "Dataset012_ddti")
        assert (printed["protocol"], printed["folds"], printed["images"]) == ("grouped", 2, 10)
        folds = {sample.key: sample.fold for sample in open_dataset(printed["written"])}
        assert all(folds[original] == folds[copy] for original, copy in copies.items())
        assert set(folds.values()) == {0, 1}


@pytest.mark.parametrize("form", ["nnunet", "monai"])
def test_export_reports_empty_masks_and_skipped_normal_images(tmp_path: Path, form: str) -> None:
    folder = make_fake_busi(tmp_path / "source", benign=4, malignant=4, normal=4)
    expected = {
        "--normal": {"used": 12, "empty_mask": 4, "skipped": 0, "why": []},
        "--no-normal": {"used": 8, "empty_mask": 0, "skipped": 4, "why": ["4 normal, not requested"]},
    }
    for option, counts in expected.items():
        args: tuple[object, ...] = (
            "export",
            folder,
            "--format",
            form,
            "-o",
            tmp_path / option,
            "--fold-count",
            2,
            option,
            "--json",
        )
        printed = json.loads(run(*args))
        assert printed["used_and_skipped"] == counts
        exported = open_dataset(printed["written"], include_normal=False)
        assert (len(exported.samples), exported.normal_left_out) == (8, 4 if option == "--normal" else 0)
    plan = make_folds(open_dataset(folder, include_normal=False), (), count=2)
    write_folds(plan, tmp_path / "folds.json")
    args = ("export", folder, "--format", form, "-o", tmp_path / "folded", "--folds", tmp_path / "folds.json")
    assert json.loads(run(*args, "--json"))["used_and_skipped"] == expected["--no-normal"]


def test_export_keeps_each_patient_in_one_fold(tmp_path: Path) -> None:
    manifest = open_dataset(make_fake_ddti(tmp_path / "source", count=12))
    patients = [replace(sample, patient=f"P{number % 4}") for number, sample in enumerate(manifest.samples)]
    export_monai(replace(manifest, samples=tuple(patients)), tmp_path / "patients")
    for seed in range(3):
        out = tmp_path / f"out{seed}"
        run("export", tmp_path / "patients", "--format", "monai", "-o", out, "--seed", seed, "--fold-count", 2)
        folds: dict[str | None, set[int | None]] = {}
        for sample in open_dataset(out):
            folds.setdefault(sample.patient, set()).add(sample.fold)
        assert len(folds) == 4
        assert all(len(patient_folds) == 1 for patient_folds in folds.values())


def test_export_uses_the_folds_of_a_file(tmp_path: Path) -> None:
    folder = make_fake_busi(tmp_path / "source")
    plan = make_folds(open_dataset(folder, include_normal=False), (), "paper", seed=3, count=3)
    write_folds(plan, tmp_path / "folds.json")
    args = ("export", folder, "--format", "monai", "-o", tmp_path / "out", "--folds", tmp_path / "folds.json")
    with pytest.raises(FoldError, match="other images"):
        run(*args, "--normal")
    assert "7 images, 3 paper folds" in run(*args, "--no-normal")
    assert "7 images without the normal images, 3 paper folds" in run(*args)
    assert {sample.key: sample.fold for sample in open_dataset(tmp_path / "out")} == plan.fold_of


def test_official_split_is_kept_unless_folds_are_requested(tmp_path: Path) -> None:
    folder = make_fake_nnunet(tmp_path / "source", count=6, tested=2)
    args = ("export", folder, "--format", "monai", "--json")
    assert json.loads(run(*args, "-o", tmp_path / "a"))["protocol"] == "official"
    assert [s.part for s in open_dataset(tmp_path / "a")] == ["train"] * 6 + ["test"] * 2
    printed = json.loads(run(*args, "-o", tmp_path / "b", "--protocol", "paper", "--fold-count", 2))
    assert (printed["protocol"], printed["folds"]) == ("paper", 2)
    assert {s.fold for s in open_dataset(tmp_path / "b")} == {0, 1}
    plain = make_fake_ddti(tmp_path / "plain")
    with pytest.raises(FoldError, match="no official split"):
        run("export", plain, "--format", "monai", "-o", tmp_path / "c", "--protocol", "official")


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (("--format", "nnunt"), SettingError, "Did you mean 'nnunet'"),
        (("--format", "nnunet", "--protocol", "group"), SettingError, "Did you mean 'grouped'"),
        (("--format", "monai", "--protocol", "paper", "--folds", "f.json"), SettingError, "cannot be used together"),
        (("--format", "monai"), DataError, "does not exist"),
    ],
)
def test_invalid_export_arguments_raise_before_files_are_written(
    args: tuple[str, ...], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        run("export", tmp_path / "nowhere", "-o", tmp_path / "out", *args)
    assert not (tmp_path / "out").exists()


def test_list_imports_no_heavy_library() -> None:
    probe = (
        "import sys; from taichinet.cli.data import list_data; list_data(as_json=True); "
        "print(sorted({'torch', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
