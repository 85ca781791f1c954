"""The commands and snippets of each page run in their order in one folder, on phantoms and with tiny trainings."""

from __future__ import annotations

import re
import runpy
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.test_commands import run
from conftest import BuildOnce

from documents.exceptions import exception_of
from documents.inputs import PageFolder, tiny
from documents.pages import ROOT, Item, items, page_files
from documents.parsing import parse_taichinet, taichinet_arguments
from taichinet import runner
from taichinet.experiments.grid import suite
from taichinet.models import catalogue

PAGES = [file for file in page_files() if any(not exception_of(item) for item in items(file))]


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_graph: Callable[..., Any]) -> Iterator[None]:
    """Two rows of each table, one conversion of each network, and no network of a file after the test."""
    find_suite = suite.find_suite

    def two_rows(name: str) -> suite.Suite:
        found = find_suite(name)
        parts = [part.model_copy(update={"recipes": part.recipes[:2]}) for part in found.parts[:1]]
        return found.model_copy(update={"parts": tuple(parts)})

    monkeypatch.setattr(suite, "find_suite", two_rows)
    monkeypatch.setattr("taichinet.inference.export.graph.network_graph", shared_graph)
    monkeypatch.setenv("TAICHINET_CACHE", str(tmp_path / "cache"))
    yield
    for model in [model for model in catalogue.CATALOGUE if "@" in model]:
        del catalogue.CATALOGUE[model]


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_page_runs_as_written(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build_once: BuildOnce
) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    monkeypatch.chdir(folder)
    inputs = PageFolder(folder, build_once)
    names = inputs.names()
    faults = []
    for item in items(file):
        if exception_of(item):
            continue
        began = time.process_time()
        try:
            execute(item, inputs, names)
        except (Exception, SystemExit) as error:
            faults.append(f"{item}\n    {type(error).__name__}: {error}")
        print(f"{time.process_time() - began:.2f} s  {item}")
    assert not faults, "\n".join(faults)


def execute(item: Item, inputs: PageFolder, names: dict[str, Any]) -> None:
    """Run a command or a snippet in this process; raises its error."""
    words = list(item.words)
    if item.kind == "python":
        exec(compile(item.text, str(item), "exec"), names)  # noqa: S102 - the snippets are those of this repository
    elif item.kind == "file":
        if words[0].endswith(".py"):
            runpy.run_path(words[0])
    elif (arguments := taichinet_arguments(words)) is not None:
        inputs.provide(arguments)
        printed = run(*tiny(arguments))
        for command in re.findall(r"(?:^  [\w ]+: +|with: )(taichinet .+)$", printed, re.MULTILINE):
            parse_taichinet(shlex.split(command)[1:])
    elif words[1:3] == ["-m", "taichinet.runner"]:
        assert runner.main(words[3:]) == 0
    elif words[1] == "-c":
        exec(compile(words[2], str(item), "exec"), {})  # noqa: S102
    else:
        raise AssertionError("this test does not run such a command: add it to NOT_RUN, with the reason")
