"""Every command of the documentation is accepted by its program and names what exists; sentences and messages, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from documents.exceptions import NOT_RUN, exception_of
from documents.pages import ROOT, Item, all_items, fragments, items, named_files, page_files
from documents.parsing import check_options, parse, parse_make

PAGES = page_files()
SENTENCES = [*(file for file in PAGES if file.suffix == ".md"), *sorted((ROOT / "src").rglob("*.py"))]


def faults_of(found: Iterable[Item], check: Callable[[Item], None]) -> str:
    """The items that are not accepted, with the error of each."""
    faults = []
    for item in found:
        try:
            check(item)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - those of click, taichinet and assert differ
            faults.append(f"{item}\n    {type(error).__name__}: {getattr(error, 'message', error)}")
    return "\n".join(faults)


def check_item(item: Item) -> None:
    if item.kind == "command":
        parse(item)
    elif item.kind == "python" or item.words[0].endswith(".py"):
        compile(item.text, item.page, "exec")


def check_fragment(item: Item) -> None:
    if item.words[0] == "make":
        parse_make([word for word in item.words[1:] if word.islower()])
    else:
        check_options(item.words[1:])


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_of_the_page_are_accepted(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in named_files().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    faults = faults_of(items(file), check_item)
    assert not faults, faults


def test_commands_in_sentences_and_messages_exist() -> None:
    found = [item for file in SENTENCES for item in fragments(file)]
    assert {item.page.partition("/")[0] for item in found} >= {"README.md", "docs", "src"}
    faults = faults_of(found, check_fragment)
    assert not faults, faults


def test_every_exception_is_needed() -> None:
    found = {exception_of(item) for item in all_items()}
    assert [pattern for pattern in NOT_RUN if pattern not in found] == []
