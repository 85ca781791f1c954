"""`taichinet score`: score a folder of predicted masks of any program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taichinet.cli.options import AsJson, DataSet, Overwrite


def score(
    masks: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Predicted masks, named like the images, by key, or as in `data export --format nnunet`.",
        ),
    ],
    data: DataSet,
    folds: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Fold file, as written by `train` to RUNS/folds; it also selects the images."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="Folder for scores.csv (one row per image) and summary.json."
        ),
    ] = None,
    value: Annotated[
        int | None, typer.Option(metavar="N", help="Value of lesion pixels. Default: every value but 0 is lesion.")
    ] = None,
    size: Annotated[
        int,
        typer.Option(
            metavar="PIXELS",
            help="Resolution in pixels of the scores at input resolution, as of the compared networks.",
        ),
    ] = 224,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the method. Default: the name of the folder.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Score predicted masks of nnU-Net, MedSAM or any other program on the same folds, as `evaluate` scores networks.

    There must be one mask at original resolution for each test image of the folds, predicted by a model that was not
    trained on this image.
    """
    from rich.console import Console

    from taichinet.cli.printing import print_skipped, print_study
    from taichinet.experiments.predicted_masks import score_folder, write_scored_masks
    from taichinet.experiments.records import SCORES_FILE, SUMMARY_FILE
    from taichinet.storage.output_folder import refuse_foreign_files

    if out is not None:
        refuse_foreign_files(out, (SCORES_FILE, SUMMARY_FILE), overwrite)
    scored = score_folder(masks, data, folds, size, value)
    print_skipped(scored.manifest.left_out)
    if out is not None:
        write_scored_masks(scored, name or masks.absolute().name, size, out)
    Console(stderr=True, quiet=as_json, soft_wrap=True, markup=False).print(scored.note)
    print_study(out, scored.summary, as_json, scored.counts)
