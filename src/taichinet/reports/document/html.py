"""A document as one HTML page that needs nothing else. Its template is document.html."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from taichinet.reports.curves import image_sources
from taichinet.reports.document.model import Cell, Document
from taichinet.reports.html import balanced, png_uri, render

TEMPLATE = "document.html"
STACKED_COLUMNS = 7
"""A table of more columns, or of several groups of rows, scrolls on a narrow screen; others become one block a row."""


def document_html(document: Document, header: str = "", template: str = TEMPLATE, **values: object) -> str:
    """The page, below the comment `header`; every text is escaped.

    Args:
        document: What the page says.
        header: HTML comment of the first lines, see `generated_by`.
        template: A template that extends document.html.
        values: What that template needs besides.

    Returns:
        HTML.
    """
    return render(
        template,
        document=document,
        header=Markup(header),  # noqa: S704  a constant of the caller
        heading=balanced(document.title),
        inline=inline,
        png_uri=png_uri,
        sources=lambda figure: image_sources(figure.draw, figure.size),
        kind=lambda block: type(block).__name__,
        cell=lambda cell: cell if isinstance(cell, Cell) else Cell(cell),
        stacked_columns=STACKED_COLUMNS,
        **values,
    )


def inline(text: str) -> Markup:
    """`text` escaped, names between backticks as code."""
    pieces = re.split(r"`([^`]*)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )
