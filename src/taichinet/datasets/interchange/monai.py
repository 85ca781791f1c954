"""Export to a MONAI datalist: images, label maps, and a JSON file that pairs them and holds their folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taichinet.datasets.folds import FoldPlan
from taichinet.datasets.interchange.cases import RECORD, case_names
from taichinet.datasets.interchange.label_map import declare
from taichinet.datasets.interchange.writing import (
    dealt,
    our_record,
    told_folds,
    whole_folder,
    write_json,
    write_pictures,
)
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.monai import LISTS
from taichinet.datasets.sample import Sample

INDEX = "datalist.json"


def export_monai(
    manifest: Manifest, out: Path, plan: FoldPlan | None = None, colour: bool = False, overwrite: bool = False
) -> Path:
    """Write `manifest` as `out`/{images,labels}/CASE.png and `out`/datalist.json, and return that file.

    Images are PNG at native size, grey or, with `colour`, RGB; label maps hold 0..R, inner regions higher.
    With a `plan`, all samples are in "training", and "fold" is the fold in which a sample is tested
    (monai.auto3dseg.datafold_read holds it out). Without, or with an official one, "validation" and "test" are the
    data set's own parts, and "fold" is written where it comes with one. The same samples give the same bytes. DataError
    or FoldError where something does not fit; then nothing is written.
    """
    plan = dealt(manifest, plan)
    folds = told_folds(manifest, plan)
    names = case_names(manifest.keys)
    with whole_folder(out, INDEX, overwrite=overwrite) as partial:
        files = [(partial / "images" / f"{name}.png", partial / "labels" / f"{name}.png") for name in names.values()]
        write_pictures(manifest, files, colour)
        write_json(_datalist(manifest, names, folds, plan), partial / INDEX)
    return out / INDEX


def _datalist(
    manifest: Manifest, names: dict[str, str], folds: dict[str, int], plan: FoldPlan | None
) -> dict[str, Any]:
    lists: dict[str, list[dict[str, Any]]] = {"training": []}
    list_of = {part: name for name, part in reversed(LISTS)}  # "test", not its second name "testing"
    for sample in manifest:
        name = "training" if plan is not None or sample.part is None else list_of[sample.part]
        lists.setdefault(name, []).append(_entry(sample, names[sample.key], folds))
    return {
        "name": manifest.name,
        "labels": declare(manifest.regions),
        "numTraining": len(lists["training"]),
        "numTest": len(lists.get("test", [])),
        **lists,
        RECORD: our_record(manifest, names, plan),
    }


def _entry(sample: Sample, name: str, folds: dict[str, int]) -> dict[str, Any]:
    fold = {"fold": folds[sample.key]} if sample.key in folds else {}
    return {"image": f"images/{name}.png", "label": f"labels/{name}.png", **fold}
