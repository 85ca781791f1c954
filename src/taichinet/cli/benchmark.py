"""`taichinet benchmark`: measure the runtimes of weights on this machine, and record the fastest for `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taichinet.cli.device import use_and_print
from taichinet.cli.options import AsJson, TrustCode

if TYPE_CHECKING:
    from taichinet.inference.runtimes.user_record import UserRecord


def benchmark(
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            "-w",
            metavar="W",
            help="Weights folder, or the folder of a cross-validation, each of whose networks is measured; default: "
            "the weights included in taichinet.",
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|NAME=DIR",
            help="Images to compare masks and to measure on: a folder, or a data set, whose ground truth is then used "
            "too. Default: simulated phantoms.",
        ),
    ] = None,
    most_images: Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of images.")] = 50,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Measure the runtimes that can run these weights on this processor, and record the fastest for `predict`.

    Compares plain and tuned PyTorch, the packaged graph and those that `taichinet export` stored: first
    their masks, then their time per image. The fastest runtime whose masks agree with those of plain PyTorch is
    recorded in your cache folder (TAICHINET_CACHE), and `predict --runtime auto` follows it. With ground truth, bf16
    and int8 may instead have other masks if they lose at most 0.005 Dice. Without a record, `auto` is always the
    default runtime of the weights; delete the file to return to it.
    """
    import json
    from dataclasses import asdict

    from taichinet.inference.benchmark import measure_runtimes
    from taichinet.inference.runtimes.user_record import records_folder, write_user_record
    from taichinet.inference.shipped import shipped_weights
    from taichinet.models.weights_folder import find_weights

    use_and_print("cpu")
    records_folder().mkdir(parents=True, exist_ok=True)  # fails before the measurement, not after it
    records = []
    for folder in find_weights(weights or shipped_weights()):
        record = measure_runtimes(folder, images, most_images, trust_code, lambda line: typer.echo(line, err=True))
        file = write_user_record(record)
        records.append({"file": str(file), "followed": record.fastest.runtime, **asdict(record)})
        if not as_json:
            _print(record, file)
    if as_json:
        print(json.dumps(records))


def _print(record: UserRecord, file: Path) -> None:
    """Print the table of one record, and where it is."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from taichinet.cli.tables import print_table

    table = Table(title=escape(f"{record.weights} on {record.images}"))
    table.add_column("runtime")
    for heading in ("ms per image", "Dice with plain PyTorch", "minimum", "Dice to ground truth"):
        table.add_column(heading, justify="right")
    for one in record.measured:
        parity = one.parity
        cells = (f"{1000 * one.seconds:.1f}", f"{parity.agreement:.4f}", f"{parity.least_agreement:.4f}")
        truth = "" if parity.dice is None else f"{parity.dice:.4f}"
        graph = f", {one.graph}" if one.graph else ""  # the packaged one and that of an export can be the same runtime
        table.add_row(escape(f"{one.runtime} {one.precision}{graph}"), *cells, truth)
    console = Console()
    print_table(table, console)
    lines = [f"{one.runtime} {one.precision} is not used: {'; '.join(one.failures)}." for one in record.measured]
    lines = [line for line, one in zip(lines, record.measured, strict=True) if one.failures]
    fastest = record.fastest
    lines.append(f"Processor: {record.processor}. Times are medians with resizing, measured alternately.")
    lines.append(
        f"`taichinet predict --runtime auto` now uses {fastest.runtime} {fastest.precision} for these weights."
    )
    lines.append(f"Recorded in {file}. Delete this file to return to the default runtime.")
    console.print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)
