"""Text that a user may have chosen (names, paths, labels, settings) inside Markdown: it stays text."""

from __future__ import annotations

import re

_BREAKS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")  # what CommonMark takes for HTML or a link; "p < 0.001" is none
_ENTITY = re.compile(r"&(?=#?\w+;)")


def escape_markdown(text: str) -> str:
    """Return `text` as Markdown in which no HTML, link, code, table cell or new line begins."""
    line = _TAG.sub("&lt;", _ENTITY.sub("&amp;", _BREAKS.sub(" ", text)))
    return line.replace("|", "\\|").replace("](", "]\\(").replace("`", "'")


def inline_markdown(text: str) -> str:
    """Return `text` escaped as by `escape_markdown`, with what stands between two backticks as code."""
    pieces = re.split(r"`([^`]+)`", _BREAKS.sub(" ", text))
    shown = [escape_markdown(piece) for piece in pieces]
    for place in range(1, len(pieces), 2):
        # In code nothing but the end of a table's cell is read. Two spans in touch would be read as one of two ticks.
        shown[place] = f"`{pieces[place].replace('|', chr(92) + '|')}`"
        if place > 1 and not shown[place - 1]:
            shown[place - 1] = " "
    return "".join(shown)
