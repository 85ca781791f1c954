"""Fig. 12: where TaiChiNet fails, by the two kinds of Sec. V-J, found by rule on its held-out images."""

from __future__ import annotations

from taichinet.errors import FoldError
from taichinet.evaluation.failures import KINDS, RULES, Failure, find_failures
from taichinet.reports.figures.cases import NAMED, Request, refuse_seen
from taichinet.reports.figures.panels import image_panel, output_panel, response_panel
from taichinet.reports.figures.runs import TrainedRun, take_together
from taichinet.reports.figures.sheet import Row, Sheet
from taichinet.reports.figures.source import Case, Source, made_of, record_of

ROWS = 1  # of each kind, as printed


def failures_figure(sources: tuple[Source, ...], request: Request) -> Sheet:
    """A row a failure: the image with its lesion lit, the mean features of both paths, the output."""
    source = sources[0]
    run = take_together(source.runs, ["taichinet"], source.spec, source.out)["taichinet"]
    found = find_failures(run.scores)
    counts = {kind: sum(failure.kind == kind for failure in found) for kind in KINDS}
    if request.cases:
        refuse_seen(source, run, request.cases)
        known = {failure.key: failure for failure in found}
        if strangers := [key for key in request.cases if key not in known]:
            raise FoldError(
                f"'{strangers[0]}' is no failure of the two kinds with {run.recipe}. Failures are: "
                f"{', '.join(sorted(known)) or 'none'}."
            )
        shown, chosen = [known[key] for key in request.cases], NAMED
    else:
        count = request.count or ROWS
        shown = [failure for kind in KINDS for failure in [it for it in found if it.kind == kind][:count]]
        chosen = f"The {count} worst of each kind, by sensitivity less the marked share of the background."
    if not shown:
        raise FoldError(
            f"{run.recipe}, fold {run.fold}, has no failure of the two kinds among {len(run.scores)} held-out images, "
            "so figure 12 has nothing to show. Draw it from another fold or network."
        )
    told = "; ".join(f"{kind}: {counts[kind]}" for kind in KINDS)
    return Sheet(
        number=12,
        caption=(
            f"Failures of {run.recipe} on held-out images of {source.name}, fold {run.fold} ({told}; of "
            f"{len(run.scores)} images): (a) image, the lesion lit; (b) features of the negative path, (c) of the "
            "positive path, means over the channels of the last decoder level; (d) output, black 0 to white 1. Red: "
            "ground truth; dashed: the output cut at 0.5."
        ),
        columns=("(a) Image", "(b) Negative path", "(c) Positive path", "(d) Output"),
        rows=tuple(_row(source, run, failure) for failure in shown),
        rule=f"{chosen} {_rules()}",
        made={**made_of(sources[:1], [run]), "found": counts},
    )


def _row(source: Source, run: TrainedRun, failure: Failure) -> Row:
    case = source.case(failure.key)
    maps = source.feature_maps(run, failure.key)
    (answer,) = source.answers(run, [case])
    record = {
        **record_of(run, failure.key, answer.dice),
        "kind": failure.kind,
        "area_share": round(failure.area_share, 4),
        "sensitivity": round(failure.sensitivity, 4),
        "false_positive_share": round(failure.false_positive_share, 4),
        **_greys(case),
    }
    panels = [
        image_panel(case, f"{failure.key}\n{failure.area_share:.0%} of the image", highlight=True),
        *(
            response_panel(case, path.decoded[0].mean(0), {**record, "map": f"decoded, {name}"})
            for name, path in (("negative", maps.negative), ("positive", maps.positive))
            if path is not None
        ),
        output_panel(case, answer, f"DI {answer.dice:.2f}, SE {failure.sensitivity:.2f}"),
    ]
    return Row(failure.kind, case.shape, tuple(panels))


def _greys(case: Case) -> dict[str, float]:
    """Mean grey of lesion and background: alike in lesions taken for background, brighter inside in inverted ones."""
    inside, outside = case.image[case.truth], case.image[~case.truth]
    if not inside.size or not outside.size:
        return {}
    return {"mean_grey_in_lesion": round(float(inside.mean()), 1), "mean_grey_outside": round(float(outside.mean()), 1)}


def _rules() -> str:
    return (
        f"Large: the lesion's share of the image is at or above the {RULES.large_quantile:.2f} quantile of the fold. "
        "Inverted: large, a smaller share of the lesion was marked than of the background, and the answer has at least "
        f"{RULES.least_answer:.0%} of the lesion's area. Taken for background: large, not inverted, sensitivity below "
        f"{RULES.low_sensitivity}."
    )
