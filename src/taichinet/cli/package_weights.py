"""`taichinet package-weights`: export weights with a model card, for sharing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from taichinet.cli.options import AsJson, Overwrite, TrustCode

CARD = "README.md"
WriteCard = Callable[[float, str], str]
"""From the size of the weights in megabytes and their number format to the model card."""

_Failures = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Test images that failed, for the card of a cross-validation: a CSV with the columns key, class, remark.",
    ),
]

_Graph = Annotated[
    bool,
    typer.Option(
        "--graph/--no-graph", help="Write the ONNX graph of the weights, with which `predict` needs no PyTorch."
    ),
]

_Evaluation = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="PATH",
        help="Output folder of `evaluate FOLDS` on another data set or with --shifts, for the card of a "
        "cross-validation; repeatable. Those in its folder are always included.",
    ),
]


def package_weights(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDS|RUN",
            help="Folder of a cross-validation with a training on all images (`train --all-images`), e.g. "
            ".../grouped, or the folder of a completed fold, e.g. .../grouped/fold-0.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="Folder for the weights, config and model card.")
    ],
    half: Annotated[
        bool, typer.Option("--half/--full", help="Store the weights as float16 (half the size) or as float32.")
    ] = True,
    evaluation: _Evaluation = None,
    failures: _Failures = None,
    graph: _Graph = True,
    trust_code: TrustCode = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write weights, configuration, ONNX graph and model card to one folder.

    For a cross-validation, the weights are those of the network that was trained on all images, and the scores on the
    card are those of the networks of its folds.
    """
    import json

    import torch
    from rich.console import Console

    from taichinet.inference.runtimes.parity import PACKAGED_GRAPH, PACKAGED_RECORD
    from taichinet.models.weights import load_weights, save_weights
    from taichinet.models.weights_folder import CONFIG_FILE, WEIGHTS_FILE
    from taichinet.storage.atomic import write_text
    from taichinet.storage.output_folder import output_files, refuse_foreign_files

    _refuse_missing_packages(graph)
    refuse_foreign_files(out, (WEIGHTS_FILE, CONFIG_FILE, CARD, PACKAGED_GRAPH, PACKAGED_RECORD), overwrite)
    weights, card = _read(run, evaluation or (), failures, trust_code)
    loaded = load_weights(weights, trust_code)
    refuse_foreign_files(out, loaded.config.files, overwrite)
    with output_files(out) as temporary:
        save_weights(loaded.network, loaded.config, temporary, torch.float16 if half else torch.float32)
        if graph:
            from taichinet.inference.export.package import package_graph

            package_graph(temporary, trust_code)
        megabytes = (temporary / WEIGHTS_FILE).stat().st_size / 1e6
        write_text(temporary / CARD, card(megabytes, "float16" if half else "float32"))
        files = sorted(path.name for path in temporary.iterdir())
    if as_json:
        content = {"files": files, "weights_megabytes": megabytes, "dtype": "float16" if half else "float32"}
        print(json.dumps({"written": str(out), **content}))
    else:
        Console(stderr=True).print(f"{megabytes:.1f} MB in {out}", soft_wrap=True, markup=False)


def _refuse_missing_packages(graph: bool) -> None:
    """Raise SettingError if a graph is wanted, and a package for its export is not installed."""
    from taichinet.errors import SettingError
    from taichinet.inference.runtimes.catalogue import find_runtime

    missing = find_runtime("onnx").missing_packages(build=True) if graph else []
    if missing:
        raise SettingError(
            f"The ONNX graph of the weights needs {', '.join(missing)}: pip install 'taichinet[train]', or give "
            "--no-graph to package the weights without it."
        )


def pack(
    run: Annotated[Path, typer.Argument(metavar="RUN")],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="PATH")],
    half: Annotated[bool, typer.Option("--half/--full")] = True,
    overwrite: Overwrite = False,
) -> None:
    """Run `package-weights`, which had this name before."""
    typer.echo("`taichinet pack` is now `taichinet package-weights`.", err=True)
    package_weights(run, out, half, overwrite=overwrite)


def _read(run: Path, evaluations: Sequence[Path], failures: Path | None, trust_code: bool) -> tuple[Path, WriteCard]:
    """The weights folder and the card of a study or fold; raises for incomplete runs before anything is written."""
    from taichinet.errors import SettingError
    from taichinet.experiments.all_images import FOLDER
    from taichinet.experiments.for_use import read_evaluations, read_network_for_use
    from taichinet.reports.model_card.failures import read_failures
    from taichinet.reports.model_card.fold import model_card
    from taichinet.reports.model_card.for_use import card_for_use

    if run.absolute().name == "weights":  # of a run, which has the figures of the card
        run = run.absolute().parent
    if run.name == FOLDER or (run / FOLDER).is_dir() or any(run.glob("fold-*")):
        network = read_network_for_use(run, trust_code)
        scored = read_evaluations(network, evaluations)
        failed = None if failures is None else read_failures(failures, network.scores)
        return network.study / FOLDER / "weights", lambda size, dtype: card_for_use(
            network, size, dtype, scored, failed
        )
    if evaluations or failures is not None:
        raise SettingError(
            f"--evaluation and --failures are for the card of a cross-validation, but {run} has no folds. Leave them "
            "out, or give the folder that contains the folds."
        )
    model_card(run, 0.0, "")
    return run / "weights", lambda size, dtype: model_card(run, size, dtype)
