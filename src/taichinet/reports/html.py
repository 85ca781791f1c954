"""What all pages share: templates beside this file, and images inside the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import jinja2
from markupsafe import Markup
from PIL import Image


def render(template: str, **values: object) -> str:
    """The HTML of `template`, a file beside this one; every text is escaped, an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def balanced(title: str) -> Markup:
    """The title, escaped, whose last two words stay on one line."""
    return Markup("&nbsp;").join(title.rsplit(" ", 1))


def png_uri(data: bytes) -> str:
    """A PNG as an address that needs no file."""
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def jpeg_uri(picture: Image.Image, quality: int) -> str:
    """An RGB image as the data URI of a JPEG of this quality."""
    memory = io.BytesIO()
    # Full colour resolution: otherwise thin coloured lines bleed.
    picture.convert("RGB").save(memory, format="JPEG", quality=quality, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(memory.getvalue()).decode('ascii')}"
