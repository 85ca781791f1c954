"""The commands and snippets of each page run in their order in one folder, on phantoms and with tiny trainings."""

from __future__ import annotations

import re
import runpy
import shlex
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain, pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest
from cli.test_commands import run
from conftest import BuildOnce

from documents.exceptions import exception_of
from documents.inputs import EXPORTED, PageFolder, tiny
from documents.pages import ROOT, Item, all_items, items, page_files
from documents.parsing import parse_taichinet, taichinet_arguments
from taichinet import runner
from taichinet.experiments.grid import suite
from taichinet.models import catalogue

COSTLY = ("train", "compare", "cost", "export", "benchmark")


def form(item: Item) -> tuple[object, ...] | None:
    """What a costly command has in common with others: its options, and whether it names recipes, files or tables.

    None for other commands, all of which are run. The values, e.g. of --set, are compared by test_parsed.py.
    """
    words = taichinet_arguments(list(item.words)) if item.kind == "command" and not exception_of(item) else None
    if not words or words[0] not in COSTLY:
        return None
    options = {word for word in words if word.startswith("-")} - {"-o", "--output", "--format"}
    formats = [word for before, word in pairwise(words) if before == "--format" and word != "onnx"]
    names = takewhile(lambda word: not word.startswith("-"), words[1:])
    kinds = {(Path(name.partition(":")[0]).suffix, name.startswith("table")) for name in names}
    return (words[0], words.count("--data"), *formats, *sorted(options), *sorted(kinds))


@cache
def first_of_each_form() -> dict[tuple[object, ...], Item]:
    """The command of each form that is run."""
    first: dict[tuple[object, ...], Item] = {}
    for item in all_items():
        if (key := form(item)) is not None:
            first.setdefault(key, item)
    return first


def is_run(item: Item) -> bool:
    """Whether the test runs it: it is no exception, and no costly command of the form of another one."""
    key = form(item)
    return not exception_of(item) and (key is None or first_of_each_form()[key] is item)


PAGES = [file for file in page_files() if any(is_run(item) for item in items(file))]


def repository_files() -> dict[Path, int]:
    """The files that commands could write outside their folder, with the times of their last change."""
    files = (file for name in ("src", "docs", "results") for file in (ROOT / name).rglob("*"))
    return {file: file.stat().st_mtime_ns for file in files if "__pycache__" not in str(file) and file.is_file()}


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_graph: Callable[..., Any]) -> Iterator[None]:
    """One row and fold of each table, one conversion of each network; nothing is left in the repository."""
    find_suite, before = suite.find_suite, repository_files()

    def one_row(name: str) -> suite.Suite:
        found = find_suite(name)
        parts = [part.model_copy(update={"recipes": part.recipes[-1:]}) for part in found.parts[:1]]
        few = {"folds": (0,), "protocols": found.protocols[:1], "seeds": found.seeds[:1]}
        return found.model_copy(update={"parts": tuple(parts), **few})

    monkeypatch.setattr(suite, "find_suite", one_row)
    monkeypatch.setattr("taichinet.inference.export.graph.network_graph", shared_graph)
    monkeypatch.setattr("taichinet.reports.run_images.RunImages.completed", lambda *result: None)  # a third of the time
    monkeypatch.setenv("TAICHINET_CACHE", str(tmp_path / "cache"))
    yield
    assert repository_files() == before, "a command has written outside the folder of the page"
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
        if not is_run(item):
            continue
        began = time.process_time()
        try:
            execute(item, inputs, names)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - all faults of a page are shown together
            faults.append(f"{item}\n    {type(error).__name__}: {error}")
            print("FAULT", faults[-1])
        print(f"{time.process_time() - began:.2f} s  {item}")
    assert not faults, "\n".join(faults)


def execute(item: Item, inputs: PageFolder, names: dict[str, Any]) -> None:
    """Run a command or a snippet in this process; raises its error."""
    words = list(item.words)
    if item.kind == "python":
        inputs.provide([name for name in EXPORTED if name in item.text])
        exec(compile(item.text, str(item), "exec"), names)  # noqa: S102 - the snippets are those of this repository
    elif item.kind == "file":
        if words[0].endswith(".py"):
            runpy.run_path(words[0])
    elif (arguments := taichinet_arguments(words)) is not None:
        inputs.provide(arguments)
        if "--all-images" in arguments:  # needs the folds, whose training may be the same form as another
            inputs.provide([f"runs/busi/{arguments[1]}/grouped"])
        printed = run(*tiny(arguments))
        for command in re.findall(r"(?:^  [\w ]+: +|with: )(taichinet .+)$", printed, re.MULTILINE):
            parse_taichinet(shlex.split(command.replace("KEY=VALUE", "training.epochs=1"))[1:])
    elif words[1:3] == ["-m", "taichinet.runner"]:
        inputs.provide(words)
        paths = [sorted(map(str, Path().glob(word))) if "*" in word else [word] for word in words[3:]]
        assert runner.main(list(chain.from_iterable(paths))) == 0
    elif words[0] in ("cd", "source", "."):
        return  # the folder and the environment are those of the test
    elif words[1] == "-c":
        exec(compile(words[2], str(item), "exec"), {})  # noqa: S102
    else:
        raise AssertionError("this test does not run such a command: add it to NOT_RUN, with the reason")
