"""Figs. 8 and 11: predictions of several networks side by side, one row per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from taichinet.errors import SettingError, unknown_name
from taichinet.experiments.recipes.catalogue import VARIATIONS
from taichinet.experiments.records import network_title
from taichinet.reports.figures.sheet import Row, Sheet
from taichinet.reports.figures.source import (
    Request,
    Source,
    TrainedRun,
    choose_cases,
    provenance,
    refuse_unknown_images,
)

MODELS = (*(f"model-{number}" for number in range(1, 8)), "taichinet")  # of Table I
MODEL_TITLES = (*(f"Model {number}" for number in range(1, 8)), "TaiChiNet")
PAPER_METHODS = ("unet", "unet++", "attention-unet", "deeplabv3", "ce-net", "fat-net", "aau-net", "taichinet")
ROWS = 3  # figure 11 of the paper has one image per data set
MAX_METHODS = 10  # more panels side by side would be too narrow
LEGEND = (
    "Red: ground truth; dashed: prediction, absent if it is empty; DI is the Dice coefficient at original resolution."
)


def ablation_figure(sources: tuple[Source, ...], request: Request) -> Sheet:
    """Fig. 8: the image and the predictions of Models 1 to 7 and TaiChiNet."""
    source = sources[0]
    runs = source.select_runs(MODELS)
    full = runs["taichinet"]
    keys, rule = choose_cases(source, full, request, ROWS)
    return Sheet(
        number=8,
        caption=(
            f"The versions of TaiChiNet in Table I at the scale '{full.scale}' on held-out images of {source.name}, "
            f"fold {full.fold}. {LEGEND}"
        ),
        columns=("Image", *MODEL_TITLES),
        rows=tuple(_rows(source, [runs[model] for model in MODELS], keys)),
        rule=rule,
        provenance=provenance(sources[:1], list(runs.values())),
    )


def methods_figure(sources: tuple[Source, ...], request: Request) -> Sheet:
    """Fig. 11: the image and the predictions of the chosen methods; one row per data set, or three rows of one."""
    methods = request.methods or PAPER_METHODS
    _refuse_methods(methods, [run.row for source in sources for run in source.runs])
    refuse_unknown_images(sources, request.cases)
    several = len(sources) > 1
    rows: list[Row] = []
    runs: list[TrainedRun] = []
    rules: list[str] = []
    for source in sources:
        runs_by_method = source.select_runs(methods)
        cases = tuple(key for key in request.cases if key in source.samples)
        if request.cases and not cases:
            continue
        reference = runs_by_method.get("taichinet", runs_by_method[methods[-1]])
        keys, rule = choose_cases(source, reference, replace(request, cases=cases), 1 if several else ROWS)
        rules.append(f"{source.name}: {rule}" if several else rule)
        rows += _rows(
            source, [runs_by_method[method] for method in methods], keys, f"{source.name} " if several else ""
        )
        runs += [runs_by_method[method] for method in methods]
    scales = ", ".join(dict.fromkeys(run.scale for run in runs))
    return Sheet(
        number=11,
        caption=(
            f"Segmentations by {len(methods)} networks at the scale '{scales}' on held-out images of "
            f"{', '.join(source.name for source in sources)}. {LEGEND}"
        ),
        columns=("Image", *(_title(method, run) for method, run in zip(methods, runs, strict=False))),
        rows=tuple(rows),
        rule=" ".join(rules),
        provenance=provenance(sources, runs),
    )


def _rows(source: Source, runs: Sequence[TrainedRun], keys: Sequence[str], label: str = "") -> list[Row]:
    """Return one row per key: the image and the predictions of `runs`. `label` goes before the key."""
    cases = [source.case(key) for key in keys]
    predictions = zip(*(source.predict(run, cases) for run in runs), strict=True)
    return [
        Row(f"{label}{case.key}", (case.panel(), *(prediction.overlay_panel() for prediction in of_case)))
        for case, of_case in zip(cases, predictions, strict=True)
    ]


def _refuse_methods(methods: Sequence[str], trained: Sequence[str]) -> None:
    known = ("taichinet", *VARIATIONS)
    for method in methods:
        if method not in (*known, *trained):
            raise unknown_name(
                "method", method, known, ", ".join((*PAPER_METHODS, "and every other recipe without its scale"))
            )
    if len(methods) > MAX_METHODS:
        raise SettingError(
            f"{len(methods)} methods do not fit a page legibly. Give at most {MAX_METHODS} with --method."
        )


def _title(method: str, run: TrainedRun) -> str:
    """Return the title of the network, or the recipe if it is a variation of the network."""
    return network_title(run.record.experiment.model) if method == run.record.experiment.model else method
