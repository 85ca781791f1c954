"""The document model of all reports: sections of blocks, which every format prints.

A text may hold names between backticks (`short-unet`), which each format sets as code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taichinet.reports.curves import Look  # imports matplotlib


@dataclass(frozen=True)
class Cell:
    """A table cell with a second text in small print, such as the interval of a mean."""

    text: str
    small: str = ""


Row = tuple[str | Cell, ...]


@dataclass(frozen=True)
class Heading:
    """A heading of the third level."""

    text: str


@dataclass(frozen=True)
class Note:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Points:
    """A bulleted list."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """A list of names and values."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """Headings, and rows in groups that are separated by a rule.

    The first `words` columns hold words and are aligned left; the others hold numbers and are aligned right.
    """

    headings: tuple[str, ...]
    groups: tuple[tuple[Row, ...], ...]
    words: int = 1
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure and the same content as text and as a table, for formats without figures.

    `draw` makes a PNG for a colour scheme and a width in inches; `size` is that PNG's width and height in pixels.
    """

    draw: Callable[[Look, float], bytes]
    size: Callable[[float], tuple[int, int]]
    description: str
    caption: str
    numbers: Table


@dataclass(frozen=True)
class Pictures:
    """Images as (caption, PNG). Only HTML shows them."""

    items: tuple[tuple[str, bytes], ...]


Block = Heading | Note | Points | Facts | Table | Figure | Pictures


@dataclass(frozen=True)
class Section:
    """A section with a heading of the second level; `name` is its anchor."""

    name: str
    heading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A report. `lead` holds the paragraphs below the title, `caveat` a warning that every format emphasises."""

    title: str
    lead: tuple[str, ...]
    sections: tuple[Section, ...]
    caveat: str = ""


def text_blocks(section: Section) -> Iterator[Heading | Note | Points | Table]:
    """The blocks of `section` for formats without figures: facts as a list, a figure as its text and table."""
    for block in section.blocks:
        if isinstance(block, Facts):
            yield Points(tuple(f"{name}: {value}" for name, value in block.items))
        elif isinstance(block, Figure):
            yield Note(block.description)
            yield block.numbers
        elif not isinstance(block, Pictures):
            yield block


def cell_text(cell: str | Cell) -> str:
    """A cell on one line: small print in brackets."""
    if isinstance(cell, str):
        return cell
    return f"{cell.text} ({cell.small})" if cell.small else cell.text
