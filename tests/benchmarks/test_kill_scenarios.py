"""The fault injector detects lost epochs, wrong exit codes, and damaged files that are accepted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.runs import fold_record
from fakes.scores import lesion_row

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import kill  # noqa: E402

from taichinet.experiments.recipes.catalogue import get_recipe  # noqa: E402
from taichinet.experiments.records import write_record  # noqa: E402
from taichinet.experiments.transport.pack import pack_runs  # noqa: E402
from taichinet.experiments.transport.unpack import unpack_runs  # noqa: E402


def trial(command: str, fault: str = "SIGTERM") -> kill.Trial:
    return kill.Trial(command, fault, 0.5)


def test_trials_can_be_limited_to_commands() -> None:
    assert {one.command for one in kill.trials(0, 8, 4, ("archive", "data bundle"))} == {"archive", "data bundle"}


def test_setup_is_executed_before_the_command() -> None:
    command = kill.Command("x", ("--version",), setup="print('before')")

    done = subprocess.run(command.program(), capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[0] == "before"
    assert done.stdout.splitlines()[1].startswith("taichinet ")


@pytest.mark.parametrize(
    ("command", "code", "count"),
    [
        ("train", 143, 0),
        ("train", -15, 0),
        ("train", 0, 0),
        ("train", 1, 1),
        ("train", 9, 1),
        ("compare --budget", 9, 0),
        ("compare --budget", 7, 1),
    ],
)
def test_other_exit_codes_after_sigterm_are_findings(command: str, code: int, count: int) -> None:
    assert len(kill.wrong_exit(trial(command), code)) == count
    assert kill.wrong_exit(trial(command, "SIGKILL"), -9) == []


@pytest.mark.parametrize(
    ("command", "fault", "epochs", "count"),
    [
        ("train", "SIGTERM", 3, 0),
        ("train", "SIGTERM", 2, 1),
        ("train", "SIGTERM", None, 1),
        ("train", "SIGKILL", None, 0),
        (kill.EVERY_EPOCH, "SIGKILL", 2, 0),
        (kill.EVERY_EPOCH, "SIGKILL", 1, 1),
    ],
)
def test_epochs_that_the_checkpoint_lacks_are_findings(
    command: str, fault: str, epochs: int | None, count: int, tmp_path: Path
) -> None:
    run = tmp_path / "runs/fold-0"
    run.mkdir(parents=True)
    (run / "history.csv").write_text("epoch\n1\n2\n3\n")
    if epochs is not None:
        torch.save({"epoch": epochs}, run / "checkpoint.pt")

    assert len(kill.lost_epochs(trial(command, fault), tmp_path)) == count

    (run / "result.json").touch()  # a completed fold needs no checkpoint
    assert kill.lost_epochs(trial(command, fault), tmp_path) == []


def accepted(command: str, plain: dict[str, Any], folder: Path) -> list[str]:
    return kill.accepted_damage(kill.commands()[command], {"result": plain}, folder)


def test_damaged_bundle_under_its_final_name_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/busi.zip").write_bytes(b"whole")
    plain = kill.result_of(tmp_path, "")
    assert accepted("data bundle", plain, tmp_path) == []

    (tmp_path / "out/busi.zip").write_bytes(b"who")

    assert accepted("data bundle", plain, tmp_path) == ["damaged and accepted: out/busi.zip"]


def test_completed_fold_with_an_absent_file_is_a_finding(tmp_path: Path) -> None:
    run = tmp_path / "runs/fold-0"
    run.mkdir(parents=True)
    (run / "result.json").write_text("{}")
    (run / "scores.txt").write_text("1")
    plain = kill.result_of(tmp_path, "")
    assert accepted("archive --unpack", plain, tmp_path) == []

    (run / "scores.txt").unlink()
    assert accepted("archive --unpack", plain, tmp_path) == ["damaged and accepted: runs/fold-0/scores.txt"]

    (run / "result.json").unlink()
    assert accepted("archive --unpack", plain, tmp_path) == []


def test_archive_is_refused_or_gives_the_packed_files(tmp_path: Path) -> None:
    (tmp_path / "study/fold-0").mkdir(parents=True)
    write_record(tmp_path / "study/fold-0/result.json", fold_record(get_recipe("demo-unet"), [lesion_row("a", 0.5)]))
    pack_runs(tmp_path / "study", tmp_path / "out")
    unpack_runs(tmp_path / "out", tmp_path / "unpacked")
    assert accepted("archive", {}, tmp_path) == []

    (tmp_path / "out/runs-0001.part").write_bytes(b"torn")
    assert accepted("archive", {}, tmp_path) == [], "is refused"

    shutil.rmtree(tmp_path / "out")
    result = tmp_path / "study/fold-0/result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "wall_seconds": 1.0}))
    pack_runs(tmp_path / "study", tmp_path / "out")
    assert accepted("archive", {}, tmp_path) == ["damaged and accepted: fold-0/result.json"]
