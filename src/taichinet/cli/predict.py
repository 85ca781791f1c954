"""`taichinet predict`: mask, probability and disagreement of every image, and one table of them all."""

from __future__ import annotations

import csv
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taichinet.errors import DataError, PartialFailureError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from taichinet.inference.predictor import Predictor

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
TABLE = "predictions"
OUTPUTS = ("mask", "probability", "disagreement")

_MADE_BY = ("Software", "taichinet predict")  # a text chunk of every PNG written here
_DERIVED = re.compile(r".+_(mask.*|probability|disagreement)\.png", re.IGNORECASE | re.DOTALL)
_HIDDEN = "hidden"
_MASK = "a mask or an earlier prediction by name (*_mask*.png, *_probability.png, *_disagreement.png)"
_OTHER_TYPE = "no image by its ending"


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


def predict(
    inputs: Annotated[list[Path], typer.Argument(metavar="FILES|FOLDER...", help="Images, or folders of images.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for masks, maps and the table.")
    ],
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            "-w",
            metavar="W",
            help="Folder with model.safetensors and config.json; default: those that come with taichinet.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="T",
            help="A pixel is lesion above this probability (0..1); default: that of the weights.",
        ),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Read the subfolders of a folder too.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the rows as JSON on stdout, and nothing else there.")
    ] = False,
) -> None:
    """Segment the lesion in every image.

    Writes, for each, NAME_mask.png (0 and 255), NAME_probability.png and, for a network of two paths,
    NAME_disagreement.png (0..255 for 0..1), all 8-bit at the image's own size, and one predictions.csv and
    predictions.json. Files that cannot be read are named at the end, when all others are done (exit code 7).
    """
    from rich.console import Console

    found = _find_images(inputs, output, recursive)
    messages = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    for line in found.notes():
        messages.print(line)
    names = _output_names(found.images)
    _make_output_folder(output, names)
    predictor = _load_predictor(weights, threshold)
    rows = _predict_all(predictor, names, output, None if as_json else messages)
    if as_json:
        typer.echo(_as_json(rows))
    failed = [str(row.error) for row in rows if row.error is not None]
    done = len(rows) - len(failed)
    if failed and not done:
        raise DataError(f"None of the {len(rows)} images could be predicted. Mend or replace them:", failed)
    if not as_json:
        typer.echo(f"{done} of {len(rows)} images predicted; masks, maps and {TABLE}.csv are in {output}.")
    if failed:
        problems = "\n  - ".join(["", *failed])
        raise PartialFailureError(
            f"{len(failed)} of {len(rows)} images failed; the other {done} are done and written to {output}. "
            f"Mend or remove these and run again:{problems}"
        )


@dataclass(frozen=True)
class _Found:
    """The images to predict, in order, and what was passed over, by reason."""

    images: tuple[Path, ...]
    skipped: Mapping[str, tuple[Path, ...]]

    def notes(self) -> Iterator[str]:
        """A line for every reason to skip a file."""
        for reason, paths in self.skipped.items():
            shown = ", ".join(path.name for path in paths[:3]) + (", ..." if len(paths) > 3 else "")
            yield f"Skipped {len(paths)} {'file' if len(paths) == 1 else 'files'}, {reason}: {shown}"


def _find_images(inputs: Sequence[Path], output: Path, recursive: bool) -> _Found:
    """Every image file that `inputs` name or hold, each once; in folders by name.

    A folder's hidden files, other file types, masks and earlier predictions are skipped. A file that was
    named itself is taken whatever it is called, unless it is the mask or an earlier prediction of another one
    named beside it, as `folder/*.png` of a shell would pass.
    """
    if not inputs:
        raise DataError("No image was named. Pass image files, or a folder of them.")
    images: dict[Path, Path] = {}
    skipped: dict[str, dict[Path, Path]] = {}
    try:
        absent = [f"{path}: there is no such file or folder" for path in inputs if not path.exists()]
        if absent:
            raise DataError(f"{len(absent)} of the paths do not exist. Check their spelling:", absent)
        for path in inputs:
            if path.is_dir():
                taken = [(file, _why_skipped(file)) for file in _files_in(path, output.resolve(), recursive)]
            else:
                taken = [(path, _MASK if _derived_from_another(path, inputs) else None)]
            for file, reason in taken:
                target = images if reason is None else skipped.setdefault(reason, {})
                target.setdefault(file.parent.resolve() / file.name, file)
    except OSError as fault:
        raise DataError(f"The inputs cannot be listed ({fault}). Check that you may read them.") from fault
    found = _Found(tuple(images.values()), {reason: tuple(files.values()) for reason, files in skipped.items()})
    if not found.images:
        raise DataError(
            f"No image in {', '.join(map(str, inputs))}. Pass image files, or a folder with files ending in "
            f"{', '.join(IMAGE_SUFFIXES)}; subfolders are read with --recursive.",
            found.notes(),
        )
    return found


def _files_in(folder: Path, output: Path, recursive: bool) -> Iterator[Path]:
    """The files of `folder` by name; `recursive`: also below, but in no hidden folder, link or `output`."""
    for entry in sorted(folder.iterdir()):
        dangling = entry.is_symlink() and not entry.exists()  # which is reported when it is read
        if entry.is_file() or dangling:
            yield entry
            continue
        passed_over = entry.is_symlink() or entry.name.startswith(".") or entry.resolve() == output
        if recursive and entry.is_dir() and not passed_over:
            yield from _files_in(entry, output, recursive)


def _why_skipped(file: Path) -> str | None:
    if file.name.startswith("."):
        return _HIDDEN
    if file.suffix.lower() not in IMAGE_SUFFIXES:
        return _OTHER_TYPE
    return _MASK if _DERIVED.fullmatch(file.name) else None


def _derived_from_another(file: Path, inputs: Sequence[Path]) -> bool:
    return _DERIVED.fullmatch(file.name) is not None and any(
        other.parent == file.parent and file.name.startswith(f"{other.stem}_") for other in inputs
    )


def _output_names(images: Sequence[Path]) -> dict[Path, str]:
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


def _output_files(output: Path, name: str) -> dict[str, Path]:
    return {kind: output / f"{name}_{kind}.png" for kind in OUTPUTS}


def _make_output_folder(output: Path, names: Mapping[Path, str]) -> None:
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
        for path in _output_files(output, name).values()
        if path.name in there and (path.resolve() in inputs or not _made_here(path))
    ]
    if foreign:
        raise DataError(
            f"{len(foreign)} files in {output} that are inputs, or not written by taichinet, would be "
            "overwritten. Choose another folder with -o:",
            foreign,
        )


def _made_here(path: Path) -> bool:
    from PIL import Image

    key, value = _MADE_BY
    try:
        with Image.open(path) as image:
            return image.info.get(key) == value
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def _load_predictor(weights: Path | None, threshold: float | None) -> Predictor:
    from taichinet.inference.predictor import Predictor
    from taichinet.inference.shipped import shipped_weights
    from taichinet.models.weights import load_weights
    from taichinet.training.device import choose_placement

    return Predictor(load_weights(weights or shipped_weights()), choose_placement(), threshold)


def _predict_all(predictor: Predictor, names: Mapping[Path, str], output: Path, messages: Console | None) -> list[Row]:
    """A row for each image of `names`; the table is written even when the user interrupts. Bar on `messages`.

    One image at a time: its result depends on no other file of the run, and a bad one spoils no batch.
    """
    from rich.progress import track

    rows: list[Row] = []
    images = list(names)
    try:
        for image in track(
            images, description="Predicting", console=messages, transient=True, disable=messages is None
        ):
            rows.append(_predict_file(predictor, image, names[image], output))
    finally:
        _write_table(rows, output)
    return rows


def _predict_file(predictor: Predictor, file: Path, name: str, output: Path) -> Row:
    """Read, predict and write one image; a fault of the file becomes the row's error."""
    from taichinet.datasets.images import read_grey, read_rgb

    started = time.perf_counter()
    targets = _output_files(output, name)
    try:
        for stale in targets.values():
            stale.unlink(missing_ok=True)
        result = predictor.predict(read_grey(file) if predictor.channels == 1 else read_rgb(file))
        _write_png(result.mask, targets["mask"])
        _write_png(result.probability, targets["probability"])
        if result.disagreement is not None:
            _write_png(result.disagreement, targets["disagreement"])
    except DataError as fault:
        return Row(str(file), name, "failed", seconds=_since(started), error=str(fault))
    except (OSError, MemoryError) as fault:
        return Row(str(file), name, "failed", seconds=_since(started), error=f"{file}: {fault!r}")
    box = result.bounding_box
    return Row(
        file=str(file),
        name=name,
        status="done",
        height=result.mask.shape[0],
        width=result.mask.shape[1],
        lesion_pixels=result.lesion_pixels,
        area_share=result.area_share,
        components=result.components,
        box_top=None if box is None else box.top,
        box_left=None if box is None else box.left,
        box_bottom=None if box is None else box.bottom,
        box_right=None if box is None else box.right,
        max_probability=result.max_probability,
        mean_disagreement=result.mean_disagreement,
        seconds=_since(started),
    )


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 4)


def _write_png(values: NDArray[np.bool_] | NDArray[np.float32], path: Path) -> None:
    """(H, W) in 0..1 as an 8-bit grey PNG, 0..255; never half a file under its final name."""
    import numpy as np
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text(*_MADE_BY)
    pixels = np.round(values * np.float32(255)).astype(np.uint8)
    unfinished = path.with_name(f".{path.name}.tmp")
    Image.fromarray(pixels).save(unfinished, format="PNG", pnginfo=text)
    unfinished.replace(path)


def _as_json(rows: Sequence[Row]) -> str:
    plain: list[dict[str, Any]] = [asdict(row) for row in rows]
    return json.dumps(plain, indent=1, allow_nan=False)


def _write_table(rows: Sequence[Row], output: Path) -> None:
    try:
        (output / f"{TABLE}.json").write_text(_as_json(rows) + "\n", encoding="utf-8")
        # A file name that is no valid text still gets its row.
        with (output / f"{TABLE}.csv").open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            table = csv.DictWriter(stream, [field.name for field in fields(Row)])
            table.writeheader()
            table.writerows(asdict(row) for row in rows)
    except OSError as fault:
        raise DataError(
            f"The table of predictions cannot be written to {output} ({fault}). Choose another with -o."
        ) from fault
