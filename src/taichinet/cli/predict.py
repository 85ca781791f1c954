"""`taichinet predict`: mask, probability and disagreement of every image, and one table of them all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taichinet.errors import DataError, PartialFailureError

if TYPE_CHECKING:
    from rich.console import Console

    from taichinet.inference.outputs import Row
    from taichinet.inference.predictor import Predictor

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

_DERIVED = re.compile(r".+_(mask.*|probability|disagreement)\.png", re.IGNORECASE | re.DOTALL)
_HIDDEN = "hidden"
_MASK = "a mask or an earlier prediction by name (*_mask*.png, *_probability.png, *_disagreement.png)"
_OTHER_TYPE = "no image by its ending"


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
    runtime: Annotated[
        str,
        typer.Option(
            help="auto (the fastest that `taichinet export` proved for these weights on this processor, else tuned), "
            "eager, tuned, onnx or openvino."
        ),
    ] = "auto",
    disagreement: Annotated[
        bool, typer.Option("--disagreement/--no-disagreement", help="Write where the two paths contradict each other.")
    ] = True,
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

    from taichinet.inference.outputs import TABLE, make_output_folder, output_names, rows_as_json

    found = _find_images(inputs, output, recursive)
    messages = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    for line in found.notes():
        messages.print(line)
    names = output_names(found.images)
    make_output_folder(output, names)
    predictor = _load_predictor(weights, threshold, runtime, disagreement)
    rows = _predict_all(predictor, names, output, None if as_json else messages)
    if as_json:
        typer.echo(rows_as_json(rows))
    failed = [str(row.error) for row in rows if row.error is not None]
    done = len(rows) - len(failed)
    if failed and not done:
        raise DataError(f"None of the {len(rows)} images could be predicted. Mend or replace them:", failed)
    if not as_json:
        typer.echo(
            f"{done} of {len(rows)} images predicted ({predictor.runtime.description}); masks, maps and {TABLE}.csv "
            f"are in {output}."
        )
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


def _load_predictor(weights: Path | None, threshold: float | None, runtime: str, disagreement: bool) -> Predictor:
    from taichinet.inference.predictor import Predictor
    from taichinet.inference.runtimes.choose import open_runtime
    from taichinet.inference.shipped import shipped_weights
    from taichinet.models.weights import load_weights
    from taichinet.training.device import choose_placement

    folder = weights or shipped_weights()
    loaded, placement = load_weights(folder), choose_placement()
    if loaded.unverified:
        typer.echo(f"{folder}: {loaded.unverified}", err=True)
    on_gpu = placement.device.type != "cpu"
    return Predictor(loaded, placement, threshold, open_runtime(runtime, loaded, folder, disagreement, on_gpu))


def _predict_all(predictor: Predictor, names: Mapping[Path, str], output: Path, messages: Console | None) -> list[Row]:
    """A row for each image of `names`; the table is written even when the user interrupts. Bar on `messages`."""
    from rich.progress import track

    from taichinet.inference.folder import predict_files
    from taichinet.inference.outputs import write_table

    rows: list[Row] = []
    try:
        rows.extend(
            track(
                predict_files(predictor, names, output),
                total=len(names),
                description="Predicting",
                console=messages,
                transient=True,
                disable=messages is None,
            )
        )
    finally:
        write_table(rows, output)
    return rows
