"""`taichinet evaluate`: score trained weights on the images they have not seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taichinet.cli.options import Overwrite
from taichinet.errors import SettingError

if TYPE_CHECKING:
    from taichinet.experiments.reevaluate import Evaluation


def evaluate(
    weights: Annotated[Path, typer.Argument(metavar="RUN|WEIGHTS", help="A study, a run folder or a weights folder.")],
    data: Annotated[
        str, typer.Option(help="A data set as distributed, its folder or zip; NAME=PATH where the layout is shared.")
    ],
    normal: Annotated[
        bool | None,
        typer.Option("--normal/--no-normal", help="With or without normal images; as trained by default."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for scores.csv (a row an image) and summary.json."),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(
            metavar="CARD.html|.md",
            help="External-validation card of one network: intervals, calibration, worst cases. An .html page holds "
            "pictures of the images.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Score weights: a row an image, then per fold, then mean ± standard deviation."""
    from rich.console import Console

    from taichinet.cli.printing import print_left_out, print_study
    from taichinet.experiments.evaluation_files import SUMMARY, write_evaluation
    from taichinet.experiments.records import SCORES_FILE
    from taichinet.experiments.reevaluate import evaluate_weights
    from taichinet.reports.validation_card import MARKER, refuse_other_endings
    from taichinet.storage.output_folder import refuse_foreign_files, refuse_foreign_page

    if card is not None:
        refuse_other_endings(card)  # before an hour of scoring
        refuse_foreign_page(card, MARKER, overwrite)
    if out is not None:
        refuse_foreign_files(out, (SCORES_FILE, SUMMARY), overwrite)
    evaluation = evaluate_weights(weights, data, normal)
    print_left_out(evaluation.networks[0].manifest.left_out)
    for network in evaluation.networks:
        if network.loaded.unverified:
            typer.echo(f"{network.folder}: {network.loaded.unverified}", err=True)
    if out is not None:
        write_evaluation(evaluation, out)
    Console(stderr=True, quiet=as_json).print(evaluation.note, soft_wrap=True, markup=False)
    if card is not None:
        _write_card(card, evaluation)
        Console(stderr=True, quiet=as_json).print(f"Card in {card}", soft_wrap=True, markup=False)
    print_study(out, evaluation.summary, as_json, evaluation.counts)


def _write_card(path: Path, evaluation: Evaluation) -> None:
    """The card of the one network of `evaluation`, on its outermost region."""
    from taichinet.datasets.catalogue import find_dataset
    from taichinet.experiments.external import Extras, read_internal, validation_card, worst_keys
    from taichinet.inference.predictor import Predictor
    from taichinet.reports.case_pictures import case_pictures
    from taichinet.reports.validation_card import write_card

    if len(evaluation.networks) > 1:
        raise SettingError(
            f"A card is of one network, and {len(evaluation.networks)} were scored. Give one of them, e.g. "
            f"{evaluation.networks[0].folder}."
        )
    (scored,) = evaluation.networks
    rows = evaluation.scores
    rows = rows[rows["region"] == scored.manifest.regions[0]].reset_index(drop=True)
    pictures = {}
    if path.suffix.lower() != ".md" and len(scored.manifest.regions) == 1:
        pictures = case_pictures(worst_keys(rows), scored.manifest, Predictor(scored.loaded, scored.placement))
    extras = Extras(
        confidences=scored.confidences.by_key,
        internal=read_internal(scored.folder),
        pictures=pictures,
        note=evaluation.note,
    )
    card = validation_card(rows, scored.loaded.config, scored.manifest, find_dataset(scored.manifest.name), extras)
    write_card(path, card)
