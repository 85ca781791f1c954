"""What `taichinet predict` leaves in its folder: the maps of every image by name, and one table of them all."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from taichinet.errors import DataError
from taichinet.storage.atomic import TEMPORARY_SUFFIX, write_bytes, write_text
from taichinet.storage.csv_cells import escape_cell
from taichinet.storage.digest import digest_bytes

if TYPE_CHECKING:  # not at run time: a folder that cannot be used is refused without waiting for torch
    from taichinet.inference.predictor import MaskPrediction

TABLE = "predictions"
OUTPUTS = ("mask", "probability", "disagreement")

COMPRESSION = 4  # of 9; zlib's usual 6 takes twice the time for files a tenth smaller

_MADE_BY = ("Software", "taichinet predict")  # a text chunk of every PNG written here
_UNFINISHED = re.compile(  # what a killed run leaves of `storage.atomic`
    r"\.(.+_(mask|probability|disagreement)\.png|predictions\..+)\.[0-9a-f]{32}\.tmp", re.DOTALL
)


@dataclass(frozen=True)
class Row:
    """One line of predictions.csv and predictions.json; what a file has not is None (empty in the CSV).

    `name` is NAME of the written NAME_mask.png and so on; with subfolders it is a relative path with `/`. `status` is
    "done" or "failed", with the reason in `error`. Height, width and the box are in pixels (bottom and right
    exclusive; None for an empty mask), `area_share`, `max_probability` and `mean_disagreement` in [0, 1]. `seconds`
    covers reading, network and writing.
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


_COLUMNS = [field.name for field in fields(Row)]
_LONGEST_HEADER = 1000


def output_names(places: Mapping[Path, Path]) -> dict[Path, str]:
    """The NAME of the outputs of every image, a relative path with `/`.

    Where several images share a name, it is `a_png` and `a_jpg`, and then `a_png_2`. Upper and lower case count as
    the same: some file systems do not tell them apart.

    Args:
        places: For each image its path relative to the folder that was named, or its file name.

    Returns:
        A unique name for each image: its relative path without the ending.
    """
    stems = {image: (place.parent / place.stem).as_posix() for image, place in places.items()}
    shared = Counter(stem.casefold() for stem in stems.values())
    names: dict[Path, str] = {}
    used: set[str] = set()
    for image, stem in stems.items():
        alone = shared[stem.casefold()] == 1
        base = stem if alone else f"{stem}_{image.suffix.removeprefix('.')}"
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


def make_output_folder(output: Path) -> None:
    """Create `output`.

    Raises:
        DataError: It cannot be used as a folder.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        next(output.iterdir(), None)
    except OSError as fault:
        raise DataError(f"The output folder {output} cannot be used ({fault}). Choose another with -o.") from fault


def refuse_foreign_files(output: Path, names: Mapping[Path, str]) -> None:
    """Refuse to overwrite inputs or files that no prediction wrote, such as the masks of a data set.

    Raises:
        DataError: It names every such file.
    """
    inputs = {os.path.realpath(image) for image in names}
    foreign = [
        str(path)
        for name in names.values()
        for path in output_files(output, name).values()
        if os.path.lexists(path) and (os.path.realpath(path) in inputs or not _made_here(path))
    ]
    if not _is_table(output / f"{TABLE}.csv"):
        foreign.append(str(output / f"{TABLE}.csv"))
    if foreign:
        raise DataError(
            f"{len(foreign)} files in {output} that are inputs, or not written by taichinet, would be "
            "overwritten. Choose another folder with -o:",
            foreign,
        )


def _made_here(path: Path) -> bool:
    key, value = _MADE_BY
    try:
        if not path.is_file():  # a FIFO would block
            return False
        with Image.open(path, formats=["PNG"]) as image:
            return image.info.get(key) == value
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def _is_table(path: Path) -> bool:
    """Whether `path` is absent or begins with the columns of a table written here."""
    if not os.path.lexists(path):
        return True
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        return stream.readline(_LONGEST_HEADER).strip() == ",".join(_COLUMNS)


def remove_earlier_run(output: Path, names: Mapping[Path, str], kept: Container[str]) -> int:
    """Remove what an earlier run left in `output` and this one does not keep.

    These are the table, the maps of every image of `names` whose path is not in `kept`, and unfinished files. So a
    run that is killed leaves no map under the table of another one.

    Returns:
        The number of images that the earlier table lists, that are not of this run, and that keep their maps.
    """
    others = {name for name in _listed(output) if (output_files(output, name)["mask"]).is_file()} - set(names.values())
    for ending in ("csv", "json"):
        (output / f"{TABLE}.{ending}").unlink(missing_ok=True)
    folders = {output}
    for image, name in names.items():
        for path in output_files(output, name).values():
            folders.add(path.parent)
            if str(image) not in kept:
                with suppress(OSError):  # a name that is too long fails when its maps are written
                    path.unlink(missing_ok=True)
    for folder in folders:
        for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
            if _UNFINISHED.fullmatch(path.name):
                path.unlink(missing_ok=True)
    return len(others)


def _listed(output: Path) -> set[str]:
    """The names in the table of an earlier run; empty where there is none."""
    try:
        return {row["name"] for row in json.loads((output / f"{TABLE}.json").read_text(encoding="utf-8"))}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return set()


def write_maps(result: MaskPrediction, files: Mapping[str, Path]) -> dict[str, str]:
    """Write what `result` has of OUTPUTS to `files`, a path for each.

    Returns:
        The digest of each written file.

    Raises:
        StorageError: A file cannot be written.
    """
    maps = {"mask": result.mask, "probability": result.probability, "disagreement": result.disagreement}
    written = {}
    for kind, values in maps.items():
        if values is not None:
            content = _png(values)
            write_bytes(files[kind], content)
            written[kind] = digest_bytes(content)
    return written


def _png(values: NDArray[np.bool_] | NDArray[np.float32]) -> bytes:
    """(H, W) in 0..1 as an 8-bit grey PNG, 0..255."""
    text = PngInfo()
    text.add_text(*_MADE_BY)
    pixels = np.round(values * np.float32(255)).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", pnginfo=text, compress_level=COMPRESSION)
    return buffer.getvalue()


def rows_as_json(rows: Sequence[Row]) -> str:
    """The rows as predictions.json holds them."""
    plain: list[dict[str, Any]] = [asdict(row) for row in rows]
    return json.dumps(plain, indent=1, allow_nan=False)


def write_table(rows: Sequence[Row], output: Path) -> None:
    """Write predictions.csv and predictions.json to `output`.

    Text in the CSV that a spreadsheet would take for a formula is escaped (`escape_cell`); the JSON holds it as it is.

    Raises:
        StorageError: A file cannot be written.
    """
    write_text(output / f"{TABLE}.json", rows_as_json(rows) + "\n")
    stream = StringIO(newline="")
    table = csv.DictWriter(stream, _COLUMNS)
    table.writeheader()
    table.writerows({key: escape_cell(value) for key, value in asdict(row).items()} for row in rows)
    # A file name that is no valid text still gets its row.
    write_bytes(output / f"{TABLE}.csv", stream.getvalue().encode("utf-8", "backslashreplace"))
