"""`taichinet data`: its own subcommands, a file each (data_check.py)."""

from __future__ import annotations

import typer

from taichinet.cli.data_check import check

data_app = typer.Typer(help="Check a data set before anybody trains on it.", no_args_is_help=True)
data_app.command("check")(check)
