"""Print a document as one HTML page without external resources. The template is document.html."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import jinja2
from markupsafe import Markup, escape
from PIL import Image

from taichinet.reports.document.model import Cell, Document

TEMPLATES = Path(__file__).parents[1]
TEMPLATE = "document/document.html"
STACKED_COLUMNS = 7
"""Tables of up to this many columns and one group show each row as a block on narrow screens; others scroll."""


def document_html(document: Document, header: str = "", template: str = TEMPLATE, **values: object) -> str:
    """Return the page; every text is escaped.

    Args:
        document: The report.
        header: HTML comment of the first lines, see `generated_by`.
        template: A template below reports/ that extends document.html.
        values: Further values that the template needs.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        document=document,
        header=Markup(header),  # noqa: S704  a constant of the caller
        # The last two words of the title remain on one line.
        title=Markup("&nbsp;").join(document.title.rsplit(" ", 1)),
        inline=inline,
        image=_image_attributes,
        svg=lambda figure: Markup(figure.draw()),  # noqa: S704  matplotlib escapes texts
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


def jpeg_bytes(image: Image.Image, quality: int) -> bytes:
    """Encode `image` as JPEG with full colour resolution, which keeps thin coloured lines sharp."""
    return image_bytes(image.convert("RGB"), format="JPEG", quality=quality, subsampling=0)


def image_bytes(image: Image.Image, format: str = "PNG", **options: int) -> bytes:  # noqa: A002  the name in Pillow
    """Encode `image` as a small file, with `options` of Pillow."""
    memory = io.BytesIO()
    image.save(memory, format=format, optimize=True, **options)
    return memory.getvalue()


def data_uri(data: bytes) -> str:
    """A PNG or JPEG as a data URI."""
    media_type = "image/jpeg" if data.startswith(b"\xff\xd8") else "image/png"
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def _image_attributes(data: bytes) -> Markup:
    width, height = Image.open(io.BytesIO(data)).size
    return Markup('src="{}" width="{}" height="{}"').format(data_uri(data), width, height)
