"""Fig. 7: the easy pixels E_p and the hard pixels H_p of lesions, as mined by U-Net++ (Sec. IV-C, Eq. 23-24)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from taichinet.datasets.image_io import resize_mask
from taichinet.errors import FoldError
from taichinet.reports.figures.sheet import Panel, Row, Sheet
from taichinet.reports.figures.source import (
    NAMED_BY_USER,
    Request,
    Source,
    TrainedRun,
    at_quantiles,
    provenance,
    refuse_unknown_images,
)
from taichinet.training.easy_hard import MinedRegions, read_regions

ROWS = 3


def easy_hard_figure(sources: tuple[Source, ...], request: Request) -> Sheet:
    """One row per training image: the image, its easy pixels and its hard pixels."""
    source = sources[0]
    run = source.select_runs(["taichinet"])["taichinet"]
    identity, mined = _mined(run)
    keys, rule = _choose(source, run, mined, request)
    position = {key: i for i, key in enumerate(mined.regions.keys)}
    rows = []
    for key in keys:
        case = source.case(key)
        lesion_pixels = max(int(resize_mask(case.truth, mined.provenance.size).sum()), 1)
        panels = [case.panel()]
        for name, parts in (("easy", mined.regions.easy), ("hard", mined.regions.hard)):
            part = parts[position[key], 0].numpy().astype(bool)
            share = int(part.sum()) / lesion_pixels
            record = {
                "case": key,
                "part": name,
                "share_of_lesion": round(share, 4),
                "mined": identity,
            }
            region = np.asarray(Image.fromarray(part).resize(case.image.shape[::-1], Image.Resampling.NEAREST))
            note = f"{share:.0%} of the lesion"
            panels.append(Panel(case.image, case.truth, region=region, note=note, record=record))
        rows.append(Row(key, tuple(panels)))
    return Sheet(
        number=7,
        caption=(
            f"Easy-to-hard strategy on training images of {source.name}, fold {run.fold}: (a) ultrasound image; (b) "
            "easy pixels E_p; (c) hard pixels H_p. Pixels of a lesion in neither were not found by the U-Net++ of the "
            "mining stage. Red: ground truth."
        ),
        columns=("(a) Image", "(b) Easy part $E_p$", "(c) Hard part $H_p$"),
        rows=tuple(rows),
        rule=rule,
        provenance=provenance(sources[:1], [run]),
    )


def _choose(source: Source, run: TrainedRun, mined: MinedRegions, request: Request) -> tuple[tuple[str, ...], str]:
    """Return the keys of the images to show and the rule that selected them; raises SettingError or FoldError."""
    keys = mined.regions.keys
    if request.cases:
        refuse_unknown_images([source], request.cases)
        if others := [key for key in request.cases if key not in keys]:
            raise FoldError(
                f"'{others[0]}' has no easy and hard pixels in fold {run.fold}: only training images are mined. Draw "
                f"figure 7 alone (--figure 7) with a --case such as '{keys[0]}'."
            )
        return request.cases, NAMED_BY_USER
    easy = mined.regions.easy[:, 0].flatten(1).sum(1).tolist()
    hard = mined.regions.hard[:, 0].flatten(1).sum(1).tolist()
    shares = sorted((h / (e + h), key) for e, h, key in zip(easy, hard, keys, strict=True) if e and h)
    if not shares:
        raise FoldError(
            f"No training image of {run.recipe}, fold {run.fold}, has both easy and hard pixels: of "
            f"{len(keys)}, {sum(map(bool, easy))} have easy and {sum(map(bool, hard))} hard pixels. Train with more "
            "mining.epochs or a wider U-Net++ (mining.width), or name images with --case."
        )
    selected, quantiles = at_quantiles([key for _, key in shares], request.count or ROWS)
    return selected, (
        "Training images with easy and hard pixels, sorted by H_p as a fraction of E_p and H_p together, then by key; "
        f"of these the images at the quantiles {quantiles}."
    )


def _mined(run: TrainedRun) -> tuple[str, MinedRegions]:
    """Identity and content of the regions that `run` was trained with, from a mining folder in a parent folder."""
    if run.record.mining is None:
        raise FoldError(f"{run.recipe} in {run.folder} was trained without easy and hard pixels. Train a full recipe.")
    identity = run.record.mining.identity
    for parent in run.folder.parents:
        folder: Path = parent / "mining" / identity
        if (folder / "provenance.json").is_file():
            return identity, read_regions(folder)
    raise FoldError(
        f"The easy and hard pixels of {run.folder} are missing: there is no folder mining/{identity} above it. Restore "
        f"it, or train {run.recipe} again with --overwrite."
    )
