"""`taichinet export`: a network as one file for ONNX Runtime or OpenVINO, written only where its masks hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taichinet.cli.options import Overwrite

FORMATS = ("onnx", "openvino")


def export(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="FILE.onnx, or FILE.xml (with FILE.bin) for OpenVINO."),
    ],
    images: Annotated[
        str,
        typer.Option(
            "--images",
            metavar="DIR|NAME=DIR",
            help="Real images on which the masks are compared: a data set, then also with its truth, or a folder.",
        ),
    ],
    weights: Annotated[
        Path | None,
        typer.Argument(metavar="WEIGHTS", help="A weights folder; default: those that come with taichinet."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="onnx or openvino.")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="Quantise; refused where it costs over 0.005 Dice.")] = False,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|NAME=DIR",
            help="Images to calibrate int8 on; default: those of --images that the training has seen, which are then "
            "not compared.",
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(metavar="T", help="A pixel is lesion above it; default: that of the weights.")
    ] = None,
    most_images: Annotated[int, typer.Option(min=1, help="Compare masks on at most this many images.")] = 150,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the parity report as JSON.")] = False,
) -> None:
    """Export a network as one file: uint8 image of any size in, mask and probability at its size out.

    Writes FILE, FILE.parity.json and FILE.parity.md, and beside the weights a graph which `taichinet predict` then uses
    where it is faster.
    """
    import json

    from rich.console import Console

    from taichinet.errors import SettingError, unknown_name
    from taichinet.inference.export.export import ExportRequest
    from taichinet.inference.export.export import export as export_weights
    from taichinet.inference.export.report import readable
    from taichinet.inference.shipped import shipped_weights

    if form not in FORMATS:
        raise unknown_name("export format", form, FORMATS)
    if calibrate is not None and not int8:
        raise SettingError("--calibrate is for --int8 alone: float32 needs no calibration. Add --int8 or leave it out.")
    messages = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    request = ExportRequest(
        weights=weights or shipped_weights(),
        form="openvino" if form == "openvino" else "onnx",
        int8=int8,
        output=output,
        images=images,
        calibration=calibrate,
        threshold=threshold,
        most_images=most_images,
        overwrite=overwrite,
    )
    report = export_weights(request, messages.print)
    if as_json:
        print(json.dumps(report.to_json_dict()))
        return
    print(readable(report))
    print(f"Written: {output}, and beside it {output.name}.parity.json and .parity.md")
    for graph in report.kept:
        print(f"`taichinet predict` may now use {graph} of the weights")
