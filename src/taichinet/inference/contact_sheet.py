"""The page `index.html` of `taichinet predict`: the overlays of all images, sortable, without external resources.

It needs neither a server nor scripts: without scripts, the images keep the order in which they are written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from urllib.parse import quote

from taichinet.inference.overlay import BOX, CONTOUR
from taichinet.inference.rows import Provenance, Row

PAGE = "index.html"
MOST_IMAGES = 10_000
"""The page shows these first images of its order. A browser needs seconds to open more."""

_MARKER = "<!-- Written by taichinet predict -->"
_MARKER_BYTES = 200  # of the page, in which the marker must be
_ORDERS = {
    "uncertainty": ("uncertainty", "mean_disagreement", "highest", "lowest"),
    "area": ("size of the lesion", "area_share", "largest", "smallest"),
    "presence": ("presence score", "presence", "highest", "lowest"),
}
"""For each order its name, column, and words for its two directions; the first one that has values is the default."""


def is_own_page(path: Path) -> bool:
    """Whether `path` is a page that `taichinet predict` wrote."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return _MARKER.encode() in stream.read(_MARKER_BYTES)


def page_html(rows: Sequence[Row], provenance: Provenance, table: str) -> str:
    """The page, in a folder with the outputs of all rows.

    Args:
        rows: The rows of all images; images without an error have an overlay.
        provenance: How the results were made.
        table: Name of the tables, without .csv and .json.

    Returns:
        HTML, in which every text is escaped and every link is relative.
    """
    done, failed = [row for row in rows if row.error is None], [row for row in rows if row.error is not None]
    lesions = sum(bool(row.lesion_pixels) for row in done)
    counts = [f"{lesions:,} with a lesion", f"{len(done) - lesions:,} without"]
    counts += [f'<a href="#failed">{len(failed):,} failed</a>'] if failed else []
    facts = {
        "Weights": provenance.weights,
        "SHA-256 of the weights": provenance.weights_digest,
        "Runtime": f"{provenance.runtime}, {provenance.precision}",
        "Probability threshold": f"{provenance.threshold:g}",
        "taichinet": provenance.version,
    }
    template = Template(files("taichinet.inference").joinpath("contact_sheet.html").read_text(encoding="utf-8"))
    return template.substitute(
        marker=_MARKER,
        title=f"Predictions for {len(rows):,} image{'s' * (len(rows) != 1)}",
        contour=CONTOUR,
        box=BOX,
        counts=f"{', '.join(counts)}.",
        table=escape(table),
        failed="\n".join(_failed(failed)),
        cards="\n".join(_cards(done)),
        provenance="\n".join(f"<dt>{name}</dt><dd>{_text(value)}</dd>" for name, value in facts.items()),
    )


def _failed(rows: Sequence[Row]) -> Iterator[str]:
    if rows:
        yield '<h2 id="failed">Failed</h2>\n<ul class="failed">'
        for row in rows:
            file = (Path(row.name).parent / Path(row.file).name).as_posix()
            yield f"<li><b>{_text(file)}</b> {_text(str(row.error).removeprefix(f'{row.file}: '))}</li>"
        yield "</ul>"


def _cards(rows: Sequence[Row]) -> Iterator[str]:
    """The selection of the order, and one list item per image in the default order."""
    orders = {key: order for key, order in _ORDERS.items() if any(getattr(row, order[1]) is not None for row in rows)}
    if not orders:
        return
    default = next(iter(orders.values()))
    ranked = sorted(rows, key=lambda row: -(getattr(row, default[1]) or 0.0))
    options = "".join(
        f'<option value="{key} {sign}">{name}, {word} first</option>'
        for key, (name, _, *words) in orders.items()
        for sign, word in zip((1, -1), words, strict=True)
    )
    yield "<h2>Images</h2>"
    if len(ranked) > MOST_IMAGES:
        yield (
            f"<p>The first {MOST_IMAGES:,} of {len(ranked):,} images are shown, by {default[0]}, {default[2]} first. "
            "The overlays of the others are in this folder.</p>"
        )
    yield (
        f'<label hidden>Order <select id="order" autocomplete="off">{options}'
        '<option value="number -1">as given</option></select></label>'
    )
    yield f"<noscript><p>Ordered by {default[0]}, {default[2]} first.</p></noscript>"
    yield '<ul class="cards">'
    numbers = {row.file: number for number, row in enumerate(rows)}
    for row in ranked[:MOST_IMAGES]:
        yield _card(row, numbers[row.file], orders)
    yield "</ul>"
    yield (
        '<p class="parts" id="parts" hidden><button type="button">Previous</button><span></span>'
        '<button type="button">Next</button></p>'
    )


def _card(row: Row, number: int, orders: dict[str, tuple[str, str, str, str]]) -> str:
    values = {key: getattr(row, column) for key, (_, column, *_) in orders.items()}
    data = "".join(f' data-{key}="{value:.6g}"' for key, value in values.items() if value is not None)
    name = _text(row.name)
    links = [_link(row, kind, kind) for kind in ("mask", "probability")]
    if row.mean_disagreement is not None:
        links.append(_link(row, "disagreement", "disagreement"))
    image = f'<img loading="lazy" decoding="async" src="{_url(row, "overlay")}" alt="Overlay of {name}">'
    lines = "<br>".join(_measurements(row))
    return (
        f'<li data-number="{number}"{data}><a href="{_url(row, "overlay")}">{image}</a>'
        f"<p><b>{name}</b><br>{lines}<br>{' · '.join(links)}</p></li>"
    )


def _measurements(row: Row) -> Iterator[str]:
    if row.lesion_pixels and row.area_share is not None:
        components = f", {row.components} components" if row.components != 1 else ""
        yield f"lesion: {100 * row.area_share:.2g} % of the image{components}"
    else:
        yield '<span class="none">no lesion</span>'
    if row.presence is not None:
        threshold = f", lesion from {row.presence_threshold:.2f}" if row.presence_threshold else ""
        yield f"presence {row.presence:.2f}{threshold}"
    if row.mean_disagreement is not None:
        yield f"uncertainty {row.mean_disagreement:.4f}"


def _link(row: Row, kind: str, text: str) -> str:
    return f'<a href="{_url(row, kind)}">{text}</a>'


def _url(row: Row, kind: str) -> str:
    """Relative address of an output file; names that are not valid UTF-8 keep their bytes."""
    return quote(os.fsencode(f"{row.name}_{kind}.png"))


def _text(text: str) -> str:
    """Escaped text, with backslash escapes for what is not valid Unicode."""
    return escape(text.encode("utf-8", "backslashreplace").decode("utf-8"))
