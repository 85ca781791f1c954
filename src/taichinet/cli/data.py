"""`taichinet data`: its subcommands, one file each (data_list.py, data_check.py, data_export.py)."""

from __future__ import annotations

import typer

from taichinet.cli.data_check import check
from taichinet.cli.data_export import export_data
from taichinet.cli.data_list import list_data

data_app = typer.Typer(help="List, check and export data sets.", no_args_is_help=True)
data_app.command("list")(list_data)
data_app.command("check")(check)
data_app.command("export")(export_data)
