"""The report's HTML page: the document, and a scatter plot of two methods image by image."""

from __future__ import annotations

import json
from collections.abc import Sequence

from markupsafe import Markup

from taichinet.reports.comparison.cases import CaseStudy, label_of
from taichinet.reports.document.html import document_html
from taichinet.reports.document.model import Document
from taichinet.reports.html import png_uri
from taichinet.reports.overlay import PREDICTION, SECOND, TRUTH

TEMPLATE = "comparison_page.html"
DECIMALS = 4


def comparison_html(document: Document, studies: Sequence[CaseStudy]) -> str:
    """The page; every text is escaped, and it runs without a network."""
    return document_html(
        document,
        template=TEMPLATE,
        studies=studies,
        data=_script_json([_study_data(study) for study in studies]),
        strokes={"truth": TRUTH.colour, "first": PREDICTION.colour, "second": SECOND.colour},
    )


def _study_data(study: CaseStudy) -> dict[str, object]:
    return {
        "title": study.title,
        "keys": study.keys,
        "dice": {
            name: [None if value is None else round(value, DECIMALS) for value in values]
            for name, values in study.dice.items()
        },
        "first": label_of(study.first),
        "second": label_of(study.second),
        "pictures": {key: png_uri(picture) for key, picture in study.pictures.items()},
        "note": study.note.replace("`", ""),
    }


def _script_json(value: object) -> Markup:
    """JSON that may stand in a script element: no sign in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704  every sign with a meaning in HTML was replaced above
