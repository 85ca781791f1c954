"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PROTOCOL_HELP = (
    "Fold protocol: grouped keeps near-duplicates and images of one patient together; paper draws random folds, "
    "stratified by class; official uses the authors' split."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON to standard output.")]
DataSet = Annotated[
    str,
    typer.Option(
        "--data",
        help="Data set as distributed: its folder or zip file, or NAME=PATH if several data sets have its layout.",
    ),
]
DataSetArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Data set as distributed: its folder or zip file, or NAME=PATH if several data sets have its layout.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Also replace files that this command did not write.")]
RunFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder for all runs.")]
Runs = Annotated[
    Path, typer.Argument(metavar="RUNS", help="Folder of runs: the --out of `train`, or a folder that contains it.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a recipe setting, as key=value, e.g. training.epochs=20; repeatable."),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="T",
        help="Probability (0 to 1) above which a pixel is lesion; default: the threshold of the weights.",
    ),
]
