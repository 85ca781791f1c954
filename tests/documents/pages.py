"""The pages of the documentation, and the commands and snippets in them, in the order in which a reader meets them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHELLS = ("sh", "bash", "shell", "console")
PROGRAMS = (
    r"(?:taichinet|python3?|pip|make|torchrun|sh|docker|git) |#!/"  # first words of a shell block without language
)
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+)(?P<info>[^\n`]*)\n(?P<text>.*?)^ *(?P=fence)`*$", re.S | re.M)
FILE = re.compile(r"# ([\w-]+\.(?:py|yaml|toml))\n")  # the first line of a block that is a file
TRACE = r"""
command_not_found_handle() { printf '%s\0' "${BASH_LINENO[0]}" "$@" $'\x1e' >> "$RECORD"; }
for name in cd source . exec exit wait; do eval "$name() { command_not_found_handle $name \"\$@\"; }"; done
"""


@dataclass(frozen=True)
class Item:
    """A command, a Python snippet or a file of a page.

    Attributes:
        page: The page, relative to the repository.
        line: Its line in the page; for a notebook the number of the cell.
        kind: "command", "python", "file", or "fragment": a command within a sentence, which may be incomplete.
        words: Words of a command, as bash splits and expands them; of a file its name.
        text: Text of a snippet or a file.
    """

    page: str
    line: int
    kind: str
    words: tuple[str, ...] = ()
    text: str = ""

    @property
    def content(self) -> str:
        """What the exceptions are matched with: `page: command`, `page: text` or `page: # file`."""
        return f"{self.page}: {self.text if self.kind == 'python' else ' '.join(self.words)}"

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {' '.join(self.words) or self.text[:200]}"


def page_files() -> list[Path]:
    """All pages, apart from the change log, whose commands may be those of an older version."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.md")]
    return sorted({*files, *(ROOT / "docs").rglob("*.ipynb")} - {ROOT / "CHANGELOG.md"})


@cache
def items(file: Path) -> tuple[Item, ...]:
    """The commands, snippets and files of a page, in its order."""
    page, text = str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        return tuple(
            Item(page, number, "python", text="".join(cell["source"]))
            for number, cell in enumerate(cells)
            if cell["cell_type"] == "code"
        )
    found, script = [], [""] * text.count("\n")
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 2  # the first line within the fences
        language = match["info"].strip().split(" ")[-1].strip("{}")
        block = "".join(row.removeprefix(match["indent"]) for row in match["text"].splitlines(keepends=True))
        named = FILE.match(block)
        if named and language not in SHELLS:
            found.append(Item(page, line, "file", (named[1],), block))
        elif language == "python":
            found.append(Item(page, line, "python", text=block))
        elif language in SHELLS or (language in ("", "text") and re.match(PROGRAMS, block.removeprefix(".venv/bin/"))):
            rows = block.splitlines()
            if language == "console":
                rows = [row[2:] if row.startswith("$ ") else "" for row in rows]
            script[line - 1 : line - 1 + len(rows)] = rows
    commands = trace("\n".join(script))
    found += [Item(page, line, "command", words) for line, words in commands]
    return tuple(sorted(found, key=lambda item: item.line))


def trace(script: str) -> list[tuple[int, tuple[str, ...]]]:
    """Let bash split and expand the commands of a script without executing any: (line, words) of each.

    No program is found, so that bash passes each command to the handler of unknown commands, which writes its words.
    """
    script = re.sub(r"(?:\./)?\.venv/bin/(?!activate)", "", script)
    with tempfile.TemporaryDirectory() as folder:
        handler, page, record = (Path(folder) / name for name in ("handler", "page", "record"))
        handler.write_text(TRACE, encoding="utf-8")
        page.write_text(script, encoding="utf-8")
        record.touch()
        for target in re.findall(r">\s*([\w-][\w./-]*)/", script):
            (Path(folder) / target).mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["/bin/bash", page],
            cwd=folder,
            env={"BASH_ENV": str(handler), "RECORD": str(record), "PATH": os.devnull},
            capture_output=True,
            text=True,
        )
        assert not done.stderr, f"bash does not accept the commands: {done.stderr}"
        records = record.read_text(encoding="utf-8").split("\0\x1e\0")[:-1]
    return [(int(line), tuple(words)) for line, *words in (text.split("\0") for text in records)]


@cache
def fragments(file: Path) -> tuple[Item, ...]:
    """The commands in sentences of a page, and in strings of a Python file: `taichinet NAME ...`, `make NAME`."""
    text = file.read_text(encoding="utf-8")
    text = FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)  # keeps the numbers of the lines
    page = str(file.relative_to(ROOT))
    return tuple(
        Item(page, text.count("\n", 0, match.start()) + 1, "fragment", tuple(re.split(r"[\s\"#>|]+", match[1])))
        for match in re.finditer(r"`((?:\.venv/bin/)?(?:taichinet|make) [^`]+)`", text)
    )


def all_items() -> list[Item]:
    """The commands, snippets and files of all pages."""
    return [item for file in page_files() for item in items(file)]


def named_files() -> dict[str, str]:
    """The files in the pages by name, apart from those of CONTRIBUTING.md: `# mynet.py` is the first line of one."""
    named = [item for item in all_items() if item.kind == "file" and item.page != "CONTRIBUTING.md"]
    return {item.words[0]: item.text for item in named}
