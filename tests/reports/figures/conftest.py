"""Tiny runs for the six figures, and the figures made from them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.random_runs import halves, make_fake_mining, make_fake_run, set_scores

from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.reports.figures.catalogue import FIGURES
from taichinet.reports.figures.methods import MODELS, PAPER_METHODS
from taichinet.reports.figures.sheet import Sheet
from taichinet.reports.figures.source import Request, Source, find_runs, open_source


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 10, 8, 0, seed=1, size=(96, 128))


@pytest.fixture(scope="session")
def manifest(data: Path) -> Manifest:
    return open_dataset(data, include_normal=False)


@pytest.fixture(scope="session")
def runs(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs for the six figures, with one artificial failure of each kind."""
    out = tmp_path_factory.mktemp("runs")
    train, held_out = halves(manifest)
    make_fake_mining(out, manifest, train)
    for row in dict.fromkeys((*MODELS, *PAPER_METHODS)):
        if row != "model-1":  # the run of "unet" is used instead
            folder = make_fake_run(out, manifest, f"demo-{row}", held_out)
    folder = out / "busi/demo-taichinet/grouped/fold-0"
    for key in held_out:
        set_scores(folder, key, dice=0.8, sensitivity=0.9, true_pixels=100, predicted_pixels=100)
    set_scores(folder, held_out[3], dice=0.0, sensitivity=0.0, true_pixels=500, predicted_pixels=0)
    set_scores(folder, held_out[5], dice=0.0, sensitivity=0.0, true_pixels=400, predicted_pixels=300)
    return out


@pytest.fixture(scope="session")
def source(data: Path, runs: Path) -> Source:
    return open_source(str(data), find_runs(runs), runs)


@pytest.fixture(scope="session")
def sheets(source: Source) -> dict[int, Sheet]:
    return {number: make((source,), Request()) for number, make in FIGURES.items()}
