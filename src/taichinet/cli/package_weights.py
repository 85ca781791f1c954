"""`taichinet package-weights`: export the weights of a completed fold with a model card, for sharing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taichinet.cli.options import Overwrite

CARD = "README.md"


def package_weights(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a completed fold, e.g. .../grouped/fold-0.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the weights, config and model card.")],
    half: Annotated[
        bool, typer.Option("--half/--full", help="Store the weights as float16 (half the size) or as float32.")
    ] = True,
    overwrite: Overwrite = False,
) -> None:
    """Write the weights, configuration and model card of a completed fold to one folder."""
    import torch
    from rich.console import Console

    from taichinet.models.weights import CONFIG_FILE, WEIGHTS_FILE, load_weights, save_weights
    from taichinet.reports.model_card import model_card
    from taichinet.storage.atomic import write_text
    from taichinet.storage.output_folder import output_files, refuse_foreign_files

    refuse_foreign_files(out, (WEIGHTS_FILE, CONFIG_FILE, CARD), overwrite)
    model_card(run, 0.0, "")  # raises for an incomplete run before anything is written
    loaded = load_weights(run / "weights")
    with output_files(out) as temporary:
        save_weights(loaded.network, loaded.config, temporary, torch.float16 if half else torch.float32)
        megabytes = (temporary / WEIGHTS_FILE).stat().st_size / 1e6
        write_text(temporary / CARD, model_card(run, megabytes, "float16" if half else "float32"))
    Console(stderr=True).print(f"{megabytes:.1f} MB in {out}", soft_wrap=True, markup=False)


def pack(
    run: Annotated[Path, typer.Argument(metavar="RUN")],
    out: Annotated[Path, typer.Option("--out", "-o")],
    half: Annotated[bool, typer.Option("--half/--full")] = True,
    overwrite: Overwrite = False,
) -> None:
    """Run `package-weights`, which had this name before."""
    typer.echo("`taichinet pack` is now `taichinet package-weights`.", err=True)
    package_weights(run, out, half, overwrite)
