"""How the verdict and the table of the main networks name networks, data, folds and trainings."""

from __future__ import annotations

from taichinet.evaluation.aggregate import FoldScore
from taichinet.reports.document.format import PROTOCOLS, title_of
from taichinet.reports.paper_tables.overview import Condition, Overview, has_scores
from taichinet.reports.paper_tables.runs import Method
from taichinet.reports.paper_tables.tested import Selection, Tested

FOLD_WORDS = {"grouped": "grouped", "paper": "random"}


def training_text(method: Method) -> str:
    """E.g. "224 px, 40 epochs"."""
    experiment = method.experiment
    return f"{experiment.data.size} px, {experiment.training.epochs} epoch{'s' * (experiment.training.epochs > 1)}"


def dice_of(method: Method, region: str | None = None) -> FoldScore:
    """The Dice at input resolution."""
    return method.score(selection_of(region), "dice")


def selection_of(region: str | None) -> Selection:
    """The images with this region; without one, the lesion images."""
    return Selection() if region is None else Selection(region, region=region)


def network_name(condition: Condition, tested: Tested) -> str:
    """The name of the network; with the recipe if several methods of the condition have it."""
    method = next(other for other in condition.methods if other is tested)
    same = [other for other in condition.methods if other.file.network == method.file.network]
    title = method.file.network.partition("@")[0]  # without the digest of the code of an own network
    return title if len(same) == 1 else f"{title} (`{method.name}`)"


def data_text(method: Method) -> str:
    """E.g. "BUSI with normal images", "BUSI, tested on DDTI"."""
    normal = method.experiment.data.include_normal and method.first.summary.normal_images.images
    text = title_of(method.file.dataset) + (" with normal images" if normal else "")
    return text if method.own_data else f"{text}, tested on {title_of(method.tested_on)}"


def folds_text(method: Method) -> str:
    """`5 grouped folds`, `1 of 5 grouped folds`, `the authors' own split`.

    On another data set, these are the folds whose networks were tested there.
    """
    file = method.file
    done = len(method.folds_done if method.own_data else dice_of(method).per_fold)
    if method.protocol not in FOLD_WORDS:
        return PROTOCOLS[method.protocol]
    count = str(done) if done == file.folds else f"{done} of {file.folds}"
    return f"{count} {FOLD_WORDS[method.protocol]} fold{'s' * (file.folds > 1)}"


def without_scores(overview: Overview) -> str:
    """The recipes of the table whose scores.csv is missing."""
    return ", ".join(dict.fromkeys(f"`{method.name}`" for method in overview.shown if not has_scores(method)))
