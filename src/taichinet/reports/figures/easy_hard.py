"""Fig. 7: the easy part E_p and the hard part H_p of lesions, as U-Net++ mined them (Sec. IV-C, Eq. 23-24)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from taichinet.datasets.prepared import resize_mask
from taichinet.errors import FoldError, unknown_name
from taichinet.reports.figures.cases import NAMED, Request, at_quantiles, quantiles
from taichinet.reports.figures.panels import image_panel
from taichinet.reports.figures.runs import TrainedRun, take_together
from taichinet.reports.figures.sheet import Panel, Row, Sheet
from taichinet.reports.figures.source import Source, made_of
from taichinet.training.easy_hard import MinedRegions, read_regions

ROWS = 3


def easy_hard_figure(sources: tuple[Source, ...], request: Request) -> Sheet:
    """Training images with both parts, from those with little to those with much that is hard."""
    source = sources[0]
    run = take_together(source.runs, ["taichinet"], source.spec, source.out)["taichinet"]
    identity, mined = _mined(run)
    keys, rule = _choose(source, run, mined, request)
    position = {key: i for i, key in enumerate(mined.regions.keys)}
    rows = []
    for key in keys:
        case = source.case(key)
        size = mined.provenance.size
        lesion = max(int(resize_mask(case.truth, size).sum()), 1)
        panels = [image_panel(case)]
        for name, parts in (("easy", mined.regions.easy), ("hard", mined.regions.hard)):
            part = parts[position[key], 0].numpy().astype(bool)
            share = int(part.sum()) / lesion
            told = {
                "case": key,
                "part": name,
                "share_of_lesion": round(share, 4),
                "mined": identity,
            }
            filled = np.asarray(Image.fromarray(part).resize(case.shape[::-1], Image.Resampling.NEAREST))
            panels.append(
                Panel(
                    filled,
                    "region",
                    backdrop=case.image,
                    truth=case.truth,
                    note=f"{share:.0%} of the lesion",
                    record=told,
                )
            )
        rows.append(Row(key, case.shape, tuple(panels)))
    return Sheet(
        number=7,
        caption=(
            f"Easy-to-hard strategy on training images of {source.name}, fold {run.fold}: (a) ultrasound image; (b) "
            "easy part E_p; (c) hard part H_p. What of a lesion is in neither, the preparing U-Net++ did not find. "
            "Red: ground truth."
        ),
        columns=("(a) Image", "(b) Easy part $E_p$", "(c) Hard part $H_p$"),
        rows=tuple(rows),
        rule=rule,
        made=made_of(sources[:1], [run]),
    )


def _choose(source: Source, run: TrainedRun, mined: MinedRegions, request: Request) -> tuple[tuple[str, ...], str]:
    keys = mined.regions.keys
    if request.cases:
        for key in request.cases:
            if key not in source.samples:
                raise unknown_name(
                    f"image of {source.name}", key, tuple(source.samples), f"{len(source.samples)} images"
                )
            if key not in keys:
                raise FoldError(
                    f"'{key}' was not mined in fold {run.fold}: only training images have easy and hard parts. Draw "
                    f"figure 7 alone (--figure 7) with a --case such as '{keys[0]}'."
                )
        return request.cases, NAMED
    easy = mined.regions.easy[:, 0].flatten(1).sum(1).tolist()
    hard = mined.regions.hard[:, 0].flatten(1).sum(1).tolist()
    shares = sorted((h / (e + h), key) for e, h, key in zip(easy, hard, keys, strict=True) if e and h)
    if not shares:
        raise FoldError(
            f"No training image of {run.recipe}, fold {run.fold}, has both parts: of {len(keys)}, "
            f"{sum(map(bool, easy))} have an easy and {sum(map(bool, hard))} a hard one. Train with more "
            "mining.epochs or a wider U-Net++ (mining.width), or name images with --case."
        )
    count = request.count or ROWS
    told = ", ".join(f"{quantile:.3g}" for quantile in quantiles(count))
    rule = (
        "Training images with both parts in the order of H_p's share of E_p and H_p together, equal ones by key; of "
        f"these the images at the quantiles {told}."
    )
    return at_quantiles([key for _, key in shares], count), rule


def _mined(run: TrainedRun) -> tuple[str, MinedRegions]:
    """Identity and content of the regions that `run` was trained with, from a mining folder next to the runs."""
    if run.record.mining is None:
        raise FoldError(f"{run.recipe} in {run.folder} was trained without easy and hard parts. Train a full recipe.")
    identity = run.record.mining.identity
    for parent in run.folder.parents:
        folder: Path = parent / "mining" / identity
        if (folder / "provenance.json").is_file():
            return identity, read_regions(folder)
    raise FoldError(
        f"The easy and hard parts of {run.folder} are not there: no folder mining/{identity} lies beside it. Bring it "
        f"back, or train {run.recipe} again with --overwrite."
    )
