"""What the report says, as text in sections, parts and tables: Markdown, LaTeX and HTML all print exactly this.

A text may hold names between backticks (`short-unet`), which each format sets as code.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Headings and rows in groups, between which a rule is drawn. The first `words` columns are words, not figures."""

    headings: tuple[str, ...]
    groups: tuple[tuple[tuple[str, ...], ...], ...]
    words: int
    caption: str


@dataclass(frozen=True)
class Part:
    """What stands under one heading of the third level: points, tables, notes. An empty heading is none."""

    heading: str
    points: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """What stands under one heading of the second level; `name` is its anchor."""

    name: str
    heading: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    lead: tuple[str, ...]
    sections: tuple[Section, ...]
