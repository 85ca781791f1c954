"""`taichinet data export`: a data set as nnU-Net or MONAI wants it, with folds that split no near-duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taichinet.cli.options import Overwrite

if TYPE_CHECKING:
    from taichinet.datasets.folds import FoldPlan
    from taichinet.datasets.manifest import Manifest

FORMATS = ("nnunet", "monai")


def export_data(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Data set: its folder or zip, or NAME=PATH.")],
    form: Annotated[str, typer.Option("--format", help="nnunet or monai.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="nnunet: the folder nnUNet_raw. monai: the new folder.")],
    folds: Annotated[Path | None, typer.Option(help="Fold file to use, as written by `taichinet train`.")] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="grouped: folds that split no near-duplicates and no patient; paper: random ones, stratified by "
            "class; official: the authors' own split, which is kept by default where there is one."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the folds to draw.")] = 0,
    count: Annotated[int, typer.Option("--fold-count", min=2, max=10_000, help="How many folds to draw.")] = 5,
    dataset_id: Annotated[int, typer.Option("--dataset-id", help="nnU-Net's number of the data set, 1 to 999.")] = 500,
    normal: Annotated[
        bool | None,
        typer.Option(
            "--normal/--no-normal", help="With or without normal images; with them, or as --folds has, by default."
        ),
    ] = None,
    colour: Annotated[
        bool | None, typer.Option("--colour/--grey", help="RGB or grey images; as the data set is by default.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Export a data set for nnU-Net or MONAI; keys, classes and patients survive the way back."""
    import json

    from rich.console import Console

    from taichinet.cli.printing import print_counts
    from taichinet.datasets.catalogue import split_spec
    from taichinet.datasets.export.monai import export_monai
    from taichinet.datasets.export.nnunet import export_nnunet
    from taichinet.datasets.folds import PROTOCOLS, read_folds
    from taichinet.datasets.prepared import count_empty_masks
    from taichinet.errors import SettingError, unknown_name

    if form not in FORMATS:
        raise unknown_name("export format", form, FORMATS)
    if protocol is not None and protocol not in PROTOCOLS:
        raise unknown_name("fold protocol", protocol, PROTOCOLS)
    if folds is not None and protocol is not None:
        raise SettingError("--folds and --protocol contradict each other: a fold file has its protocol. Give one.")
    dataset, path = split_spec(data)
    kept = None if folds is None else read_folds(folds)
    whole = dataset.read(path, include_normal=normal is not False)
    manifest = whole if kept is None or normal is not None else _as_folded(whole, kept)
    plan = kept or _draw(manifest, protocol, seed, count)
    in_colour = dataset.colour if colour is None else colour
    if form == "nnunet":
        written = export_nnunet(manifest, out, dataset_id, plan, in_colour, overwrite)
    else:
        written = export_monai(manifest, out, plan, in_colour, overwrite)
    split = "official" if plan is None else plan.protocol
    counts = manifest.count_images(count_empty_masks(manifest))
    if as_json:
        told = {"written": str(written), "format": form, "images": len(manifest.samples), "regions": manifest.regions}
        print(
            json.dumps(
                {
                    **told,
                    "used_and_skipped": counts.to_json_dict(),
                    "protocol": split,
                    "folds": None if plan is None else plan.count,
                }
            )
        )
        return
    console = Console()
    dealt = "the official split" if plan is None else f"{plan.count} {plan.protocol} folds"
    without = " without the normal images" if len(manifest.samples) < len(whole.samples) else ""
    console.print(
        f"{len(manifest.samples)} images{without}, {dealt}, written to {written}", soft_wrap=True, markup=False
    )
    if form == "nnunet":
        console.print(
            "nnU-Net takes splits_final.json over when it plans; where it does not (older versions), copy it to "
            f"nnUNet_preprocessed/{written.name} before training.",
            soft_wrap=True,
            markup=False,
        )
    print_counts(counts)


def _as_folded(manifest: Manifest, plan: FoldPlan) -> Manifest:
    """Without the normal images where `plan` has none: folds of a training on lesions alone."""
    lesions = manifest.without_normal()
    return lesions if plan.fold_of.keys() <= set(lesions.keys) else manifest


def _draw(manifest: Manifest, protocol: str | None, seed: int, count: int) -> FoldPlan | None:
    """A plan drawn as `taichinet train` draws it; None for the official split."""
    from taichinet.datasets.copies import find_copies
    from taichinet.datasets.folds import make_folds

    split = any(sample.fold is not None or sample.part in ("validation", "test") for sample in manifest)
    if protocol == "official" or (protocol is None and split):
        make_folds(manifest, (), "official")  # refuses where there is none
        return None
    groups = find_copies(manifest).groups
    return make_folds(manifest, groups, "paper" if protocol == "paper" else "grouped", seed, count)
