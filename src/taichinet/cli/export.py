"""`taichinet export`: export a network for ONNX Runtime or OpenVINO, verified on real images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taichinet.cli.completion import complete_format
from taichinet.cli.device import Device, use_and_print
from taichinet.cli.options import AsJson, Overwrite, Threshold, TrustCode

_Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="PATH", help="FILE.onnx, or FILE.xml (with FILE.bin) for OpenVINO."),
]
_Weights = Annotated[
    Path | None,
    typer.Argument(
        metavar="WEIGHTS", help="Weights folder or run folder; default: best-lite, the weights in taichinet."
    ),
]
_Images = Annotated[
    str,
    typer.Option(
        "--images",
        metavar="DIR|NAME=DIR",
        help="Real images on which the masks are compared: a folder, or a data set, whose ground truth is then used "
        "too.",
    ),
]
_Calibration = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        metavar="DIR|NAME=DIR",
        help="Calibration images for int8. Default: those of --images that were used for training; these are then not "
        "compared.",
    ),
]

_Format = Annotated[
    str,
    typer.Option("--format", metavar="FORMAT", help="onnx or openvino.", autocompletion=complete_format),
]


def export(
    output: _Output,
    images: _Images,
    weights: _Weights = None,
    form: _Format = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="Quantise; refused if Dice drops by more than 0.005.")] = False,
    calibrate: _Calibration = None,
    threshold: Threshold = None,
    most_images: Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of images to compare.")] = 150,
    overwrite: Overwrite = False,
    trust_code: TrustCode = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Export a network to one file. Input: uint8 image of any size; output: mask and probability of the same size.

    Writes FILE, FILE.parity.json and FILE.parity.md. Also stores a graph in the weights folder, or in your cache folder
    (TAICHINET_CACHE) for weights in the package, for `taichinet predict --runtime` and `taichinet benchmark`.
    """
    import json

    from rich.console import Console

    from taichinet.errors import SettingError, unknown_name
    from taichinet.inference.export.export import ExportRequest
    from taichinet.inference.export.export import export as export_weights
    from taichinet.inference.export.report import readable
    from taichinet.inference.runtimes.catalogue import export_formats
    from taichinet.inference.runtimes.choose import device_of_runtime
    from taichinet.inference.runtimes.graph_folder import graph_file
    from taichinet.inference.shipped import shipped_weights
    from taichinet.models.weights_folder import find_one_weights

    if form not in export_formats():
        raise unknown_name("export format", form, export_formats())
    if calibrate is not None and not int8:
        raise SettingError("--calibration requires --int8: float32 needs none. Add --int8 or omit --calibration.")
    use_and_print(device_of_runtime(form, device))
    request = ExportRequest(
        weights=weights or shipped_weights(),
        form=form,
        int8=int8,
        output=output,
        images=images,
        calibration=calibrate,
        threshold=threshold,
        most_images=most_images,
        overwrite=overwrite,
        trust_code=trust_code,
    )
    report = export_weights(request, Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print)
    if as_json:
        print(json.dumps(report.to_json_dict()))
        return
    print(readable(report))
    print(f"Written: {output}, {output.name}.parity.json and {output.name}.parity.md")
    for name in report.kept:
        graph = graph_file(find_one_weights(request.weights), name)
        print(f"Stored: {graph}, for `predict --runtime {form}`. `taichinet benchmark` measures it.")
