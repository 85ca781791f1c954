"""The demo command, with smaller networks and fewer images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taichinet.cli import demo as demo_command
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.recipes import catalogue as recipes


def test_demo_writes_a_page_of_both_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe_of = recipes.get_recipe

    def small_recipe(name: str) -> Experiment:
        changes = {"options.width": 2, "data.size": 32, "training.epochs": 1, "mining.epochs": 1, "mining.width": 2}
        return vary(recipe_of(name), changes)

    monkeypatch.setattr(recipes, "get_recipe", small_recipe)
    monkeypatch.setattr(demo_command, "PHANTOMS", {"benign": 14, "malignant": 14, "normal": 12})
    demo_command.demo(out=tmp_path / "demo", seed=3, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert Path(printed["page"]) == tmp_path / "demo" / "index.html"
    assert [result["experiment"]["model"] for result in printed["results"]] == ["taichinet", "unet"]
    page = (tmp_path / "demo" / "index.html").read_text(encoding="utf-8")
    assert "TaiChiNet" in page
    assert "U-Net" in page
    assert page.count("network in the package</figcaption>") == 3  # of every third of 8 cases
    assert (tmp_path / "demo" / "cases.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "demo" / "results.json").read_text()) == printed["results"]
    demo_command.demo(out=tmp_path / "demo", seed=4, as_json=True)  # other phantoms in the same folder
    assert (
        json.loads(capsys.readouterr().out)["results"][0]["dataset_digest"] != printed["results"][0]["dataset_digest"]
    )
