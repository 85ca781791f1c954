"""Names given by a user are printed unchanged, and a wrong name gives one short error."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from taichinet.cli import app as command_line
from taichinet.cli.printing import print_counts, print_skipped
from taichinet.datasets.catalogue import split_spec
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.errors import DataError, SettingError
from taichinet.experiments.experiment import parse_assignments, vary
from taichinet.experiments.recipes.catalogue import get_recipe


@pytest.mark.parametrize("assignment", ["data.size=!!bool q", "training.epochs=2024-99-99", "name=[" * 3])
def test_unreadable_value_raises_setting_error(assignment: str) -> None:
    with pytest.raises(SettingError, match=r"The value of '.*cannot be read as YAML"):
        parse_assignments([assignment])


@pytest.mark.parametrize(
    "assignment",
    [
        *("training.learning_rate=1e38", "training.learning_rate=1e30", "data.size=16384", "data.folds=" + "9" * 18),
        *(
            "data.fold_seed=" + "9" * 18,
            "training.seed=" + "9" * 40,
            "training.epochs=2024-01-01",
            "data.size=" + "9" * 99,
        ),
    ],
)
def test_value_out_of_range_raises_setting_error(assignment: str) -> None:
    with pytest.raises(SettingError, match="The experiment is not valid"):
        vary(get_recipe("cpu-unet"), parse_assignments([assignment.replace("1e3", "1.0e+3")]))


def test_unknown_setting_suggests_nearest_and_names_the_file_of_all() -> None:
    with pytest.raises(SettingError) as caught:
        vary(get_recipe("busi-taichinet"), {"training.epoch": 1})
    message = str(caught.value)
    assert "Did you mean 'training.epochs'?" in message
    assert "experiment.yaml" in message
    assert message.count("training.") + message.count("data.") + message.count("mining.") <= 4


def test_missing_path_with_equals_sign_is_reported_as_a_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a=b/nope does not exist, and no data set is called"):
        split_spec(f"{tmp_path}/a=b/nope")
    with pytest.raises(DataError, match=r"a=b/nope does not exist"):
        split_spec("a=b/nope")


def test_image_counts_are_printed_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = tuple(f"scan{i}[/x]: has no mask" for i in range(48))
    counts = Manifest("x", (Sample("a", "lesion", tmp_path / "a", ()),), left_out=lines).count_images(0)
    print_counts(counts)
    print_skipped(lines)
    stderr = capsys.readouterr().err
    assert "Images: 1 used, 0 of them with an empty mask; 48 skipped (scan0[/x]: has no mask; " in stderr
    assert stderr.count("Skipped: ") == 4
    assert "45 more" in stderr
    assert json.loads(json.dumps(counts.to_json_dict()))["skipped"] == 48


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_error_with_any_file_name_is_printed_in_any_encoding(
    tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xe2\x82\xac[/x]"
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2)]
    monkeypatch.setattr(sys, "argv", ["taichinet", "data", "check", os.fsdecode(name)])
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        with pytest.raises(SystemExit) as stopped:
            command_line.main()
    for stream in streams:
        stream.flush()
    printed, messages = (stream.buffer.getvalue() for stream in streams)
    assert b"Traceback" not in messages
    assert stopped.value.code == 3
    assert b"[/x]" in printed + messages
