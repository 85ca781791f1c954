"""The overview as text: sentences that answer the main questions from the numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from taichinet.evaluation.rates import Rate
from taichinet.evaluation.statistics import SIGNIFICANCE
from taichinet.experiments.paper import Figure, paper_tables
from taichinet.experiments.recipes.best import BEST
from taichinet.experiments.recipes.catalogue import list_recipes
from taichinet.reports.document.format import (
    interval,
    number,
    probability,
    rate,
    scored,
    signed,
    title_of,
)
from taichinet.reports.document.model import Block, Heading, Note, Points
from taichinet.reports.paper_tables.against import VERDICTS
from taichinet.reports.paper_tables.comparisons import Comparison
from taichinet.reports.paper_tables.condition_text import (
    data_text,
    dice_of,
    folds_text,
    network_name,
    training_text,
    without_scores,
)
from taichinet.reports.paper_tables.differences import differences_from_paper
from taichinet.reports.paper_tables.overview import Condition, Overview, is_complete, regions_of
from taichinet.reports.paper_tables.runs import Method
from taichinet.reports.paper_tables.tested import Selection

NAMED = 4  # methods of one condition that a sentence lists by name
LEFT_OUT_DATA = "leave-one-dataset-out"


def verdict_blocks(overview: Overview) -> list[Block]:
    """The summary, and the first answer to each question for which there are results."""
    first = tuple(points[0] for points in _answers(overview).values())
    return [Note(_summary(overview)), *([Points(first)] if first else [])]


def answer_blocks(overview: Overview) -> list[Block]:
    """All answers by question; nothing if the verdict has all of them."""
    answers = _answers(overview)
    if all(len(points) == 1 for points in answers.values()):
        return []
    return [block for question, points in answers.items() for block in (Heading(question), Points(tuple(points)))]


def _answers(overview: Overview) -> dict[str, list[str]]:
    """The answers to each question for which there are results, the most important one first."""
    answers = {
        "Which network is better?": _comparison_points(overview),
        "What does the paper report?": _paper_points(overview),
        "What happens on normal images?": _normal_points(overview),
        "What happens on another data set?": _other_data_points(overview),
    }
    return {question: points for question, points in answers.items() if points}


def _summary(overview: Overview) -> str:
    """TaiChiNet compared with the U-Net in how many conditions, and with which verdicts."""
    own = [condition for condition in overview.conditions if condition.methods[0].own_data]
    found = [c for condition in own for c in condition.comparisons]
    if not found:
        missing = without_scores(overview)
        if missing and len(overview.shown) > 1:
            return f"No network is called better, because scores.csv, the scores of each image, is missing: {missing}."
        return (
            "No two networks were tested on the same images and folds with the same image size and number of epochs, "
            "so none is called better. Train a second recipe with the same --data, --protocol and --output."
        )
    of_taichinet = [
        c
        for condition in own
        for c in condition.comparisons
        if c.method is condition.taichinet and c.reference is condition.baseline
    ]
    verdicts = [c.verdict for c in of_taichinet or found]
    counts = Counter(verdicts)
    pair = "TaiChiNet and the U-Net" if of_taichinet else "Two networks"
    first = "TaiChiNet" if of_taichinet else "the first one below"
    return (
        f"{pair} of the same training were compared on the same images: {first} has a clearly higher Dice in "
        f"{counts['higher']} of {len(verdicts)} comparisons and a clearly lower Dice in {counts['lower']}; there is no "
        f"clear difference in {counts['unclear']}."
    )


def _comparison_points(overview: Overview) -> list[str]:
    return [
        f"{_place(condition)}: {' '.join(_sentences(condition))}"
        for condition in overview.conditions
        if condition.comparisons and condition.methods[0].own_data
    ]


def _sentences(condition: Condition) -> Iterator[str]:
    """For each region the scores, and the comparisons of TaiChiNet; without one, those with the U-Net."""
    subject = condition.taichinet
    for region in regions_of(condition.methods[0]):
        scores = [f"{network_name(condition, m)} {number(dice_of(m, region).mean, 3)}" for m in condition.methods]
        yield f"Dice{f' of the {region}' if region else ''} {', '.join(scores)}."
        for comparison in condition.comparisons:
            if comparison.region == region and subject in (None, comparison.method):
                names = (network_name(condition, method) for method in (comparison.method, comparison.reference))
                yield f"{' minus '.join(names)}: {interval(comparison.test.difference)}, {_reason(comparison)}."


def _reason(comparison: Comparison) -> str:
    """The verdict, and what the interval and the test show if they differ."""
    test, verdict = comparison.test, VERDICTS[comparison.verdict]
    p = probability(comparison.p_holm)
    if not p:
        return "equal on every image"
    images = f"higher on {test.better} images, lower on {test.worse}, p {p}"
    if not test.difference.bounded:
        return f"{verdict}: no interval, with one group of images or the same difference in each"
    if comparison.verdict == "unclear":
        if test.difference.low > 0 or test.difference.high < 0:
            mean = "higher" if test.difference.low > 0 else "lower"
            return f"{verdict}: the mean is {mean}, but Wilcoxon's test does not confirm it ({images})"
        if comparison.p_holm < SIGNIFICANCE:
            more = "higher" if test.effect > 0 else "lower"
            return f"{verdict}: {more} by Wilcoxon's test ({images}), but the interval of the mean includes 0"
    return verdict


def _place(condition: Condition) -> str:
    """E.g. "BUSI at the paper's settings (224 px, 40 epochs), 5 grouped folds, 647 lesion images"."""
    method = condition.methods[0]
    scales = {other.name.partition("-")[0] for other in condition.methods}
    if not any(differences_from_paper(other.experiment) for other in condition.methods):
        settings = " at the paper's settings"
    elif all(other.name in BEST for other in condition.methods):
        settings = " with the training of our own recipes"
    elif len(scales) == 1 and {other.name for other in condition.methods} <= {*list_recipes()}:
        settings = f" with the smaller budget of the `{min(scales)}` recipes"
    else:
        settings = ""
    images = method.images(Selection())
    return f"{data_text(method)}{settings} ({training_text(method)}), {folds_text(method)}, {images} lesion images"


def _paper_points(overview: Overview) -> list[str]:
    """What the paper reports for the networks that were trained with its settings."""
    points = []
    for condition in overview.conditions:
        method = condition.methods[0]
        found = [(other, printed) for other in condition.methods if (printed := _printed(other)) is not None]
        if not found:
            continue
        names = [network_name(condition, other) for other, _ in found]
        theirs = ", ".join(
            f"{name} {figure.mean:.3f} ± {figure.std:.3f}" for name, (_, figure) in zip(names, found, strict=True)
        )
        means = [(dice_of(other).mean, figure) for other, figure in found]
        ours = ", ".join(
            f"{name} {number(mean, 3)} ({signed(None if mean is None else mean - figure.mean)})"
            for name, (mean, figure) in zip(names, means, strict=True)
        )
        points.append(
            f"{data_text(method)}, Dice: the paper reports {theirs}, on random folds, which can have near-duplicates "
            f"in both training and test. Measured here on {folds_text(method)}: {ours}."
        )
    return points


def _printed(method: Method) -> Figure | None:
    """The Dice in the paper's comparison of networks; None if the settings are not those of the paper."""
    if not method.own_data or differences_from_paper(method.experiment):
        return None
    variation = method.name.partition("-")[2]
    wanted = (method.file.dataset, method.tested_on, method.experiment.data.include_normal)
    for table in reversed(paper_tables().values()):  # Tables IV to VII compare networks, I to III parts of TaiChiNet
        for part in table.parts:
            places = [place for place, column in enumerate(part.columns) if column.score == "dice"]
            if (part.trained_on, part.tested_on, part.include_normal) == wanted and len(places) == 1:
                for row in part.rows:
                    if row.variation == variation:
                        return row.figures[places[0]]
    return None


def _normal_points(overview: Overview) -> list[str]:
    """The share of normal images with a prediction, by data, folds and training."""
    members: dict[tuple[object, ...], list[Method]] = {}
    for method in overview.methods:
        settings = method.experiment
        if method.own_data and method.first.summary.normal_images.images:
            key = (method.first.study, settings.data.size, settings.training.epochs, method.folds_done)
            members.setdefault(key, []).append(method)
    points = []
    for same in sorted(members.values(), key=lambda methods: not is_complete(methods[0])):
        images = same[0].first.summary.normal_images.images
        points.append(
            f"{data_text(same[0])} ({training_text(same[0])}), {folds_text(same[0])}, {images} normal images: a lesion "
            f"is predicted on {_rates(same)}."
        )
    without = len([method for method in overview.shown if not method.first.summary.normal_images.images])
    if without and points:
        points.append(f"{without} of the {len(overview.shown)} results in the table were made without normal images.")
    elif without:
        points.append("No network was tested on normal images: how often one predicts a lesion there is not known.")
    return points


def _rates(methods: Sequence[Method]) -> str:
    """The shares from the lowest, with interval; of many methods the extremes, U-Net and TaiChiNet."""

    def rate_of(method: Method) -> Rate:
        normal = method.first.summary.normal_images
        return Rate.of(round((normal.false_positive_rate or 0) * normal.images), normal.images)

    ordered = sorted(methods, key=lambda method: rate_of(method).share or 0)
    selected = ordered
    if len(ordered) > NAMED:
        selected = [m for m in ordered if m in (ordered[0], ordered[-1]) or m.experiment.model in ("unet", "taichinet")]
    texts = [f"{rate(rate_of(method))} with {method.file.network} (`{method.name}`)" for method in selected]
    few = f" (U-Net, TaiChiNet, the lowest and the highest of {len(methods)} networks)"
    return ", ".join(texts) + few * (len(selected) < len(ordered))


def _other_data_points(overview: Overview) -> list[str]:
    """Dice on data sets that the training has not seen, beside that on the own test folds."""
    points = []
    for condition in overview.conditions:
        method = condition.methods[0]
        if method.protocol == LEFT_OUT_DATA and method.own_data:
            points += [_left_out_data(other, overview) for other in condition.methods]
        elif not method.own_data and method.tested_on not in method.file.dataset.split("+"):
            scores = ", ".join(
                f"{network_name(condition, other)} {scored(dice_of(other))}{_some_folds(other)}"
                f"{_on_own_folds(other, overview)}"
                for other in condition.methods
            )
            points.append(
                f"Trained on {title_of(method.file.dataset)}, tested on {title_of(method.tested_on)} "
                f"({training_text(method)}): Dice {scores}."
            )
    return points


def _some_folds(method: Method) -> str:
    """The folds, if not the networks of all of them were tested on the other data set."""
    return "" if len(dice_of(method).per_fold) == method.file.folds else f", {folds_text(method)}"


def _on_own_folds(method: Method, overview: Overview) -> str:
    same = (m for m in overview.methods if m.own_data and m.name == method.name and m.file == method.file)
    own = next(same, None)
    return "" if own is None else f" (test folds of {title_of(own.tested_on)}: {scored(dice_of(own))})"


def _left_out_data(method: Method, overview: Overview) -> str:
    """Each data set tested with networks trained on the others, beside networks trained on all of them."""
    parts = method.file.dataset.split("+")
    joint = next(
        (
            m
            for m in overview.methods
            if m.own_data and m.protocol == "grouped" and (m.name, m.trained_on) == (method.name, method.trained_on)
        ),
        None,
    )

    def by_part(tested: Method) -> str:
        return ", ".join(f"{title_of(part)} {scored(tested.score(Selection(part), 'dice'))}" for part in parts)

    text = f"{method.file.network} (`{method.name}`), tested on the data set that was not used in training: Dice "
    text += f"{by_part(method)}"
    return text + ("." if joint is None else f". Trained on {title_of(method.file.dataset)}: {by_part(joint)}.")
