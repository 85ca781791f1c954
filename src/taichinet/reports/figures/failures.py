"""Fig. 12: failures of TaiChiNet of the two kinds of Sec. V-J, found by rules on its held-out images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from taichinet.errors import FoldError
from taichinet.evaluation.failures import KINDS, RULES, Failure, find_failures
from taichinet.reports.figures.sheet import Row, Sheet
from taichinet.reports.figures.source import (
    NAMED_BY_USER,
    Case,
    Request,
    Source,
    TrainedRun,
    provenance,
    record_of,
    refuse_training_images,
)

ROWS = 1  # of each kind, as in the paper
BACKGROUND_BRIGHTNESS = 0.6  # the image is dimmed outside the lesion


def failures_figure(sources: tuple[Source, ...], request: Request) -> Sheet:
    """One row per failure: the image with its lesion highlighted, the mean features of both paths, the output."""
    source = sources[0]
    run = source.select_runs(["taichinet"])["taichinet"]
    failures = find_failures(run.scores)
    counts = {kind: sum(failure.kind == kind for failure in failures) for kind in KINDS}
    shown, rule = _select(source, run, failures, request)
    counted = "; ".join(f"{kind}: {count}" for kind, count in counts.items())
    return Sheet(
        number=12,
        caption=(
            f"Failures of {run.recipe} on held-out images of {source.name}, fold {run.fold} ({counted}; of "
            f"{len(run.scores)} images): (a) image with the lesion highlighted; (b) features of the negative path, (c) "
            "of the positive path, means over the channels of the last decoder level; (d) output, black for 0 and "
            "white for 1. Red: ground truth; dashed: the output thresholded at 0.5."
        ),
        columns=("(a) Image", "(b) Negative path", "(c) Positive path", "(d) Output"),
        rows=tuple(_row(source, run, failure) for failure in shown),
        rule=f"{rule} {_describe_rules()}",
        provenance={**provenance(sources[:1], [run]), "found": counts},
    )


def _select(
    source: Source, run: TrainedRun, failures: tuple[Failure, ...], request: Request
) -> tuple[list[Failure], str]:
    """Return the failures to show and the rule that selected them; raises SettingError or FoldError."""
    if request.cases:
        refuse_training_images(source, run, request.cases)
        by_key = {failure.key: failure for failure in failures}
        if others := [key for key in request.cases if key not in by_key]:
            raise FoldError(
                f"'{others[0]}' is not a failure of the two kinds with {run.recipe}. Failures are: "
                f"{', '.join(sorted(by_key)) or 'none'}."
            )
        return [by_key[key] for key in request.cases], NAMED_BY_USER
    if not failures:
        raise FoldError(
            f"Figure 12 cannot be drawn: {run.recipe}, fold {run.fold}, has no failure of the two kinds among "
            f"{len(run.scores)} held-out images. Draw it from another fold or network."
        )
    count = request.count or ROWS
    worst = [failure for kind in KINDS for failure in [item for item in failures if item.kind == kind][:count]]
    return worst, f"The {count} worst of each kind, by sensitivity minus the predicted fraction of the background."


def _row(source: Source, run: TrainedRun, failure: Failure) -> Row:
    case = source.case(failure.key)
    maps = source.feature_maps(run, failure.key)
    (prediction,) = source.predict(run, [case])
    record = {
        **record_of(run, failure.key, prediction.dice),
        "kind": failure.kind,
        "area_share": round(failure.area_share, 4),
        "sensitivity": round(failure.sensitivity, 4),
        "false_positive_share": round(failure.false_positive_share, 4),
        **_mean_grey(case),
    }
    highlighted = np.where(case.truth, case.image, case.image * BACKGROUND_BRIGHTNESS).astype(np.uint8)
    image_note = f"{failure.key}\n{failure.area_share:.0%} of the image"
    output = prediction.probability_panel()
    panels = (
        replace(case.panel(), values=highlighted, note=image_note),
        *(
            case.feature_map_panel(path.decoded[0].mean(0), {**record, "map": f"decoded, {name}"})
            for name, path in (("negative", maps.negative), ("positive", maps.positive))
            if path is not None
        ),
        replace(output, note=f"{output.note}, SE {failure.sensitivity:.2f}"),
    )
    return Row(failure.kind, panels)


def _mean_grey(case: Case) -> dict[str, float]:
    """Mean grey value inside and outside the lesion; similar if the lesion was taken for background."""
    inside, outside = case.image[case.truth], case.image[~case.truth]
    if not inside.size or not outside.size:
        return {}
    return {"mean_grey_in_lesion": round(float(inside.mean()), 1), "mean_grey_outside": round(float(outside.mean()), 1)}


def _describe_rules() -> str:
    return (
        f"Large: the fraction of the image in the lesion is at least the {RULES.large_quantile:.2f} quantile of the "
        "fold. Inverted: large, a smaller fraction of the lesion than of the background was predicted, and the "
        f"prediction has at least {RULES.least_answer:.0%} of the area of the lesion. Taken for background: large, not "
        f"inverted, sensitivity below {RULES.low_sensitivity}."
    )
