"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taichinet.cli.completion import complete_protocol, complete_scale, complete_suite

PROTOCOL_HELP = (
    "Fold protocol: grouped keeps near-duplicates and images of one patient together; paper draws random folds, "
    "stratified by class; official uses the authors' split; leave-one-dataset-out tests each of several data sets with "
    "a network trained on the others."
)
_DATA_HELP = (
    "Data set: its folder or zip file as distributed, a bundle, or NAME=PATH if several data sets have its layout, or "
    "to name your own folder."
)

Against = Annotated[
    str | None,
    typer.Option(
        metavar="NETWORK|RECIPE",
        help="Test every other method against this one on the same images and folds, e.g. unet.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON to standard output.")]
DataSet = Annotated[str, typer.Option("--data", metavar="DATA", help=_DATA_HELP)]
DataSetArgument = Annotated[str, typer.Argument(metavar="DATA", help=_DATA_HELP)]
DataSets = Annotated[
    list[str] | None,
    typer.Option(
        "--data", metavar="DATA", help="Data set, or NAME=PATH if several data sets have its layout; repeatable."
    ),
]
JointDataSets = Annotated[
    list[str],
    typer.Option("--data", metavar="DATA", help=f"{_DATA_HELP} Repeat it to train on several data sets together."),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Patients of a plain folder: the first group of this pattern in the file name of an image, e.g. "
        "'^([A-Z]{4})_'. Images of one patient are in one fold.",
    ),
]
Folds = Annotated[
    list[str] | None,
    typer.Option("--fold", metavar="N", help="Fold or folds, e.g. 0 or 0,2-4; repeatable. Default: all folds."),
]
Mix = Annotated[
    str | None,
    typer.Option(
        metavar="proportional|equal",
        help="How often the images of several joined data sets are drawn in an epoch: in proportion to their numbers, "
        "or each data set equally often. Default: as in the recipe, proportional.",
    ),
]
Mirror = Annotated[
    bool, typer.Option("--mirror", help="Average with the prediction for the mirror image; takes twice the time.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Also replace files that this command did not write.")]
PresenceDecision = Annotated[
    bool,
    typer.Option(
        "--presence-decision/--no-presence-decision",
        help="Write an empty mask if the presence score of an image is below that of the weights.",
    ),
]
Protocols = Annotated[
    list[str] | None,
    typer.Option(
        "--protocol",
        metavar="PROTOCOL",
        help=f"{PROTOCOL_HELP} Repeatable. Default: as in the table.",
        autocompletion=complete_protocol,
    ),
]
RunFolder = Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="Folder for all runs.")]
Runs = Annotated[
    Path, typer.Argument(metavar="RUNS", help="Folder of runs: the --output of `train`, or a folder that contains it.")
]
Scale = Annotated[
    str | None,
    typer.Option(
        metavar="SCALE",
        help="Scale of the recipes: busi (as in the paper, the default of tables), cpu (the default of recipes and "
        "networks that are given by name), short or demo.",
        autocompletion=complete_scale,
    ),
]
Seeds = Annotated[
    list[str] | None,
    typer.Option(
        "--seed",
        metavar="N",
        help="Training seed or seeds, e.g. 1 or 0-2; repeatable. Default: the seed of the recipe.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a recipe setting, as key=value, e.g. training.epochs=20; repeatable.",
    ),
]
Suites = Annotated[
    list[str],
    typer.Argument(
        metavar="TABLE|RECIPE|FILE.py:CLASS",
        help="table1 to table7, paper (all seven), or YAML files; recipes on the data sets of --data, with or without "
        "scale, e.g. unet or short-unet; networks in files, which are executed. One or more.",
        autocompletion=complete_suite,
    ),
]
Shifts = Annotated[
    bool,
    typer.Option(
        "--shifts",
        help="Also score the images after each of a list of changes: gain, contrast, resolution, crop, marks.",
    ),
]
TestedDataSets = Annotated[
    list[str],
    typer.Option(
        "--data",
        metavar="DATA",
        help=f"{_DATA_HELP} Repeat it to evaluate on several data sets, with scores of each.",
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="T",
        help="Probability (0 to 1) above which a pixel is lesion; default: the threshold of the weights.",
    ),
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Execute the code that is stored with the weights of a network from outside taichinet. Read it first.",
    ),
]
WeightsOrStudy = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        "-w",
        metavar="W",
        help="Weights folder (model.safetensors and config.json), run folder (one fold), or the folder of a "
        "cross-validation, whose networks are averaged; default: best-lite, the weights included in taichinet.",
    ),
]
