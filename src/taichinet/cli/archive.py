"""`taichinet archive`: move the results of runs to another machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taichinet.cli.options import AsJson, TrustCode

if TYPE_CHECKING:
    from taichinet.experiments.transport.pack import Packed


def archive(
    source: Annotated[
        Path, typer.Argument(metavar="RUNS|DIR", help="Folder of runs; with --unpack, the folder of an archive.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PATH", help="Folder for the archive; with --unpack, the folder for all runs."
        ),
    ],
    unpack: Annotated[bool, typer.Option("--unpack", help="Unpack an archive instead of writing one.")] = False,
    weights: Annotated[
        bool,
        typer.Option("--with-weights", help="Also pack the weights, as float16. The results are packed in any case."),
    ] = False,
    trust_code: TrustCode = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace files with another content, or not written by taichinet.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Pack completed runs into files of at most 15 MB, or unpack them into the runs of another machine.

    The archive contains results, scores, histories, settings, summaries, evaluations and fold plans of complete folds
    and of trainings on all images, but no checkpoints.
    """
    from taichinet.errors import SettingError
    from taichinet.experiments.transport.pack import pack_runs
    from taichinet.experiments.transport.unpack import unpack_runs

    if not unpack:
        packed = pack_runs(source, out, weights, overwrite, trust_code)
        print(json.dumps(asdict(packed)) if as_json else describe(packed, out))
        return
    if weights:
        raise SettingError(
            "--with-weights is given when packing; --unpack unpacks what the archive contains. Leave it out."
        )
    done = unpack_runs(source, out, overwrite)
    if as_json:
        studies = [str(study.relative_to(out)) for study in done.summarised]
        print(json.dumps({"written": done.written, "identical": done.identical, "summarised_again": studies}))
        return
    print(f"{done.written} files written to {out}, {done.identical} were present with the same content.")
    for study in done.summarised:
        print(f"{study} was summarised again, over all folds.")


def describe(packed: Packed, out: Path) -> str:
    """Sentence on what was packed into the folder `out`."""
    return f"{packed.folds} completed folds in {packed.parts} file(s), {packed.bytes / 1e6:.1f} MB, in {out}."
