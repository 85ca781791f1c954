"""Export to nnU-Net's raw format: its own training then sees the same pictures, regions and folds."""

from __future__ import annotations

import re
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
from taichinet.datasets.readers.nnunet import INDEX, SPLITS
from taichinet.datasets.sample import Sample
from taichinet.errors import SettingError

GREY = {"0": "grey"}
RGB = {"0": "R", "1": "G", "2": "B"}


def export_nnunet(
    manifest: Manifest,
    out: Path,
    dataset_id: int = 500,
    plan: FoldPlan | None = None,
    colour: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write `manifest` as `out`/DatasetNNN_NAME, NNN being `dataset_id`, and return that folder; `out` is nnUNet_raw.

    Images are PNG at native size, grey or, with `colour`, RGB; label maps hold 0..R, inner regions higher.
    With a `plan`, every sample is a training case and splits_final.json deals them over its folds: `val` of fold k is
    the plan's test part of fold k, the rest trains. Without, or with an official one, samples of the part "test" go
    to imagesTs, and the splits are the folds or the validation part that the data set comes with, if any.
    The same samples give the same bytes. DataError, FoldError or SettingError where something does not fit; then
    nothing is written.

    Source: documentation/dataset_format.md, region_based_training.md and manual_data_splits.md of nnU-Net v2.
    """
    if not 1 <= dataset_id <= 999:
        raise SettingError(f"nnU-Net numbers data sets 1 to 999, not {dataset_id}; 500 and more are free for your own.")
    plan = dealt(manifest, plan)
    folds = told_folds(manifest, plan)
    identity = f"Dataset{dataset_id:03d}_"
    folder = out / (identity + re.sub(r"[^A-Za-z0-9]+", "", manifest.name))
    taken = [other for other in sorted(out.glob(f"{identity}*")) if other.name != folder.name]
    if taken:
        raise SettingError(
            f"{taken[0]} has the number {dataset_id} already; nnU-Net needs one number a data set. Give another number."
        )
    names = case_names(manifest.keys)
    test = {sample.key for sample in manifest if plan is None and sample.part == "test"}
    train = [sample for sample in manifest if sample.key not in test]
    if not train:
        raise SettingError(
            f"All samples of {manifest.name} are its test part: nnU-Net needs some to train. Give folds."
        )
    splits = _splits(train, names, folds)
    with whole_folder(folder, INDEX, [SPLITS], overwrite) as partial:
        ends = {sample.key: "Ts" if sample.key in test else "Tr" for sample in manifest}
        files = [
            (
                partial / f"images{ends[key]}" / f"{names[key]}_0000.png",
                partial / f"labels{ends[key]}" / f"{names[key]}.png",
            )
            for key in manifest.keys
        ]
        write_pictures(manifest, files, colour)
        if splits:
            write_json(splits, partial / SPLITS)
        write_json(_index(manifest, names, plan, len(train), colour), partial / INDEX)
    return folder


def _index(
    manifest: Manifest, names: dict[str, str], plan: FoldPlan | None, trained: int, colour: bool
) -> dict[str, Any]:
    """dataset.json; with several regions nnU-Net trains each as a whole and needs to know which one lies on top."""
    regions = manifest.regions
    order = {"regions_class_order": list(range(1, len(regions) + 1))} if len(regions) > 1 else {}
    return {
        "name": manifest.name,
        "channel_names": RGB if colour else GREY,
        "labels": declare(regions),
        **order,
        "numTraining": trained,
        "file_ending": ".png",
        RECORD: our_record(manifest, names, plan),
    }


def _splits(train: list[Sample], names: dict[str, str], folds: dict[str, int]) -> list[dict[str, list[str]]]:
    """splits_final.json; a case without a fold trains in every one. Empty where there is no fold to write."""
    held_out = [[s.key for s in train if folds.get(s.key) == fold] for fold in sorted(set(folds.values()))]
    if not folds:
        held_out = [[s.key for s in train if s.part == "validation"]]
    return [
        {
            "train": [names[s.key] for s in train if s.key not in set(validated)],
            "val": [names[key] for key in validated],
        }
        for validated in held_out
        if validated
    ]
