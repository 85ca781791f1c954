"""`taichinet data`: `list` in this file, the others in files of their names, e.g. data_check.py."""

from __future__ import annotations

import typer

from taichinet.cli.command import HELP_OPTIONS, Command, Group
from taichinet.cli.data_bundle import bundle, verify_bundle
from taichinet.cli.data_check import check
from taichinet.cli.data_examples import examples
from taichinet.cli.data_export import export_data
from taichinet.cli.options import AsJson

data_app = typer.Typer(
    cls=Group,
    help="List, check, export and bundle data sets, and write example images.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings=HELP_OPTIONS,
)


@data_app.command("list", cls=Command)
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
    console = Console(highlight=False, soft_wrap=True)
    console.print("Pass PATH, or NAME=PATH if several data sets have the same layout. Nothing is downloaded.\n")
    for entry in CATALOGUE.values():
        images = "" if entry.images is None else f", {entry.images} images"
        console.print(f"[bold]{entry.name}[/]  {entry.title}{images}; {', '.join(entry.regions)}")
        console.print(f"    licence: {entry.licence}\n    source: {entry.source}", markup=False)


data_app.command("check", cls=Command)(check)
data_app.command("examples", cls=Command)(examples)
data_app.command("export", cls=Command)(export_data)
data_app.command("bundle", cls=Command)(bundle)
data_app.command("verify-bundle", cls=Command)(verify_bundle)
