"""The text of `--help`: as wide as the terminal, without words that are cut or divided."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

from typer.core import TyperCommand

MAX_WIDTH = 100
LEAST_FOR_COLUMNS = 60  # characters; on narrower terminals a description is below its option

_Context = TyperCommand.context_class  # of click, or of the copy of click in newer versions of typer


class _Formatter(_Context.formatter_class):  # type: ignore[name-defined,misc]
    """Wraps between words only, so that names such as cpu-rf-net and paths can be copied."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        super().__init__(indent_increment, width or min(shutil.get_terminal_size().columns, MAX_WIDTH), max_width)

    def write_text(self, text: str) -> None:
        self.write(_wrapped(text, self.width, " " * self.current_indent) + "\n")

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        wide = self.width >= LEAST_FOR_COLUMNS
        column = min(max(len(first) for first, _ in rows), col_max) + col_spacing if wide else 2 * col_spacing
        indent = " " * (self.current_indent + column)
        for first, second in rows:
            text = _wrapped(second, self.width, indent)
            head = " " * self.current_indent + first
            if len(head) + col_spacing <= len(indent):
                self.write(f"{head.ljust(len(indent))}{text.lstrip()}\n")
            else:
                self.write(f"{head}\n{text}\n")


class HelpContext(_Context):  # type: ignore[valid-type,misc]
    """A context whose help is written by `_Formatter`."""

    formatter_class = _Formatter


def _wrapped(text: str, width: int, indent: str) -> str:
    """The paragraphs of `text`, each wrapped between words."""
    wrapper = textwrap.TextWrapper(
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n\n".join(map(wrapper.fill, text.strip().split("\n\n")))
