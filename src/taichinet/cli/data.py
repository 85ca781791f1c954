"""`taichinet data`: its own subcommands, a file each (data_list.py, data_export.py)."""

from __future__ import annotations

import typer

from taichinet.cli.data_export import export_data
from taichinet.cli.data_list import list_data

data_app = typer.Typer(help="List the known data sets; export one for nnU-Net or MONAI.", no_args_is_help=True)
data_app.command("list")(list_data)
data_app.command("export")(export_data)
