"""`taichinet data bundle` and `taichinet data verify-bundle`: a data set in one file, for another machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taichinet.cli.options import AsJson, DataSetArgument, Overwrite

if TYPE_CHECKING:
    from taichinet.datasets.bundle.record import BundleRecord


def bundle(
    data: DataSetArgument,
    size: Annotated[int, typer.Option(metavar="PIXELS", help="Input resolution in pixels, e.g. 224 as in the paper.")],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="PATH", help="The bundle, a file that ends in .zip.")],
    colour: Annotated[bool, typer.Option("--colour/--grey", help="Store RGB or grey images.")] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write a data set to one file that all trainings and evaluations at this resolution accept in its place.

    The file contains the images at input resolution, the masks at original resolution, and the identities of the
    original files. The terms of use of the data set apply to it.
    """
    from taichinet.datasets.bundle.record import MARK
    from taichinet.datasets.bundle.write import make_bundle, write_bundle
    from taichinet.errors import SettingError
    from taichinet.storage.output_folder import refuse_foreign_page

    if out.suffix.lower() != ".zip":
        raise SettingError(
            f"-o {out} does not end in .zip. A bundle is a zip file: give e.g. {out.stem or 'data'}.zip."
        )
    refuse_foreign_page(out, MARK, overwrite)
    content = make_bundle(data, size, 3 if colour else 1)
    write_bundle(content, out)
    _print(content.record, out, "written to", as_json)


def verify_bundle(
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="A bundle.")],
    original: Annotated[str, typer.Argument(metavar="DATA", help="The original data set: PATH or NAME=PATH.")],
    as_json: AsJson = False,
) -> None:
    """Compare a bundle with the original data set: images, masks, identities, near-duplicates and folds."""
    from taichinet.datasets.bundle.verify import verify_bundle as verify

    _print(verify(file, original), file, "agree with the original:", as_json)


def _print(record: BundleRecord, path: Path, action: str, as_json: bool) -> None:
    import json

    from rich.console import Console

    plans = [plan.protocol for plan in record.complete.plans]
    if as_json:
        content = {
            "file": path.name,
            "bytes": path.stat().st_size,
            "dataset": record.dataset,
            "images": len(record.samples),
            "size": record.size,
            "channels": record.channels,
            "regions": record.regions,
            "protocols": plans,
        }
        print(json.dumps(content))
        return
    kind = "grey" if record.channels == 1 else "RGB"
    console = Console(soft_wrap=True, markup=False, highlight=False)
    console.print(
        f"{len(record.samples)} {kind} images of {record.size} px of {record.title}, folds of protocol "
        f"{', '.join(plans) or 'none'}, {action} {path} ({path.stat().st_size / 1e6:.1f} MB)"
    )
    console.print(f"Licence of the data set: {record.licence}. The bundle contains its images.")
