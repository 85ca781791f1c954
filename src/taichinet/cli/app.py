"""The command `taichinet`: its subcommands, and the mapping of errors to exit codes.

Exit codes: 0 success; 1 a bug in taichinet; 2 wrong usage; 3 data; 4 settings, or a package that is not installed; 5
weights or checkpoints; 6 folds or leakage; 7 some inputs failed, the others were processed; 8 another process of the
same training exited; 9 the time budget ended before all was done; 130 interrupted; 143 terminated by SIGTERM.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from taichinet.cli.archive import archive
from taichinet.cli.benchmark import benchmark
from taichinet.cli.command import HELP_OPTIONS, Command, Group
from taichinet.cli.compare import compare
from taichinet.cli.cost import cost
from taichinet.cli.data import data_app
from taichinet.cli.demo import demo
from taichinet.cli.evaluate import evaluate
from taichinet.cli.export import export
from taichinet.cli.figures import figures
from taichinet.cli.models import models
from taichinet.cli.package_weights import pack, package_weights
from taichinet.cli.predict import predict
from taichinet.cli.recipes import recipes
from taichinet.cli.report import report
from taichinet.cli.score import score
from taichinet.cli.train import train
from taichinet.errors import TaiChiNetError
from taichinet.extras import missing_package
from taichinet.version import __version__

# Subcommands import their dependencies when they run, so that `taichinet --help` does not import torch.
app = typer.Typer(
    name="taichinet",
    cls=Group,
    help="Segment breast lesions in ultrasound with TaiChiNet: train, evaluate, predict.",
    no_args_is_help=True,
    rich_markup_mode=None,  # boxes cut words and paths on narrow terminals, and take 0.1 s to import
    context_settings=HELP_OPTIONS,
    pretty_exceptions_enable=False,
)
for command in (
    demo,
    train,
    compare,
    cost,
    archive,
    evaluate,
    score,
    predict,
    export,
    benchmark,
    package_weights,
    report,
    figures,
    models,
    recipes,
):
    app.command(cls=Command)(command)
app.command(cls=Command, hidden=True)(pack)
app.add_typer(data_app, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"taichinet {__version__}")
        raise typer.Exit


@app.callback()
def _common_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; an error that the user can fix is printed as one message, without a traceback."""
    for stream in (sys.stdout, sys.stderr):  # escape characters that the encoding does not have
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except TaiChiNetError as error:
        _print_and_exit(error)
    except ModuleNotFoundError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        _print_and_exit(missing)
    except OSError as error:
        message = f"{error.strerror or error} ({error.filename})" if error.filename else str(error)
        Console(stderr=True).print(
            f"[bold red]Error:[/] {escape(message)}. Check the path, its permissions and the free disk space.",
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


def _print_and_exit(error: TaiChiNetError) -> NoReturn:
    Console(stderr=True).print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True)
    sys.exit(error.exit_code)
