"""`taichinet models`: every network with its size, cost, source and how sure we are of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def models(
    size: Annotated[int, typer.Option(help="Image side in pixels for GFLOPs, a multiple of 32.")] = 224,
    channels: Annotated[int, typer.Option(min=1, help="Input channels.")] = 3,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the table as Markdown.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """List the networks that can be trained: parameters, GFLOPs, ImageNet weights, paper, confidence."""
    import json

    from taichinet.cli.printing import print_networks
    from taichinet.reports.networks import network_rows, networks_page

    rows = network_rows(size, channels)
    if out is not None:
        out.write_text(networks_page(rows, size, channels), encoding="utf-8")
    if as_json:
        print(json.dumps([row.to_json_dict() for row in rows]))
    elif out is None:
        print_networks(rows, size, channels)
