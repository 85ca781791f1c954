"""The examples in CONTRIBUTING.md: each is written to a file outside the package, imported, and used."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from documents.pages import ROOT, items
from fakes.catalogue import FAKES
from fakes.runs import recipe, write_run
from fakes.scores import lesion_row

import taichinet
from taichinet.batch import Batch, Prediction
from taichinet.datasets import catalogue as datasets
from taichinet.datasets.catalogue import open_dataset
from taichinet.errors import SettingError
from taichinet.experiments.recipes import catalogue as recipes
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.inference.predictor import Predictor
from taichinet.inference.runtimes import catalogue as runtimes
from taichinet.inference.runtimes.choose import open_runtime
from taichinet.inference.runtimes.eager import PLAIN
from taichinet.inference.shipped import shipped_weights
from taichinet.losses import terms
from taichinet.losses.objective import objective
from taichinet.models import catalogue as models
from taichinet.models.weights import load_weights
from taichinet.reports.paper_tables import sections
from taichinet.reports.paper_tables.results import read_results
from taichinet.reports.paper_tables.sections import make_document

EXAMPLES = {Path(item.words[0]).stem: item.text for item in items(ROOT / "CONTRIBUTING.md") if item.kind == "file"}
REGISTRIES: tuple[dict[str, Any], ...] = (
    datasets.CATALOGUE,
    models.CATALOGUE,
    terms.TERMS,
    recipes.VARIATIONS,
    runtimes.RUNTIMES,
    sections.SECTIONS,
)


class Examples:
    """Imports an example by its name."""

    def __init__(self, folder: Path) -> None:
        for name, text in EXAMPLES.items():
            (folder / f"{name}.py").write_text(text, encoding="utf-8")

    def load(self, name: str) -> ModuleType:
        return importlib.import_module(name)


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Examples]:
    """The examples as importable files; the registries are restored afterwards."""
    folder = tmp_path / "examples"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = [dict(registry) for registry in REGISTRIES]
    yield Examples(folder)
    for name in EXAMPLES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for registry, content in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(content)


def test_every_register_function_has_an_example() -> None:
    registered = {name for text in EXAMPLES.values() for name in re.findall(r"register_\w+", text)}
    assert registered == {name for name in taichinet.__all__ if name.startswith("register_")}


def test_example_data_set_is_recognised_and_read(examples: Examples, tmp_path: Path) -> None:
    examples.load("clinic")
    folder = FAKES["ddti"](tmp_path)
    (folder / "image").rename(folder / "scans")
    (folder / "mask").rename(folder / "lesions")
    manifest = open_dataset(folder)
    assert manifest.name == "clinic"
    assert len(manifest.samples) == len(list((folder / "scans").iterdir()))


def test_example_network_is_created_and_registered_once(examples: Examples) -> None:
    examples.load("tiny")
    network = taichinet.create_model("tiny", in_channels=3, num_classes=2, width=4)
    assert network(torch.rand(1, 3, 16, 16)).positive.shape == (1, 2, 16, 16)
    built_in = sum(weight.numel() for weight in taichinet.create_model("tiny", in_channels=3).parameters())
    source = models.CATALOGUE["tiny"].source
    assert source is not None
    assert built_in == source.parameters
    with pytest.raises(SettingError, match="already registered"):
        taichinet.register_model("tiny", models.CATALOGUE["tiny"])


def test_example_loss_term_is_added_to_the_objective(examples: Examples) -> None:
    examples.load("unet_area")
    settings = get_recipe("cpu-unet-area").objective
    logits, lesion = torch.randn(2, 1, 8, 8), torch.rand(2, 1, 8, 8).round()
    prediction, batch = Prediction(positive=logits), Batch(lesion, lesion)
    difference = objective(prediction, batch, "plain", settings) - objective(
        prediction, batch, "plain", get_recipe("cpu-unet").objective
    )
    expected = 0.1 * (logits.sigmoid().mean((-2, -1)) - lesion.mean((-2, -1))).square().mean()
    torch.testing.assert_close(difference, expected)


def test_example_runtime_matches_eager_predictions(examples: Examples) -> None:
    examples.load("float64")
    image = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)
    expected = Predictor(load_weights(shipped_weights()), PLAIN, runtime=None).predict(image)
    loaded = load_weights(shipped_weights())
    runtime = open_runtime("float64", loaded, shipped_weights())
    prediction = Predictor(loaded, PLAIN, runtime=runtime).predict(image)
    np.testing.assert_allclose(prediction.probability, expected.probability, atol=1e-4)


def test_example_report_section_is_the_last_section(examples: Examples, tmp_path: Path) -> None:
    examples.load("count")
    write_run(tmp_path / "runs", recipe("short-unet"), [lesion_row("a", 0.5), lesion_row("b", 0.7, fold=1)])
    section = make_document(read_results(tmp_path / "runs", resamples=50)).sections[-1]
    assert section.heading == "Number of methods"
