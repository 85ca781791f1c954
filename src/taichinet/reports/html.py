"""What all pages share: templates beside this file, and images inside the page."""

from __future__ import annotations

import base64
from pathlib import Path

import jinja2
from markupsafe import Markup


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
