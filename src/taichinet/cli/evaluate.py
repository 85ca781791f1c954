"""`taichinet evaluate`: score trained weights on the images they have not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Score weights: a row an image, then per fold, then mean ± standard deviation."""
    import json

    from rich.console import Console

    from taichinet.cli.printing import print_study
    from taichinet.experiments.reevaluate import evaluate_weights

    evaluation = evaluate_weights(weights, data, normal)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        evaluation.scores.round(6).to_csv(out / "scores.csv", index=False)
        content = {
            "weights": str(weights),
            "note": evaluation.note,
            "summary": evaluation.summary.to_json_dict(),
        }
        (out / "summary.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    Console(stderr=True, quiet=as_json).print(evaluation.note, soft_wrap=True)
    print_study(out, evaluation.summary, as_json)
