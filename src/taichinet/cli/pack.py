"""`taichinet pack`: the weights of a finished fold, small and with a model card, ready to be handed on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def pack(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished fold, e.g. .../grouped/fold-0.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the weights, config and model card.")],
    half: Annotated[bool, typer.Option("--half/--full", help="float16, half the size, or float32.")] = True,
) -> None:
    """Write weights, configuration and model card of a finished fold into one folder."""
    import torch
    from rich.console import Console

    from taichinet.models.weights import WEIGHTS_FILE, load_weights, save_weights
    from taichinet.reports.model_card import model_card

    model_card(run, 0.0, "")  # refuses an unfinished run before anything is written
    loaded = load_weights(run / "weights")
    save_weights(loaded.network, loaded.config, out, torch.float16 if half else torch.float32)
    megabytes = (out / WEIGHTS_FILE).stat().st_size / 1e6
    card = model_card(run, megabytes, "float16" if half else "float32")
    (out / "README.md").write_text(card, encoding="utf-8")
    Console(stderr=True).print(f"{megabytes:.1f} MB in {out}", soft_wrap=True, markup=False)
