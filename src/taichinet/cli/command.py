"""What all commands have in common: progress, and a message on what is kept if they are interrupted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from taichinet.cli.help import HelpContext
from taichinet.signals import EXIT_TERMINATED, raise_on_sigterm

EXIT_INTERRUPTED = 130
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}

_AT_THE_END = "Files are only written at the end. Run the same command again."
_NO_FILES = "No files were changed."
KEPT = {
    "archive": "{out} contains no incomplete archive. Run the same command again.",
    "benchmark": "No record was written. Run the same command again.",
    "compare": "Run the same command again to resume from the last completed epochs in {out}.",
    "cost": _NO_FILES,
    "data bundle": _AT_THE_END,
    "data check": _AT_THE_END,
    "data examples": "The images in {out} are complete, some may be missing. Run the same command again.",
    "data export": _AT_THE_END,
    "data list": _NO_FILES,
    "data verify-bundle": _NO_FILES,
    "demo": "The phantoms in {out} are kept, the trainings are not. Run the same command again.",
    "evaluate": _AT_THE_END,
    "export": _AT_THE_END,
    "figures": "The completed figures in {out} are kept. Give the others with --figure.",
    "models": _NO_FILES,
    "pack": _AT_THE_END,
    "package-weights": _AT_THE_END,
    "predict": "predictions.csv in {output} lists the completed images. Run the same command to resume.",
    "recipes": _NO_FILES,
    "report": _AT_THE_END,
    "score": _AT_THE_END,
    "train": "Run the same command with --resume to continue from the last completed epoch in {out}.",
}
"""For each command, what is kept of its work if it is interrupted and how to continue; in braces its parameters."""


class TerminatedError(KeyboardInterrupt):
    """SIGTERM was received: handled like Ctrl-C, with another exit code."""


def _first_sentence(self: TyperCommand | TyperGroup, limit: int = 0) -> str:
    """The first sentence of the help, not cut after `limit` characters."""
    return " ".join((self.help or "").split("\n\n")[0].split()).split(". ")[0].removesuffix(".")


class Group(TyperGroup):
    """A group of commands."""

    context_class = HelpContext
    get_short_help_str = _first_sentence


class Command(TyperCommand):
    """A command that shows its progress, and ends after Ctrl-C and SIGTERM with a message and without a traceback."""

    context_class = HelpContext
    get_short_help_str = _first_sentence

    def invoke(self, ctx: Any) -> Any:
        """Call the function of the command; `ctx` is a context of click, or of the copy of click in typer."""
        from taichinet.cli.progress import progress_display

        group = "" if ctx.parent is None or ctx.parent.parent is None else f"{ctx.parent.info_name} "
        kept = KEPT.get(f"{group}{self.name}", "")
        with _message_if_interrupted(kept, ctx.params), progress_display(bool(ctx.params.get("as_json"))):
            return super().invoke(ctx)


@contextmanager
def _message_if_interrupted(kept: str, parameters: Mapping[str, Any]) -> Iterator[None]:
    try:
        with raise_on_sigterm(TerminatedError()):
            yield
    except TerminatedError:
        raise _stopped("Terminated", kept, parameters, EXIT_TERMINATED) from None
    except KeyboardInterrupt:
        raise _stopped("Interrupted", kept, parameters, EXIT_INTERRUPTED) from None
    except SystemExit as ended:  # of a training, which ends after its last checkpoint is written
        if ended.code != EXIT_TERMINATED:
            raise
        raise _stopped("Terminated", kept, parameters, EXIT_TERMINATED) from None


def _stopped(what: str, kept: str, parameters: Mapping[str, Any], code: int) -> typer.Exit:
    """Print the message, and return the exception that ends the command. Under torchrun, only process 0 prints."""
    if os.environ.get("RANK", "0") == "0":
        typer.echo(f"{what}. {kept.format_map(parameters)}".rstrip(), err=True)
    return typer.Exit(code)
