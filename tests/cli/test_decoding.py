"""Training on a new folder decodes each image and mask file once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from taichinet import runner
from taichinet.cli import app as command_line
from taichinet.datasets.phantoms.folder import write_phantom_busi

SMALL = {
    "data.size": 32,
    "data.folds": 2,
    "data.validation_share": 0.5,
    "options.width": 2,
    "training.epochs": 1,
    "training.batch_size": 4,
    "mining.width": 2,
    "mining.epochs": 1,
    "mining.batch_size": 4,
}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The number of times that each file is decoded."""
    counts: Counter[str] = Counter()
    decode = runner.decode

    def count(source: Path) -> object:
        counts[str(source)] += 1
        return decode(source)

    monkeypatch.setattr(runner, "decode", count)
    return counts


@pytest.mark.parametrize("include_normal", [False, True])
def test_training_on_a_new_folder_decodes_each_file_once(
    include_normal: bool, decoded: Counter[str], tmp_path: Path
) -> None:
    data = write_phantom_busi(tmp_path / "data", 9, 8, 8, seed=1, size=(64, 80))
    settings = [f"--set={name}={value}" for name, value in {**SMALL, "data.include_normal": include_normal}.items()]
    args = ["train", "cpu-taichinet", "--data", str(data), "--output", str(tmp_path / "runs"), "--json", *settings]
    result = CliRunner().invoke(command_line.app, args, catch_exceptions=False)
    assert result.exit_code == 0
    files = (str(file) for file in data.rglob("*.png") if include_normal or file.parent.name != "normal")
    assert decoded == dict.fromkeys(files, 1)
