"""Export: build the file, compare it with plain PyTorch on real images, and only write it if the masks agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from taichinet.errors import SettingError, StorageError, WeightsError
from taichinet.inference.export.comparison import (
    Case,
    Comparison,
    ExportImages,
    compare,
    find_cases,
    split_images,
)
from taichinet.inference.export.report import ExportReport, write_report
from taichinet.inference.predictor import Predictor
from taichinet.inference.runtimes.catalogue import export_formats, find_runtime
from taichinet.inference.runtimes.eager import PLAIN, Eager, Tuned
from taichinet.inference.runtimes.graph_folder import RUNTIMES_FOLDER, graph_folder
from taichinet.inference.runtimes.parity import (
    ParityRecord,
    digest_graph,
    processor,
    write_record,
)
from taichinet.inference.runtimes.runtime import BuildRequest, Built, Precision, Runtime, Segment
from taichinet.models.weights import load_weights
from taichinet.models.weights_folder import WEIGHTS_FILE, LoadedWeights, find_one_weights
from taichinet.progress import tracked
from taichinet.runner import open_session
from taichinet.storage.atomic import replacing_all
from taichinet.storage.digest import digest_file
from taichinet.storage.output_folder import output_files, refuse_foreign_files

_FILE, _IN_PREDICT, _IN_PREDICT_BF16, _TUNED = "the file", "in predict", "in predict, bf16", "tuned PyTorch"


@dataclass(frozen=True)
class ExportRequest:
    """Options of an export.

    Attributes:
        weights: Weights folder, or the weights file in it.
        form: Name of a runtime with a file format: onnx or openvino.
        int8: Whether to quantise to int8.
        output: Path of the exported file.
        images: Data set or folder of the images to compare masks on, see `find_cases`.
        calibration: Data set or folder of the calibration images for int8; by default, a part of `images`.
        threshold: Probability threshold of the mask; by default, that of the weights.
        most_images: Maximum number of images to compare masks on.
        overwrite: Whether to overwrite files that were not written by an export.
        trust_code: Whether the code of a network from outside the package may be executed, see `load_weights`.
    """

    weights: Path
    form: str
    int8: bool
    output: Path
    images: str
    calibration: str | None = None
    threshold: float | None = None
    most_images: int = 150
    overwrite: bool = False
    trust_code: bool = False

    @property
    def precision(self) -> Precision:
        """Precision of the convolutions."""
        return "int8" if self.int8 else "float32"


def export(request: ExportRequest, say: Callable[[str], None] = lambda line: None) -> ExportReport:
    """Export a network.

    Writes the exported file and its parity reports, and the graph for `taichinet predict` to `graph_folder`.

    Args:
        request: Options of the export.
        say: Called with progress messages.

    Returns:
        Report of the export.

    Raises:
        SettingError: A package is missing, the file suffix is wrong, or `most_images` is below 1.
        WeightsError: The weights cannot be read, or the masks differ too much from those of plain PyTorch. Nothing is
            written.
        DataError: Too few images.
        StorageError: A file that was not written by an export would be overwritten, or a file cannot be written.
    """
    build = _builder(request)
    request = replace(request, weights=find_one_weights(request.weights))
    refuse_foreign_files(request.output.parent, _output_names(request), request.overwrite)
    loaded = load_weights(request.weights, request.trust_code)
    plain = Predictor(loaded, PLAIN, request.threshold, Eager(loaded.network))
    images = _select_images(request, loaded)
    digest = digest_file(request.weights / WEIGHTS_FILE)
    say(f"Building {request.form} {request.precision}")
    cases = images.calibration if request.int8 else ()
    calibration = [plain.prepare(case.pixels(loaded.channels)).pixels for case in cases]
    notes = {"weights": digest, "model": loaded.config.model, "threshold": str(plain.decision.threshold)}
    built = build(BuildRequest(request.precision, loaded, plain.decision, calibration, notes, request.output.parent))
    say(f"Comparing masks on {len(images.parity)} images")
    comparison = compare(plain, _candidates(request, loaded, built), images.parity)
    _check_parity(request, comparison)
    apart, largest = _resizing_difference(plain, images.parity)
    with output_files(request.output.parent) as temporary:  # OpenVINO writes two files
        built.save_complete(temporary / request.output.name)
    report = ExportReport(
        file=request.output.name,
        form=request.form,
        precision=request.precision,
        bytes=sum(file.stat().st_size for file in find_runtime(request.form).files(request.output)),
        weights=request.weights.resolve().name,
        weights_digest=digest,
        size=plain.size,
        channels=plain.channels,
        threshold=plain.decision.threshold,
        processor=processor(),
        calibration_images=len(calibration),
        parity_images=len(images.parity),
        unseen_images=images.unseen,
        resized_apart=apart,
        largest_grey_difference=largest,
        rows=comparison.parity,
        seconds=comparison.seconds,
        versions={package: version(package) for package in built.packages},
        kept=_store_graph(request, built, comparison, digest),
    )
    write_report(report, request.output)
    return report


def _candidates(request: ExportRequest, loaded: LoadedWeights, built: Built) -> dict[str, Segment]:
    """The file and each runtime of `taichinet predict` that is compared with plain PyTorch, by name."""
    runtimes: dict[str, Runtime] = {_IN_PREDICT: built.runtime, _TUNED: Tuned(loaded.network)}
    if built.bf16_runtime is not None:
        runtimes[_IN_PREDICT_BF16] = built.bf16_runtime
    predictors = {name: Predictor(loaded, PLAIN, request.threshold, runtime) for name, runtime in runtimes.items()}
    return {_FILE: built.segment, **{name: predictor.segment for name, predictor in predictors.items()}}


def _builder(request: ExportRequest) -> Callable[[BuildRequest], Built]:
    """Check the options and return the function that builds the export."""
    spec = find_runtime(request.form)
    if spec.build is None:
        raise SettingError(f"The runtime {spec.name} has no file format. Export for {' or '.join(export_formats())}.")
    missing = spec.missing_packages(build=True, int8=request.int8)
    if missing:
        raise SettingError(
            f"Exporting {request.form} {request.precision} needs {', '.join(missing)}: pip install 'taichinet[export]'."
        )
    if request.output.suffix != spec.suffix:
        raise SettingError(f"{request.output} has the suffix '{request.output.suffix}'. Name it FILE{spec.suffix}.")
    if request.most_images < 1:
        raise SettingError(f"The maximum number of images is {request.most_images}, but must be at least 1.")
    return spec.build


def _select_images(request: ExportRequest, loaded: LoadedWeights) -> ExportImages:
    compared = find_cases(request.images)
    calibrated = None if request.calibration is None else find_cases(request.calibration)
    if not request.int8:
        calibrated = ()
    return split_images(compared, calibrated, loaded.config, request.most_images)


def _check_parity(request: ExportRequest, comparison: Comparison) -> None:
    failures = [
        f"{name}: {reason}"
        for name in (_FILE, _IN_PREDICT)
        for reason in comparison.parity[name].failures(request.precision)
    ]
    if failures:
        remedy = "Export without --int8, or calibrate with more or other images" if request.int8 else "Use PyTorch"
        raise WeightsError(
            f"The export as {request.form} {request.precision} is refused, and nothing was written: "
            f"{'; '.join(failures)}. {remedy}."
        )


def _resizing_difference(plain: Predictor, cases: Sequence[Case]) -> tuple[float, int]:
    """Fraction of pixels that the file resizes differently from the training, and the largest difference (0-255)."""
    from taichinet.inference.export.processing import IMAGE, before_network

    session = open_session(before_network(plain.channels, plain.size).SerializeToString())
    apart = total = largest = 0
    for case in tracked(cases, "comparing resized images"):
        pixels = case.pixels(plain.channels)
        normalised = np.asarray(session.run(None, {IMAGE: pixels[..., None] if pixels.ndim == 2 else pixels})[0])[0]
        resized = np.round(normalised * 255).astype(np.int16)
        difference = np.abs(resized - plain.prepare(pixels).pixels.astype(np.int16))
        apart += int(np.count_nonzero(difference))
        total += difference.size
        largest = max(largest, int(difference.max()))
    return apart / total, largest


def _store_graph(request: ExportRequest, built: Built, comparison: Comparison, digest: str) -> tuple[str, ...]:
    """Write the network graph and its records to `graph_folder`. Returns () if it is not writable."""
    name = f"{request.form}-{request.precision}"
    rows: dict[Precision, str] = {request.precision: _IN_PREDICT}
    if built.bf16_runtime is not None:
        rows["bf16"] = _IN_PREDICT_BF16
    spec = find_runtime(request.form)
    graph = graph_folder(request.weights) / f"{name}{spec.suffix}"
    try:
        graph.parent.mkdir(parents=True, exist_ok=True)
        for precision in rows:  # a record must never be next to a different graph
            (graph.parent / f"{request.form}-{precision}.json").unlink(missing_ok=True)
        with replacing_all(graph.parent) as temporary:
            built.save_graph(temporary / graph.name)
        for precision, row in rows.items():
            record = ParityRecord(
                runtime=request.form,
                precision=precision,
                graph=graph.name,
                weights_digest=digest,
                processor=processor(),
                parity=comparison.parity[row],
                seconds=comparison.seconds[row],
                tuned_seconds=comparison.seconds[_TUNED],
                plain_seconds=comparison.seconds["plain"],
                graph_digest=digest_graph(spec.files(graph)),
            )
            write_record(record, graph.parent / f"{request.form}-{precision}.json")
    except (OSError, StorageError):
        return ()
    return (f"{RUNTIMES_FOLDER}/{graph.name}",)


def _output_names(request: ExportRequest) -> list[str]:
    """Names of the files that an export writes to the folder of its output."""
    names = [file.name for file in find_runtime(request.form).files(request.output)]
    return [*names, *(f"{request.output.name}.parity.{ending}" for ending in ("json", "md"))]
