"""Fig. 8: Table I's models side by side."""

from __future__ import annotations

from taichinet.reports.figures.cases import Request, choose_cases
from taichinet.reports.figures.panels import answer_panel, image_panel
from taichinet.reports.figures.runs import take_together
from taichinet.reports.figures.sheet import Row, Sheet
from taichinet.reports.figures.source import Source, made_of

MODELS = (*(f"model-{number}" for number in range(1, 8)), "taichinet")
TITLES = (*(f"Model {number}" for number in range(1, 8)), "TaiChiNet")
ROWS = 3


def ablation_figure(sources: tuple[Source, ...], request: Request) -> Sheet:
    """A row an image: the image, then the answers of Models 1 to 7 and TaiChiNet on it."""
    source = sources[0]
    runs = take_together(source.runs, MODELS, source.spec, source.out)
    keys, rule = choose_cases(source, runs["taichinet"], request, ROWS)
    cases = [source.case(key) for key in keys]
    answers = [source.answers(runs[model], cases) for model in MODELS]
    rows = [
        Row(case.key, case.shape, (image_panel(case), *(answer_panel(case, told[i]) for told in answers)))
        for i, case in enumerate(cases)
    ]
    full = runs["taichinet"]
    return Sheet(
        number=8,
        caption=(
            f"The versions of TaiChiNet in Table I at the scale '{full.scale}' on held-out images of {source.name}, "
            f"fold {full.fold}. Red: ground truth; dashed: prediction, absent where nothing was marked; DI is the Dice "
            "coefficient of what is drawn."
        ),
        columns=("Image", *TITLES),
        rows=tuple(rows),
        rule=rule,
        made=made_of(sources[:1], list(runs.values())),
    )
