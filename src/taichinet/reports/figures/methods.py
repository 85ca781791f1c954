"""Fig. 11: TaiChiNet beside its baselines, a row a data set, or several rows of one."""

from __future__ import annotations

from collections.abc import Sequence

from taichinet.errors import SettingError, unknown_name
from taichinet.experiments.recipes.catalogue import VARIATIONS
from taichinet.reports.figures.cases import Request, choose_cases
from taichinet.reports.figures.panels import answer_panel, image_panel
from taichinet.reports.figures.runs import TrainedRun, take_together
from taichinet.reports.figures.sheet import Row, Sheet
from taichinet.reports.figures.source import Source, made_of

PRINTED = ("unet", "unet++", "attention-unet", "deeplabv3", "ce-net", "fat-net", "aau-net", "taichinet")
ROWS = 3  # as printed: one of each of three data sets
MOST = 10  # a panel narrower than this leaves is no picture


def methods_figure(sources: tuple[Source, ...], request: Request) -> Sheet:
    """A row an image: the image, then every method's answer on it; the printed eight unless others are asked for."""
    methods = request.methods or PRINTED
    _refuse_methods(methods)
    reference = "taichinet" if "taichinet" in methods else methods[-1]
    rows: list[Row] = []
    used: list[TrainedRun] = []
    rules: list[str] = []
    titles: tuple[str, ...] = ()
    unclaimed = set(request.cases)
    for source in sources:
        runs = take_together(source.runs, methods, source.spec, source.out)
        named = tuple(key for key in request.cases if key in source.samples)
        unclaimed -= set(named)
        if request.cases and not named:
            continue
        asked = Request(named, request.count, methods)
        keys, rule = choose_cases(source, runs[reference], asked, 1 if len(sources) > 1 else ROWS)
        rules.append(f"{source.name}: {rule}" if len(sources) > 1 else rule)
        cases = [source.case(key) for key in keys]
        answers = [source.answers(runs[method], cases) for method in methods]
        label = f"{source.name} {{}}" if len(sources) > 1 else "{}"
        rows += [
            Row(label.format(case.key), case.shape, (image_panel(case), *(answer_panel(case, a[i]) for a in answers)))
            for i, case in enumerate(cases)
        ]
        used += [runs[method] for method in methods]
        titles = tuple(_title(method, runs[method]) for method in methods)
    if unclaimed:
        known = tuple(key for source in sources for key in source.samples)
        raise unknown_name("image", sorted(unclaimed)[0], known, f"{len(known)} images")
    scales = ", ".join(dict.fromkeys(run.scale for run in used))
    return Sheet(
        number=11,
        caption=(
            f"Segmentations by {len(methods)} networks at the scale '{scales}' on held-out images of "
            f"{', '.join(source.name for source in sources)}. Red: ground truth; dashed: prediction, absent where "
            "nothing was marked; DI is the Dice coefficient of what is drawn."
        ),
        columns=("Image", *titles),
        rows=tuple(rows),
        rule=" ".join(rules),
        made=made_of(sources, used),
    )


def _refuse_methods(methods: Sequence[str]) -> None:
    known = ("taichinet", *VARIATIONS)
    for method in methods:
        if method not in known:
            raise unknown_name(
                "method", method, known, ", ".join((*PRINTED, "and every other recipe without its scale"))
            )
    if len(methods) > MOST:
        raise SettingError(f"{len(methods)} methods do not fit a page legibly. Give at most {MOST} with --method.")


def _title(method: str, run: TrainedRun) -> str:
    """The network's title; a variation of one is told by its recipe's row."""
    return run.network if method == run.record.experiment.model else method
