"""Fig. 9: features and outputs without and with the cross-attention."""

from __future__ import annotations

from taichinet.reports.figures.cases import Request, choose_cases
from taichinet.reports.figures.panels import image_panel, output_panel, response_panel
from taichinet.reports.figures.runs import take_together
from taichinet.reports.figures.sheet import Panel, Row, Sheet
from taichinet.reports.figures.source import Source, made_of, record_of

# The two rows of Table I that differ in the cross-attention alone; TaiChiNet itself has no row without it.
WITHOUT, WITH = "model-5", "model-7"
ROWS = 3


def attention_figure(sources: tuple[Source, ...], request: Request) -> Sheet:
    """A row an image: deep and decoded features of the positive path and the output, without and with attention."""
    source = sources[0]
    runs = take_together(source.runs, (WITHOUT, WITH), source.spec, source.out)
    keys, rule = choose_cases(source, runs[WITH], request, ROWS)
    rows = []
    for key in keys:
        case = source.case(key)
        panels: list[Panel] = [image_panel(case)]
        for row in (WITHOUT, WITH):
            path = source.feature_maps(runs[row], key).positive
            deep = path.deep if path.attended is None else path.attended
            (answer,) = source.answers(runs[row], [case])
            record = record_of(runs[row], key)
            panels += [
                response_panel(case, deep[0].mean(0), {**record, "map": "deep, mean over channels"}),
                response_panel(case, path.decoded[0].mean(0), {**record, "map": "decoded, mean over channels"}),
                output_panel(case, answer),
            ]
        rows.append(Row(key, case.shape, tuple(panels)))
    scale, fold = runs[WITH].scale, runs[WITH].fold
    return Sheet(
        number=9,
        caption=(
            f"Without and with the cross-attention at the scale '{scale}', on held-out images of {source.name}, fold "
            f"{fold}: (a) image; (b)-(d) Model 5, which has none, (e)-(g) Model 7, which differs in nothing else. (b) "
            "F_p and (e) F_p' are the positive path's deep features, (c) and (f) those of its last decoder level, "
            "means over channels, each stretched from its weakest to its strongest response; (d) and (g) the output, "
            "black 0 to white 1. Red: ground truth; dashed: the output cut at 0.5."
        ),
        columns=(
            "(a) Image",
            "(b) Deep $F_p$\nwithout",
            "(c) Decoded\nwithout",
            "(d) Output\nwithout",
            "(e) Deep $F_p'$\nwith",
            "(f) Decoded\nwith",
            "(g) Output\nwith",
        ),
        rows=tuple(rows),
        rule=rule,
        made=made_of(sources[:1], list(runs.values())),
    )
