"""`taichinet predict`: write masks, probability and disagreement maps, and a table of all images."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taichinet.cli.completion import complete_runtime
from taichinet.cli.device import Device, use_and_print
from taichinet.cli.options import AsJson, Mirror, PresenceDecision, Threshold, TrustCode, WeightsOrStudy
from taichinet.errors import DataError, PartialFailureError

if TYPE_CHECKING:
    from rich.console import Console

    from taichinet.inference.ensemble import PredictorChoices
    from taichinet.inference.predictor import Predictor
    from taichinet.inference.rows import Provenance, Row

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

_DERIVED = re.compile(r".+_(mask.*|probability|disagreement|overlay)\.png", re.IGNORECASE | re.DOTALL)
_MASK = (
    "a mask or an earlier prediction according to the name (*_mask*.png, *_probability.png, *_disagreement.png, "
    "*_overlay.png)"
)
_SUBFOLDER = "only read with --recursive"
_DICOM = "DICOM, which has to be converted to PNG first (docs/segment/dicom.md)"
_LOCK = ".predictions.lock"


def predict(
    inputs: Annotated[list[Path], typer.Argument(metavar="FILE|FOLDER", help="Images, or folders of images.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="Folder for masks, maps and the table.")
    ],
    weights: WeightsOrStudy = None,
    threshold: Threshold = None,
    presence: PresenceDecision = True,
    runtime: Annotated[
        str,
        typer.Option(
            metavar="RUNTIME",
            autocompletion=complete_runtime,
            help="auto, eager, tuned, tuned-bf16, onnx or openvino. auto is the default of the weights, or the runtime "
            "that you recorded with `taichinet benchmark` for these weights on this processor.",
        ),
    ] = "auto",
    disagreement: Annotated[
        bool, typer.Option("--disagreement/--no-disagreement", help="Write maps of disagreement between the two paths.")
    ] = True,
    overlay: Annotated[
        bool, typer.Option("--overlay/--no-overlay", help="Write overlays, and the page index.html that shows them.")
    ] = True,
    mirror: Mirror = False,
    trust_code: TrustCode = False,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Also read subfolders.")] = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Segment the lesion in every image.

    For each image, writes NAME_mask.png (0 and 255), NAME_probability.png and, for a network with two paths,
    NAME_disagreement.png (0..1 scaled to 0..255), all 8-bit at the original resolution of the image, and
    NAME_overlay.png: the image with the border of the mask and its bounding box. Also writes predictions.csv,
    predictions.json and index.html, a page with all overlays. With --recursive, the output has the same subfolders as
    the input. Files that cannot be read are reported after all others (exit code 7). Run it again to resume.
    """
    from rich.console import Console

    from taichinet.inference.ensemble import PredictorChoices
    from taichinet.inference.outputs import make_output_folder, output_names, refuse_foreign_files
    from taichinet.storage.lock import locked

    _choose_device(device, runtime)
    selection = _find_images(inputs, output, recursive)
    messages = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)  # paths may look like markup
    for line in selection.notes():
        messages.print(line)
    names = output_names(selection.images)
    make_output_folder(output)
    with locked(output / _LOCK):
        refuse_foreign_files(output, names)
        choices = PredictorChoices(threshold, presence, runtime, disagreement, mirror, trust_code)
        run = _load(weights, choices, overlay, inputs, messages)
        rows = _predict_all(run, names, output, messages)
    _print_result(rows, run, output, as_json)


def _choose_device(device: str, runtime: str) -> None:
    """Choose the device and print it; raises SettingError if it is absent or `runtime` cannot use it."""
    from taichinet.inference.runtimes.choose import device_of_runtime

    use_and_print(device_of_runtime(runtime, device))


def _print_result(rows: Sequence[Row], run: _Run, output: Path, as_json: bool) -> None:
    """Print the rows or a summary; raise an error if images failed."""
    from taichinet.inference.contact_sheet import PAGE
    from taichinet.inference.outputs import TABLE, rows_as_json

    if as_json:
        _echo(rows_as_json(rows, run.provenance))
    failed = [str(row.error) for row in rows if row.error is not None]
    done = len(rows) - len(failed)
    if failed and not done:
        raise DataError(f"No image could be predicted, {len(failed)} failed. Correct or replace:", failed)
    if not as_json:
        _echo(
            f"{done} of {len(rows)} images predicted ({run.predictor.runtime.description}). Masks, maps and "
            f"{TABLE}.csv are in {output}."
        )
        if run.overlay:
            _echo(f"Overlays of all images: {output / PAGE}")
    if failed:
        problems = "\n  - ".join(["", *failed])
        raise PartialFailureError(
            f"{len(failed)} of {len(rows)} images failed; the results of the other {done} are in {output}. "
            f"Correct or remove the failed images and run again:{problems}"
        )


def _echo(text: str) -> None:
    """Print `text`, with characters escaped that standard output cannot encode."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    typer.echo(text.encode(encoding, "backslashreplace").decode(encoding))


@dataclass(frozen=True)
class _Selection:
    """The images to predict, in order, with their paths relative to the input; and the skipped files by reason."""

    images: Mapping[Path, Path]
    skipped: Mapping[str, tuple[Path, ...]]

    def notes(self) -> Iterator[str]:
        """One line per reason for skipping files or subfolders."""
        for reason, paths in self.skipped.items():
            shown = ", ".join(path.name for path in paths[:3]) + (", ..." if len(paths) > 3 else "")
            kind = "subfolder" if reason == _SUBFOLDER else "file"
            yield f"Skipped {len(paths)} {kind}{'' if len(paths) == 1 else 's'}, {reason}: {shown}"


def _find_images(inputs: Sequence[Path], output: Path, recursive: bool) -> _Selection:
    """Find the image files of `inputs`, each once; files of a folder are sorted by name.

    In folders, hidden files, other file types, masks and earlier predictions are skipped. A file that is given directly
    is used regardless of its name, unless it is the mask or an earlier prediction of another given file, as with
    `folder/*.png`.
    """
    if not inputs:
        raise DataError("No images were given. Pass image files, or a folder of them.")
    images: dict[Path, tuple[Path, Path]] = {}
    skipped: dict[str, dict[Path, Path]] = {}
    try:
        _refuse_unusable(inputs)
        for path in inputs:
            if path.is_dir():
                files = _files_in(path, os.path.realpath(output), recursive)
                candidates = [(file, file.relative_to(path), _why_skipped(file)) for file in files]
            else:
                candidates = [(path, Path(path.name), _MASK if _derived_from_another(path, inputs) else None)]
            for file, relative, reason in candidates:
                key = Path(os.path.realpath(file.parent)) / file.name
                if reason is None:
                    images.setdefault(key, (file, relative))
                else:
                    skipped.setdefault(reason, {}).setdefault(key, file)
    except OSError as error:
        raise DataError(f"The inputs cannot be listed ({error}). Check their read permissions.") from error
    selection = _Selection(dict(images.values()), {reason: tuple(files.values()) for reason, files in skipped.items()})
    if not selection.images:
        raise DataError(
            f"No image in {', '.join(map(str, inputs))}. Pass image files, or a folder with files ending in "
            f"{', '.join(IMAGE_SUFFIXES)}; use --recursive to read subfolders.",
            selection.notes(),
        )
    return selection


def _refuse_unusable(inputs: Sequence[Path]) -> None:
    """Raise an error for paths that do not exist and for FIFOs, sockets and devices, without opening any file."""
    absent = [f"{path}: {_why_absent(path)}" for path in inputs if not path.exists()]
    if absent:
        raise DataError("Some of the given paths do not exist. Check their spelling:", absent)
    unusable = [f"{path}: is {kind}" for path in inputs if (kind := _kind_of_no_image(path))]
    if unusable:
        raise DataError("Some of the given paths are not image files. Save the images as files:", unusable)


def _why_absent(path: Path) -> str:
    if path.is_symlink():
        return f"is a link to {path.readlink()}, which does not exist or is a link to itself"
    return "no such file or folder"


def _kind_of_no_image(path: Path) -> str | None:
    """The kind of `path`; None for a regular file or a folder of images."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return "a folder named like an image" if path.suffix.lower() in IMAGE_SUFFIXES else None
    kinds = ((stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"), (stat.S_ISREG, None))
    return next((kind for test, kind in kinds if test(mode)), "a device")


def _files_in(folder: Path, output: str, recursive: bool) -> Iterator[Path]:
    """The files of `folder` by name, and its subfolders, or with `recursive` their files.

    Hidden subfolders, links to folders and `output` are left out.
    """
    for entry in sorted(folder.iterdir()):
        if not entry.is_dir() or entry.suffix.lower() in IMAGE_SUFFIXES:
            yield entry
            continue
        excluded = entry.is_symlink() or entry.name.startswith(".") or os.path.realpath(entry) == output
        if not excluded:
            yield from _files_in(entry, output, recursive) if recursive else (entry,)


def _why_skipped(file: Path) -> str | None:
    if file.name.startswith("."):
        return "hidden"
    if file.suffix.lower() not in IMAGE_SUFFIXES:
        if file.is_dir():
            return _SUBFOLDER
        return _DICOM if _is_dicom(file) else "not an image file type"
    if file.exists() and not file.is_file():  # a broken link is reported when it is read
        return "a FIFO, device or socket, or a folder named like an image"
    return _MASK if _DERIVED.fullmatch(file.name) else None


def _is_dicom(file: Path) -> bool:
    """Whether the ending or the content is that of DICOM, whose files often have no ending or that of an identifier."""
    from taichinet.runner import DICOM_START

    if file.suffix.lower() in (".dcm", ".dicom"):
        return True
    mark, offset = DICOM_START
    try:
        if not file.is_file():  # a FIFO would block
            return False
        with file.open("rb") as stream:
            return stream.read(offset + len(mark)).startswith(mark, offset)
    except OSError:
        return False


def _derived_from_another(file: Path, inputs: Sequence[Path]) -> bool:
    return _DERIVED.fullmatch(file.name) is not None and any(
        other.parent == file.parent and file.name.startswith(f"{other.stem}_") for other in inputs
    )


@dataclass(frozen=True)
class _Run:
    """The predictor, the origin of its results, whether overlays are written, and a digest of all these settings."""

    predictor: Predictor
    provenance: Provenance
    overlay: bool
    settings: str


def _load(
    weights: Path | None, choices: PredictorChoices, overlay: bool, inputs: Sequence[Path], messages: Console
) -> _Run:
    """Load the weights, print what the user should know about them, and set up their runtime."""
    from taichinet.cli.weights_notes import notes_on_weights, recognised_datasets
    from taichinet.inference.ensemble import open_predictor
    from taichinet.inference.provenance import provenance_of
    from taichinet.inference.shipped import shipped_weights
    from taichinet.models.weights_folder import CONFIG_FILE, WEIGHTS_FILE
    from taichinet.storage.digest import digest_bytes, digest_file
    from taichinet.version import __version__

    predictor, members = open_predictor(weights or shipped_weights(), choices, messages.print)
    folders = [member.folder for member in members if member.folder is not None]
    for member in members:
        if member.unverified:
            typer.echo(f"{member.name}: {member.unverified}", err=True)
    provenance = provenance_of(predictor, members)
    datasets = recognised_datasets(str(path) for path in inputs if path.is_dir())
    for line in notes_on_weights(provenance.weights, members[0].config.provenance, datasets):
        messages.print(line)
    settings = (
        __version__,
        [digest_file(folder / name) for folder in folders for name in (CONFIG_FILE, WEIGHTS_FILE)],
        predictor.decision,
        str(predictor.runtime.description),
        predictor.device,
        choices.disagreement,
        overlay,
    )
    return _Run(predictor, provenance, overlay, digest_bytes(repr(settings).encode()))


def _predict_all(run: _Run, names: Mapping[Path, str], output: Path, messages: Console) -> list[Row]:
    """Predict the images of `names`, one row each; table and page are also written after an interruption."""
    from taichinet.inference.folder import predict_files
    from taichinet.inference.outputs import Journal, remove_earlier_run, write_page, write_table
    from taichinet.progress import tracked

    with Journal(output, run.settings, names) as journal:
        others = remove_earlier_run(output, names, journal.rows)
        if others:
            images = "1 image" if others == 1 else f"{others} images"
            messages.print(f"{output} keeps the maps of {images} of an earlier run, which the new table does not have.")
        if journal.rows:
            messages.print(
                f"{len(journal.rows)} of {len(names)} images were completed by an earlier run and are skipped."
            )
        failed: dict[str, Row] = {}
        try:
            with closing(predict_files(run.predictor, names, output, journal, run.overlay)) as results:
                for row in tracked(results, "predicting", len(names)):
                    if row.error is not None:
                        failed[row.file] = row
        finally:
            row_of = {**failed, **journal.rows}
            rows = [row_of[str(file)] for file in names if str(file) in row_of]
            write_table(rows, output, run.provenance)
            if run.overlay:
                write_page(rows, output, run.provenance)
    if len(journal.rows) == len(names):
        journal.path.unlink(missing_ok=True)
    return rows
