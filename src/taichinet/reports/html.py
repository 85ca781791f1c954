"""What every page shares: templates beside this file, pictures inside the page, numbers as printed."""

from __future__ import annotations

import base64
from math import isfinite
from pathlib import Path

import jinja2
from markupsafe import Markup

EMPTY = "–"


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


def number(value: float | None, digits: int) -> str:
    """`value` with `digits` decimals, or a dash where there is none."""
    return EMPTY if value is None or not isfinite(value) else f"{value:.{digits}f}"


def counted(value: int) -> str:
    """A whole number with narrow spaces between the thousands."""
    return f"{value:,}".replace(",", "\u202f")


def balanced(title: str) -> Markup:
    """The title, escaped, whose last two words stay on one line."""
    return Markup("&nbsp;").join(title.rsplit(" ", 1))


def png_uri(data: bytes) -> str:
    """A PNG as an address that needs no file."""
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
