"""Escaping of text from users (names, paths, labels, settings) in Markdown."""

from __future__ import annotations

import re

_BREAKS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")  # HTML or a link in CommonMark, unlike "p < 0.001"
_ENTITY = re.compile(r"&(?=#?\w+;)")


def escape_markdown(text: str) -> str:
    """Return `text` as Markdown that contains no HTML, link, code, table cell border or line break."""
    line = _TAG.sub("&lt;", _ENTITY.sub("&amp;", _BREAKS.sub(" ", text)))
    return line.replace("|", "\\|").replace("](", "]\\(").replace("`", "'")


def inline_markdown(text: str) -> str:
    """Return `text` escaped like `escape_markdown`, with text between two backticks as code."""
    pieces = re.split(r"`([^`]+)`", _BREAKS.sub(" ", text))
    shown = [escape_markdown(piece) for piece in pieces]
    for place in range(1, len(pieces), 2):
        # In code, only the border of a table cell is interpreted. Adjacent code spans need a space between them:
        # their backticks would be read as one delimiter of two.
        shown[place] = f"`{pieces[place].replace('|', chr(92) + '|')}`"
        if place > 1 and not shown[place - 1]:
            shown[place - 1] = " "
    return "".join(shown)
