"""What `taichinet predict` leaves in its folder: the maps of every image by name, and one table of them all."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from taichinet.errors import DataError

if TYPE_CHECKING:  # not at run time: a folder that cannot be used is refused without waiting for torch
    from taichinet.inference.predictor import MaskPrediction

TABLE = "predictions"
OUTPUTS = ("mask", "probability", "disagreement")

COMPRESSION = 4  # of 9; zlib's usual 6 takes twice the time for files a tenth smaller

_MADE_BY = ("Software", "taichinet predict")  # a text chunk of every PNG written here


@dataclass(frozen=True)
class Row:
    """One line of predictions.csv and predictions.json; what a file has not is None (empty in the CSV).

    `name` is NAME of the written NAME_mask.png and so on. `status` is "done" or "failed", with the reason in
    `error`. Height, width and the box are in pixels (bottom and right exclusive; None for an empty mask),
    `area_share`, `max_probability` and `mean_disagreement` in [0, 1]. `seconds` covers reading, network and
    writing.
    """

    file: str
    name: str
    status: str
    height: int | None = None
    width: int | None = None
    lesion_pixels: int | None = None
    area_share: float | None = None
    components: int | None = None
    box_top: int | None = None
    box_left: int | None = None
    box_bottom: int | None = None
    box_right: int | None = None
    max_probability: float | None = None
    mean_disagreement: float | None = None
    seconds: float | None = None
    error: str | None = None


def output_names(images: Sequence[Path]) -> dict[Path, str]:
    """NAME for every image: its stem; where several share one, `a_png` and `a_jpg`, and then `a_png_2`.

    Upper and lower case count as the same: some file systems do not tell them apart.
    """
    shared = Counter(image.stem.casefold() for image in images)
    names: dict[Path, str] = {}
    used: set[str] = set()
    for image in images:
        alone = shared[image.stem.casefold()] == 1
        base = image.stem if alone else f"{image.stem}_{image.suffix.removeprefix('.')}"
        name, number = base, 1
        while name.casefold() in used:
            number += 1
            name = f"{base}_{number}"
        used.add(name.casefold())
        names[image] = name
    return names


def output_files(output: Path, name: str) -> dict[str, Path]:
    """Where each of OUTPUTS of the image `name` is written."""
    return {kind: output / f"{name}_{kind}.png" for kind in OUTPUTS}


def make_output_folder(output: Path, names: Mapping[Path, str]) -> None:
    """Create `output`; refuse to overwrite inputs or what no prediction wrote, like a data set's masks."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        there = {entry.name for entry in output.iterdir()}
    except OSError as fault:
        raise DataError(f"The output folder {output} cannot be used ({fault}). Choose another with -o.") from fault
    inputs = {image.resolve() for image in names}
    foreign = [
        str(path)
        for name in names.values()
        for path in output_files(output, name).values()
        if path.name in there and (path.resolve() in inputs or not _made_here(path))
    ]
    if foreign:
        raise DataError(
            f"{len(foreign)} files in {output} that are inputs, or not written by taichinet, would be "
            "overwritten. Choose another folder with -o:",
            foreign,
        )


def _made_here(path: Path) -> bool:
    key, value = _MADE_BY
    try:
        with Image.open(path) as image:
            return image.info.get(key) == value
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def write_maps(result: MaskPrediction, files: Mapping[str, Path]) -> None:
    """Write what `result` has of OUTPUTS to `files`, a path for each."""
    _write_png(result.mask, files["mask"])
    _write_png(result.probability, files["probability"])
    if result.disagreement is not None:
        _write_png(result.disagreement, files["disagreement"])


def _write_png(values: NDArray[np.bool_] | NDArray[np.float32], path: Path) -> None:
    """(H, W) in 0..1 as an 8-bit grey PNG, 0..255; never half a file under its final name."""
    text = PngInfo()
    text.add_text(*_MADE_BY)
    pixels = np.round(values * np.float32(255)).astype(np.uint8)
    unfinished = path.with_name(f".{path.name}.tmp")
    Image.fromarray(pixels).save(unfinished, format="PNG", pnginfo=text, compress_level=COMPRESSION)
    unfinished.replace(path)


def rows_as_json(rows: Sequence[Row]) -> str:
    """The rows as predictions.json holds them."""
    plain: list[dict[str, Any]] = [asdict(row) for row in rows]
    return json.dumps(plain, indent=1, allow_nan=False)


def write_table(rows: Sequence[Row], output: Path) -> None:
    """Write predictions.csv and predictions.json to `output`."""
    try:
        (output / f"{TABLE}.json").write_text(rows_as_json(rows) + "\n", encoding="utf-8")
        # A file name that is no valid text still gets its row.
        with (output / f"{TABLE}.csv").open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            table = csv.DictWriter(stream, [field.name for field in fields(Row)])
            table.writeheader()
            table.writerows(asdict(row) for row in rows)
    except OSError as fault:
        raise DataError(
            f"The table of predictions cannot be written to {output} ({fault}). Choose another with -o."
        ) from fault
