"""Own folders with a name, from training to the report, and the last lines of `train`."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.folder import make_fake_folder

from cli.test_commands import run
from cli.test_joint_training import train


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    one, two = (
        make_fake_folder(tmp_path_factory.mktemp(name), count=9, seed=seed) for seed, name in enumerate(("one", "two"))
    )
    return f"clinic={one}", f"practice={two}"


def test_train_ends_with_the_scores_and_the_next_commands(folders: tuple[str, str], tmp_path: Path) -> None:
    first = train(tmp_path, "--data", folders[0], "--fold", 0).splitlines()
    study = tmp_path / "clinic" / "short-unet" / "grouped"
    assert f"Scores: {study / 'summary.json'}, and per image {study / 'scores.csv'}" in first
    assert (study / "summary.json").is_file()
    assert (study / "scores.csv").is_file()
    printed = next(line.split(": ", 1)[1].strip() for line in first if "remaining folds" in line)
    assert printed.startswith(f"taichinet train short-unet --data {folders[0]} --set ")
    assert printed.endswith(f" --output {tmp_path} --fold 1")
    assert not any("--all-images" in line for line in first)
    assert sum(line.count("lesion images") for line in first) == 1  # the only class is no second column
    last = train(tmp_path, "--data", folders[0], "--fold", 1).splitlines()
    assert any(f"taichinet predict -w {study} -o masks IMAGES" in line for line in last)
    assert any(line.endswith(f"--output {tmp_path} --all-images") for line in last)
    assert not any(
        line.startswith("Scores: ") for line in train(tmp_path / "b", "--data", folders[0], "--json").splitlines()
    )


def test_two_own_folders_are_joined_and_named_in_all_results(folders: tuple[str, str], tmp_path: Path) -> None:
    train(tmp_path / "runs", "--data", folders[0], "--data", folders[1], "--fold", 0)
    assert (tmp_path / "runs" / "clinic+practice" / "short-unet" / "grouped" / "fold-0" / "result.json").is_file()
    train(tmp_path / "runs", "--data", folders[0], "--fold", 0)
    fold = tmp_path / "runs" / "clinic" / "short-unet" / "grouped" / "fold-0"
    run("evaluate", fold, "--data", folders[1], "-o", tmp_path / "on", "--card", tmp_path / "card.html")
    run("report", tmp_path / "runs", "-o", tmp_path / "report.md")
    card = (tmp_path / "card.html").read_text(encoding="utf-8")
    assert "practice" in card
    assert "clinic" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "Any folder" not in card


def test_bundle_of_an_own_folder_keeps_its_name(folders: tuple[str, str], tmp_path: Path) -> None:
    bundle = tmp_path / "clinic.zip"
    run("data", "bundle", folders[0], "--size", 32, "-o", bundle)
    run("data", "verify-bundle", bundle, folders[0])
    run("data", "check", f"clinic={bundle}")
    train(tmp_path / "runs", "--data", f"clinic={bundle}", "--fold", 0)
    assert (tmp_path / "runs" / "clinic").is_dir()
