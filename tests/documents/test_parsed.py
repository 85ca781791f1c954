"""Every command of the documentation is accepted by its program and names what exists; sentences and messages, too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from documents.exceptions import NOT_RUN, exception_of
from documents.pages import ROOT, Item, all_items, fragments, items, named_files, page_files, trace
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
            faults.append(f"{item}\n    {type(error).__name__}: {getattr(error, 'format_message', error.__str__)()}")
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
    assert {item.page.partition("/")[0] for item in found} >= {"CONTRIBUTING.md", "docs", "src"}
    faults = faults_of(found, check_fragment)
    assert not faults, faults


def test_every_exception_is_needed() -> None:
    found = {exception_of(item) for item in all_items()}
    assert [pattern for pattern in NOT_RUN if pattern not in found] == []


def test_every_notebook_is_committed_without_outputs() -> None:
    for file in (file for file in PAGES if file.suffix == ".ipynb"):
        code = [cell for cell in json.loads(file.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
        assert not any(cell["outputs"] or cell["execution_count"] for cell in code), file.name


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("taichinet train cpu-unet --data D --overwritten", "No such option"),
        ("taichinet trian cpu-unet --data D", "no command 'trian'"),
        ("taichinet train cpu-unett --data D", "recipe 'cpu-unett'"),
        ("taichinet train cpu-unet --fold 0", "Missing option '--data'"),
        ("taichinet train cpu-unet --data D --fold zero", "--fold"),
        ("taichinet train cpu-unet --data D --protocol random", "random is not one of"),
        ("taichinet train cpu-unet --data D --set training.epoch=1", "epoch"),
        ("taichinet train other.py:Net --data D", "no page has a file other.py"),
        ("taichinet compare table9 --data D", "'table9'"),
        ("taichinet compare unet --against unett --data D", "'unett'"),
        ("for n in 1 2; do srun taichinet train demo-x$n --data D; done", "recipe 'demo-x2'"),
        ("python -m taichinet.runner lesion.onnx scan.png", "argparse"),
        ("python benchmarks/parity.py --imagess D", "argparse"),
        ("python benchmarks/paritty.py", "no file"),
        ("make tests", "no target tests"),
        ("pip install '.[trian]'", "no extra trian"),
        ("docker build -f Dockerfile.absent .", "no file Dockerfile.absent"),
        ("nnunet train", "no parser"),
    ],
)
def test_wrong_command_is_found(line: str, message: str) -> None:
    assert message in faults_of((Item("page.md", 1, "command", words) for _, words in trace(line)), check_item)


@pytest.mark.parametrize("words", ["taichinet data chek", "taichinet predict --overlays", "make tests"])
def test_wrong_command_in_a_sentence_is_found(words: str) -> None:
    assert faults_of([Item("page.md", 1, "fragment", tuple(words.split()))], check_fragment)
