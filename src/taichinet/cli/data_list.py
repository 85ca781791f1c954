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

    from taichinet.datasets.catalogue import CATALOGUE

    words = ("name", "title", "regions", "images", "licence", "source")
    rows = [{word: getattr(entry, word) for word in words} for entry in CATALOGUE.values()]
    if as_json:
        print(json.dumps(rows))
        return
    console = Console(highlight=False)
    console.print("Pass NAME=PATH, or PATH where only one has its layout. Nothing is downloaded.\n")
    for entry in CATALOGUE.values():
        images = "" if entry.images is None else f", {entry.images} images"
        console.print(f"[bold]{entry.name}[/]  {entry.title}{images}; {', '.join(entry.regions)}", soft_wrap=True)
        console.print(f"    licence: {entry.licence}\n    source: {entry.source}", soft_wrap=True, markup=False)
