"""`taichinet data export`: write a data set in the layout of nnU-Net or MONAI, with folds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taichinet.cli.completion import complete_protocol
from taichinet.cli.options import PROTOCOL_HELP, AsJson, DataSetArgument, Overwrite

if TYPE_CHECKING:
    from taichinet.datasets.folds import FoldPlan
    from taichinet.datasets.manifest import Manifest

FORMATS = ("nnunet", "monai")

_Protocol = Annotated[
    str | None,
    typer.Option(
        metavar="PROTOCOL",
        help=f"{PROTOCOL_HELP} Default: official if the data set has a split, otherwise grouped.",
        autocompletion=complete_protocol,
    ),
]


def export_data(
    data: DataSetArgument,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="nnunet or monai.")],
    out: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="nnunet: the folder nnUNet_raw; monai: a new folder.")
    ],
    folds: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Fold file to use, as written by `taichinet train`.")
    ] = None,
    protocol: _Protocol = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=2**31 - 1, help="Seed for drawing the folds.")] = 0,
    count: Annotated[
        int, typer.Option("--fold-count", metavar="N", min=2, max=10_000, help="Number of folds to draw.")
    ] = 5,
    dataset_id: Annotated[int, typer.Option("--dataset-id", metavar="N", help="nnU-Net dataset ID, 1 to 999.")] = 500,
    normal: Annotated[
        bool | None,
        typer.Option(
            "--normal/--no-normal",
            help="Include or exclude normal images. Default: include, or as in the file of --folds.",
        ),
    ] = None,
    colour: Annotated[
        bool | None, typer.Option("--colour/--grey", help="Write RGB or grey images. Default: as in the data set.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Export a data set for nnU-Net or MONAI; keys, classes and patients are preserved for re-import."""
    from taichinet.cli.printing import print_counts
    from taichinet.datasets.catalogue import split_spec
    from taichinet.datasets.folds import read_folds
    from taichinet.datasets.interchange.export import export_monai, export_nnunet
    from taichinet.datasets.prepared import count_empty_masks

    _refuse_invalid_options(form, folds, protocol)
    dataset, path = split_spec(data)
    given_plan = None if folds is None else read_folds(folds)
    complete = dataset.read(path, include_normal=normal is not False)
    complete.files.require_originals("`data export`")
    manifest = complete
    if given_plan is not None and normal is None:  # without normal images if the plan has none
        lesions = complete.without_normal()
        manifest = lesions if given_plan.fold_of.keys() <= set(lesions.keys) else complete
    plan = given_plan or _draw_folds(manifest, protocol, seed, count)
    in_colour = dataset.colour if colour is None else colour
    if form == "nnunet":
        written = export_nnunet(manifest, out, dataset_id, plan, in_colour, overwrite)
    else:
        written = export_monai(manifest, out, plan, in_colour, overwrite)
    counts = manifest.count_images(count_empty_masks(manifest))
    if as_json:
        _print_json(written, form, manifest, plan, counts.to_json_dict())
        return
    _print_summary(written, form, manifest, plan, without_normal=len(manifest.samples) < len(complete.samples))
    print_counts(counts)


def _refuse_invalid_options(form: str, folds: Path | None, protocol: str | None) -> None:
    from taichinet.datasets.folds import PROTOCOLS
    from taichinet.errors import SettingError, unknown_name

    if form not in FORMATS:
        raise unknown_name("export format", form, FORMATS)
    if protocol is not None and protocol not in PROTOCOLS:
        raise unknown_name("fold protocol", protocol, PROTOCOLS)
    if folds is not None and protocol is not None:
        raise SettingError(
            "--folds and --protocol cannot be used together: the fold file sets the protocol. Give one of them."
        )


def _draw_folds(manifest: Manifest, protocol: str | None, seed: int, count: int) -> FoldPlan | None:
    """Folds drawn as in `taichinet train`; None for the official split."""
    from taichinet.datasets.duplicates.search import manifest_duplicates
    from taichinet.datasets.folds import make_folds

    has_split = any(sample.fold is not None or sample.part in ("validation", "test") for sample in manifest)
    if protocol == "official" or (protocol is None and has_split):
        make_folds(manifest, (), "official")  # raises if there is no official split
        return None
    groups = manifest_duplicates(manifest).groups
    return make_folds(manifest, groups, protocol or "grouped", seed, count)  # type: ignore[arg-type]


def _print_json(written: Path, form: str, manifest: Manifest, plan: FoldPlan | None, counts: dict[str, object]) -> None:
    import json

    content = {
        "written": str(written),
        "format": form,
        "images": len(manifest.samples),
        "regions": manifest.regions,
        "used_and_skipped": counts,
        "protocol": "official" if plan is None else plan.protocol,
        "folds": None if plan is None else plan.count,
    }
    print(json.dumps(content))


def _print_summary(written: Path, form: str, manifest: Manifest, plan: FoldPlan | None, without_normal: bool) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True, markup=False)
    split = "the official split" if plan is None else f"{plan.count} {plan.protocol} folds"
    without = " without the normal images" if without_normal else ""
    console.print(f"{len(manifest.samples)} images{without}, {split}, written to {written}")
    if form == "nnunet":
        console.print(
            "nnU-Net copies splits_final.json when it plans. Older versions do not: copy the file to "
            f"nnUNet_preprocessed/{written.name} before training."
        )
