"""`taichinet data list`: every data set that can be read, and where users get it."""

from __future__ import annotations

from typing import Annotated

import typer


def list_data(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the data sets that can be read: name, regions, images, licence, source. Nothing is downloaded."""
    import json

    # Not in cli/printing.py: that imports torch, and a list of names should come at once.
    from rich.console import Console
    from rich.table import Table

    from taichinet.datasets.catalogue import CATALOGUE

    words = ("name", "title", "regions", "images", "licence", "source")
    rows = [{word: getattr(entry, word) for word in words} for entry in CATALOGUE.values()]
    if as_json:
        print(json.dumps(rows))
        return
    table = Table(title="Data sets: pass NAME=PATH, or PATH where only one has its layout")
    for word in words:
        table.add_column(word, justify="right" if word == "images" else "left", overflow="fold")
    for entry in CATALOGUE.values():
        images = "" if entry.images is None else str(entry.images)
        table.add_row(entry.name, entry.title, ", ".join(entry.regions), images, entry.licence, entry.source)
    Console().print(table)
