"""`taichinet data examples`: copy the example images of the package to a folder. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taichinet.cli.options import AsJson, Overwrite


def examples(
    out: Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="Output folder.")] = Path("examples"),
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write 12 example images of patients with their masks, in the layout of an own folder.

    They are images of BUS-UCLM (CC BY 4.0) on which the packaged network was trained; examples.json has the Dice of
    networks that had not seen them.
    """
    import json
    import shlex

    from taichinet.datasets.examples import ATTRIBUTION_FILE, RECORD_FILE, list_examples, write_examples

    write_examples(out, overwrite)
    found = list_examples()
    lesions = sum(example.lesion for example in found)
    if as_json:
        print(json.dumps({"written": str(out), "images": len(found), "lesion_images": lesions}))
        return
    folder, images = shlex.quote(str(out)), shlex.quote(str(out / "images"))
    typer.echo(f"{len(found)} images with masks ({lesions} with a lesion) written to {out}")
    typer.echo(
        f"Licence and source: {out / ATTRIBUTION_FILE}. Scores of networks that had not seen them: {RECORD_FILE}"
    )
    typer.echo("Next:")
    typer.echo(f"  segment them:  taichinet predict {images} -o masks")
    typer.echo(f"  check them:    taichinet data check {folder}")
