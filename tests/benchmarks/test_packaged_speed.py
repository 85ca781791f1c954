"""The speed of the packaged network: its record and its sentences."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import packaged_speed

from taichinet.models.catalogue import create_model
from taichinet.models.weights import save_weights
from taichinet.models.weights_folder import WeightsConfig


def test_the_record_and_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged_speed, "create_model", lambda name: create_model(name, width=2))
    save_weights(create_model("unet", width=2), WeightsConfig("unet", {"width": 2}, 32), tmp_path / "weights")
    monkeypatch.setattr(packaged_speed, "shipped_weights", lambda: tmp_path / "weights")
    monkeypatch.setattr(packaged_speed, "phantoms", lambda count, *shape: [np.zeros((40, 50), np.uint8)] * count)
    page, out = tmp_path / "page.md", tmp_path / "record.json"
    page.write_text("before\n<!-- speed: begin -->\nold\n<!-- speed: end -->\nafter\n")
    words = ["packaged_speed", "--rounds", "1", "--images", "2", "-o", str(out), "--page", str(page)]
    monkeypatch.setattr(sys, "argv", words)
    packaged_speed.main()
    assert out.is_file()
    before, *sentences, after = page.read_text().splitlines()
    assert (before, after) == ("before", "after")
    assert "old" not in sentences
    assert "images/s" in sentences[1]
