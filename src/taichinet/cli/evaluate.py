"""`taichinet evaluate`: evaluate trained weights on images that were not used for training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taichinet.cli.device import Device, use_and_print
from taichinet.cli.options import AsJson, Mirror, Overwrite, Shifts, TestedDataSets, TrustCode
from taichinet.errors import SettingError

if TYPE_CHECKING:
    from taichinet.experiments.evaluate import Evaluation


def evaluate(
    weights: Annotated[
        Path, typer.Argument(metavar="RUN|WEIGHTS", help="Cross-validation, run or weights folder, or best-lite.")
    ],
    data: TestedDataSets,
    normal: Annotated[
        bool | None,
        typer.Option("--normal/--no-normal", help="Include or exclude normal images. Default: as in the training."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="Folder for scores.csv (one row per image) and summary.json."
        ),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write an external-validation card of one network: intervals, calibration, worst cases. An .html card "
            "contains images of the data set, an .md card does not.",
        ),
    ] = None,
    mirror: Mirror = False,
    shifts: Shifts = False,
    trust_code: TrustCode = False,
    overwrite: Overwrite = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Evaluate weights: scores per image, mean per fold, and mean ± standard deviation over folds."""
    from rich.console import Console

    from taichinet.cli.printing import print_skipped, print_study
    from taichinet.experiments.evaluate import evaluate_weights, write_evaluation
    from taichinet.experiments.records import SCORES_FILE, SUMMARY_FILE
    from taichinet.experiments.shifts import score_shifts
    from taichinet.reports.validation_card import MARKER, refuse_other_endings
    from taichinet.storage.output_folder import refuse_foreign_files, refuse_foreign_page

    if card is not None:
        if len(data) > 1:
            raise SettingError("--card is for one data set. Give --data once.")
        refuse_other_endings(card)  # fail before the evaluation, which may take an hour
        refuse_foreign_page(card, MARKER, overwrite)
    if out is not None:
        refuse_foreign_files(out, (SCORES_FILE, SUMMARY_FILE), overwrite)
    use_and_print(device)
    evaluation = evaluate_weights(weights, data, normal, mirror, trust_code)
    print_skipped(evaluation.networks[0].manifest.left_out)
    _print_notes(evaluation)
    scores = score_shifts(evaluation.networks) if shifts else ()
    if out is not None:
        write_evaluation(evaluation, out, scores)
    console = Console(stderr=True, quiet=as_json, soft_wrap=True, markup=False)
    console.print(evaluation.note)
    if card is not None:
        _write_card(card, evaluation)
        console.print(f"Card written to {card}")
    print_study(out, evaluation.summary, as_json, evaluation.counts, scores)


def _print_notes(evaluation: Evaluation) -> None:
    """Print what the user should know about the weights, to standard error."""
    from taichinet.cli.weights_notes import notes_on_weights
    from taichinet.inference.provenance import weights_name

    for network in evaluation.networks:
        if network.loaded.unverified:
            typer.echo(f"{network.folder}: {network.loaded.unverified}", err=True)
    first = evaluation.networks[0]
    name = weights_name(first.loaded, len(evaluation.networks))
    for line in notes_on_weights(name, first.loaded.config.provenance, [first.manifest.name]):
        typer.echo(line, err=True)


def _write_card(path: Path, evaluation: Evaluation) -> None:
    """Write the card of a single network, for its outermost region."""
    from taichinet.datasets.catalogue import named_dataset
    from taichinet.experiments.validation_card import Extras, read_internal, validation_card, worst_keys
    from taichinet.inference.predictor import Predictor
    from taichinet.reports.validation_card import case_images, write_card

    if len(evaluation.networks) > 1:
        raise SettingError(
            f"--card needs a single network, but {len(evaluation.networks)} were evaluated. Give one of them, e.g. "
            f"{evaluation.networks[0].folder}."
        )
    (scored,) = evaluation.networks
    rows = evaluation.scores
    rows = rows[rows["region"] == scored.manifest.regions[0]].reset_index(drop=True)
    images = {}
    in_bundle = scored.manifest.files.bundle is not None  # whose images have no original resolution
    if path.suffix.lower() != ".md" and len(scored.manifest.regions) == 1 and not in_bundle:
        images = case_images(worst_keys(rows), scored.manifest, Predictor(scored.loaded, scored.device_config))
    extras = Extras(
        confidences=scored.confidences.by_key,
        internal=read_internal(scored.folder),
        images=images,
        note=evaluation.note,
    )
    card = validation_card(rows, scored.loaded.config, scored.manifest, named_dataset(scored.manifest.name), extras)
    write_card(path, card)
