"""How all reports print numbers, and their names for scores, data sets and protocols."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from taichinet.datasets.catalogue import CATALOGUE
from taichinet.evaluation.aggregate import FoldScore
from taichinet.evaluation.rates import Rate
from taichinet.evaluation.uncertainty import Interval
from taichinet.experiments.paper import Column

LONG = {
    "dice": "Dice",
    "jaccard": "Jaccard",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "sensitivity": "Sensitivity",
    "hd95": "HD95 (px)",
    "assd": "ASSD (px)",
}
SHORT = LONG | {"dice": "DI", "jaccard": "JA", "accuracy": "ACC", "precision": "PR", "sensitivity": "SE"}
EMPTY = "–"
PROTOCOLS = {
    "grouped": "grouped folds",
    "paper": "the paper's random folds",
    "official": "the authors' own split",
    "leave-one-dataset-out": "each data set tested with a network trained on the others",
}


def digits_of(score: str) -> int:
    """Number of decimals of a printed score: one for distances in pixels, three for all others."""
    return 1 if score in ("hd95", "assd") else 3


def heading_of(column: Column) -> str:
    """`DI`, or `DI of cup`."""
    return SHORT[column.score] + (f" of {column.region}" if column.region else "")


def title_of(dataset: str) -> str:
    """The title of a data set in the catalogue, `BUSI + BUS-UCLM` for a joined one; any other name unchanged."""
    parts = [dataset] if dataset in CATALOGUE else dataset.split("+")
    return " + ".join(CATALOGUE[part].title if part in CATALOGUE else part for part in parts)


def number(value: float | None, digits: int, empty: str = EMPTY) -> str:
    """`value` with `digits` decimals; `empty` for None and NaN."""
    return empty if value is None or not isfinite(value) else f"{value:.{digits}f}"


def scored(score: FoldScore, digits: int = 3) -> str:
    """Mean ± standard deviation; empty without a mean."""
    if score.mean is None:
        return ""
    return f"{score.mean:.{digits}f}" + ("" if score.std is None else f" ± {score.std:.{digits}f}")


def signed(value: float | None, digits: int = 3) -> str:
    """`value` with its sign and a true minus; empty for None and NaN."""
    if value is None or not isfinite(value):
        return ""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else f"{0:.{digits}f}"


def interval(difference: Interval, digits: int = 3) -> str:
    """`−0.057 [−0.092, −0.026]`; the mean alone if there are no bounds."""
    if not difference.bounded:
        return signed(difference.mean, digits)
    return f"{signed(difference.mean, digits)} [{signed(difference.low, digits)}, {signed(difference.high, digits)}]"


def probability(p: float) -> str:
    """A p-value with three decimals, `< 0.001` if smaller; empty for NaN."""
    return "< 0.001" if p < 0.001 else number(p, 3, "")


def percent(share: float | None, digits: int = 1) -> str:
    """`45.1 %`; empty for None."""
    return "" if share is None else f"{100 * share:.{digits}f} %"


def rate(value: Rate) -> str:
    """`90.0 % [87.5, 92.1]`; empty without cases."""
    if value.low is None or value.high is None:
        return ""
    return f"{percent(value.share)} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def duration(seconds: float | None, empty: str = "") -> str:
    """`48 s`, `27 min`, `2 h 05 min`, `5.1 days`; `empty` for None and NaN."""
    if seconds is None or not isfinite(seconds):
        return empty
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} days"


def recipes_by_text(lines: Iterable[tuple[str, ...]]) -> dict[str, str]:
    """For each text the recipes that it applies to, as "`a`, `b`"; each line is (text, recipe, optional suffix)."""
    recipes: dict[str, dict[str, None]] = {}
    for text, recipe, *suffix in lines:
        recipes.setdefault(text, {})[f"`{recipe}`{''.join(suffix)}"] = None
    return {text: ", ".join(names) for text, names in recipes.items()}
