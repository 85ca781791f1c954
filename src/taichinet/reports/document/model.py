"""The document model of all reports: sections of blocks, which HTML, Markdown and LaTeX print.

A text may contain names between backticks (`short-unet`), which each format sets as code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Cell:
    """A table cell with a second text in small print, such as an interval. HTML prints `best` cells in bold."""

    text: str
    small: str = ""
    best: bool = False


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
class Links:
    """A list of links to files beside the document, as (file name, text)."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Commands:
    """Commands for a shell, one per line."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """A list of names and values."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        headings: The column headings.
        groups: Rows in groups that are separated by a rule.
        words: Number of first columns that contain words and are aligned left; the others are aligned right.
        caption: Printed by LaTeX; the accessible name in HTML.
    """

    headings: tuple[str, ...]
    groups: tuple[tuple[Row, ...], ...]
    words: int = 1
    caption: str = ""


def table_of(rows: Sequence[Mapping[str, str | Cell]], words: int = 1, caption: str = "") -> Table:
    """A table with one group from at least one row by heading; all rows have the same headings."""
    return Table(tuple(rows[0]), (tuple(tuple(row.values()) for row in rows),), words, caption)


@dataclass(frozen=True)
class Figure:
    """A chart, with its content as text and as a table for formats without charts.

    Attributes:
        draw: Returns the chart as an SVG element, see `to_svg`. Called by HTML only.
        description: What the chart shows, for readers who cannot see it.
        caption: Printed below the chart.
        numbers: The values in the chart.
    """

    draw: Callable[[], str]
    description: str
    caption: str
    numbers: Table


@dataclass(frozen=True)
class Images:
    """A row of images as (caption, PNG or JPEG); None for a file that cannot be read. Only HTML shows them."""

    items: tuple[tuple[str, bytes | None], ...]
    columns: int = 3


@dataclass(frozen=True)
class LegendItem:
    """The meaning of a contour (one RGB colour) or of a colour map (several) in the images."""

    text: str
    colours: tuple[tuple[int, int, int], ...]
    line: Literal["solid", "dashed", "dotted"] = "solid"


@dataclass(frozen=True)
class Legend:
    """The legend of the images. Only HTML shows it."""

    items: tuple[LegendItem, ...]


Block = Heading | Note | Points | Links | Commands | Facts | Table | Figure | Images | Legend
TextBlock = Heading | Note | Points | Links | Table


@dataclass(frozen=True)
class Section:
    """A section with a heading of the second level; `name` is its anchor."""

    name: str
    heading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: The title.
        lead: Paragraphs below the title.
        sections: The sections, in order.
        caveat: A warning that every format emphasises.
        contents: Whether the HTML page has a table of contents.
    """

    title: str
    lead: tuple[str, ...]
    sections: tuple[Section, ...]
    caveat: str = ""
    contents: bool = False


def text_blocks(section: Section) -> Iterator[TextBlock]:
    """The blocks of `section` for formats without figures: facts and commands as lists, a figure as text and table."""
    for block in section.blocks:
        if isinstance(block, Facts):
            yield Points(tuple(f"{name}: {value}" for name, value in block.items))
        elif isinstance(block, Commands):
            yield Points(tuple(f"`{line}`" for line in block.lines))
        elif isinstance(block, Figure):
            yield Note(block.description)
            yield block.numbers
        elif not isinstance(block, Images | Legend):
            yield block


def cell_text(cell: str | Cell) -> str:
    """A cell on one line: small print in brackets."""
    if isinstance(cell, str):
        return cell
    return f"{cell.text} ({cell.small})" if cell.small else cell.text
