"""The demo command, with smaller networks and fewer images."""

from __future__ import annotations

import json
import re
import shlex
from html import escape
from pathlib import Path

import pytest

from taichinet.cli import demo as demo_command
from taichinet.cli.demo_output import next_steps
from taichinet.datasets.examples import list_examples
from taichinet.errors import StorageError


def test_demo_writes_a_page_with_examples_leaks_and_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"options.width": 2, "data.size": 32, "data.folds": 3, "training.epochs": 1, "mining.epochs": 1}
    monkeypatch.setattr(demo_command, "CHANGES", changes | {"mining.width": 2})
    monkeypatch.setattr(demo_command, "PHANTOMS", {"benign": 14, "malignant": 14, "normal": 12})
    monkeypatch.setattr(demo_command, "PHANTOM_SIZE", (64, 80))
    monkeypatch.setattr(demo_command, "NEAR_DUPLICATES", 6)
    out = tmp_path / "demo"
    demo_command.demo(out=out, seed=3, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert Path(printed.pop("page")) == out / "index.html"
    assert json.loads((out / "results.json").read_text()) == printed
    assert [result["experiment"]["model"] for result in printed["results"]] == ["taichinet", "unet"]
    folds = printed["folds"]
    assert (folds["pairs"], folds["found"], folds["grouped"]) == (12, 12, 0)
    assert folds["random"] > 0
    assert [row["unseen_dice"] for row in printed["examples"]] == [one.unseen_dice for one in list_examples()]
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("Not trained on it: ") == 2 * 12  # the caption, also as the text of the image
    assert "not a medical device" in page
    assert "CC BY 4.0" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # complete as one file
    for _, commands in next_steps(out):
        for command in commands:
            assert escape(command) in page
            paths = [Path(word.split(":")[0]) for word in shlex.split(command) if word.startswith(str(out))]
            assert paths
            assert all(path.exists() for path in paths)
    (out / "mynet.py").write_text("my network", encoding="utf-8")
    demo_command.demo(out=out, seed=4, as_json=True)  # other phantoms in the same folder
    assert (out / "mynet.py").read_text(encoding="utf-8") == "my network"
    again = json.loads(capsys.readouterr().out)
    assert again["results"][0]["dataset_digest"] != printed["results"][0]["dataset_digest"]


def test_demo_leaves_the_folds_of_other_runs(tmp_path: Path) -> None:
    (tmp_path / "folds").mkdir()
    (tmp_path / "folds" / "busi-grouped-5folds-seed0.json").touch()
    with pytest.raises(StorageError, match=r"has other files \(folds\).*Give a new folder as --output"):
        demo_command.demo(out=tmp_path)
    assert [path.name for path in tmp_path.rglob("*.json")] == ["busi-grouped-5folds-seed0.json"]
