"""The command `taichinet`: its subcommands, and the one place where errors become exit codes.

Exit codes: 0 done; 1 a defect of taichinet; 2 wrong usage; 3 data; 4 settings; 5 weights or checkpoints; 6 folds or
leakage; 7 some inputs failed, the others were done; 8 another process of the same training is gone; 130 interrupted.
"""

from __future__ import annotations

import io
import sys

import typer
from rich.console import Console
from rich.markup import escape

from taichinet.cli.compare import compare
from taichinet.cli.data import data_app
from taichinet.cli.demo import demo
from taichinet.cli.evaluate import evaluate
from taichinet.cli.export import export
from taichinet.cli.figures import figures
from taichinet.cli.models import models
from taichinet.cli.pack import pack
from taichinet.cli.predict import predict
from taichinet.cli.report import report
from taichinet.cli.train import train
from taichinet.errors import TaiChiNetError

# Each subcommand imports what it needs when it runs: `taichinet --help` must not wait for torch.
app = typer.Typer(
    name="taichinet",
    help="Segment breast lesions in ultrasound with TaiChiNet: train, score, predict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (demo, train, compare, evaluate, predict, export, pack, report, figures, models):
    app.command()(command)
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command line; errors that a user can mend are one message and an exit code, never a traceback."""
    for stream in (sys.stdout, sys.stderr):  # a character that the terminal's encoding lacks is printed as its code
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except TaiChiNetError as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except OSError as error:
        message = f"{error.strerror or error} ({error.filename})" if error.filename else str(error)
        Console(stderr=True).print(
            f"[bold red]Error:[/] {escape(message)}. Check the path, its rights and the room on the disk.",
            soft_wrap=True,
        )
        sys.exit(3)
    except UnicodeEncodeError as error:
        Console(stderr=True).print(
            f"Error: the name {error.object!r} is not valid UTF-8. Rename the file or folder.",
            soft_wrap=True,
            markup=False,
        )
        sys.exit(3)
