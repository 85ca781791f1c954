"""`taichinet data list`: the supported data sets and their sources."""

from __future__ import annotations

from taichinet.cli.options import AsJson


def list_data(as_json: AsJson = False) -> None:
    """List the supported data sets: name, regions, images, licence, source. Nothing is downloaded."""
    import json

    # Not in cli/printing.py, which imports torch: this command should start fast.
    from rich.console import Console

    from taichinet.datasets.catalogue import CATALOGUE

    fields = ("name", "title", "regions", "images", "licence", "source")
    rows = [{field: getattr(entry, field) for field in fields} for entry in CATALOGUE.values()]
    if as_json:
        print(json.dumps(rows))
        return
    console = Console(highlight=False)
    console.print("Pass PATH, or NAME=PATH if several data sets have the same layout. Nothing is downloaded.\n")
    for entry in CATALOGUE.values():
        images = "" if entry.images is None else f", {entry.images} images"
        console.print(f"[bold]{entry.name}[/]  {entry.title}{images}; {', '.join(entry.regions)}", soft_wrap=True)
        console.print(f"    licence: {entry.licence}\n    source: {entry.source}", soft_wrap=True, markup=False)
