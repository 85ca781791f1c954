"""How all reports print numbers, and their names for scores, data sets and protocols."""

from __future__ import annotations

from math import isfinite

from taichinet.datasets.catalogue import CATALOGUE
from taichinet.evaluation.uncertainty import Interval
from taichinet.experiments.paper import Column
from taichinet.experiments.records import ScoreRecord

SHORT = {
    "dice": "DI",
    "jaccard": "JA",
    "accuracy": "ACC",
    "precision": "PR",
    "sensitivity": "SE",
    "hd95": "HD95 (px)",
    "assd": "ASSD (px)",
}
LONG = {
    "dice": "Dice",
    "jaccard": "Jaccard",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "sensitivity": "Sensitivity",
    "hd95": "HD95 (px)",
    "assd": "ASSD (px)",
}
EMPTY = "–"
PROTOCOLS = {"grouped": "grouped folds", "paper": "the paper's random folds", "official": "the authors' own split"}


def digits_of(score: str) -> int:
    """Decimals of a printed score: three, for distances in pixels one."""
    return 1 if score in ("hd95", "assd") else 3


def heading_of(column: Column) -> str:
    """`DI`, or `DI of cup`."""
    return SHORT[column.score] + (f" of {column.region}" if column.region else "")


def title_of(dataset: str) -> str:
    """The data set's own name where the catalogue knows it."""
    return CATALOGUE[dataset].title if dataset in CATALOGUE else dataset


def number(value: float | None, digits: int) -> str:
    """`value` with `digits` decimals, or a dash where there is none."""
    return EMPTY if value is None or not isfinite(value) else f"{value:.{digits}f}"


def counted(value: int) -> str:
    """A whole number with narrow spaces between the thousands."""
    return f"{value:,}".replace(",", "\u202f")


def scored(score: ScoreRecord, digits: int = 3) -> str:
    """Mean ± deviation; nothing where there is no mean."""
    if score.mean is None:
        return ""
    return f"{score.mean:.{digits}f}" + ("" if score.std is None else f" ± {score.std:.{digits}f}")


def signed(value: float | None, digits: int = 3) -> str:
    """With its sign, a true minus; nothing where there is no value."""
    if value is None or not isfinite(value):
        return ""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else f"{0:.{digits}f}"


def interval(found: Interval, digits: int = 3) -> str:
    """`−0.057 [−0.092, −0.026]`; without brackets where there are no bounds."""
    if not found.bounded:
        return signed(found.mean, digits)
    return f"{signed(found.mean, digits)} [{signed(found.low, digits)}, {signed(found.high, digits)}]"


def probability(p: float) -> str:
    """A p-value with three decimals, `< 0.001` below; nothing where none was computed."""
    if not isfinite(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def percent(share: float | None, digits: int = 1) -> str:
    """`45.1 %`; nothing where there is none."""
    return "" if share is None else f"{100 * share:.{digits}f} %"


def duration(seconds: float | None, empty: str = "") -> str:
    """`48 s`, `27 min`, `2 h 05 min`, `5.1 days`; `empty` where it is not known."""
    if seconds is None or not isfinite(seconds):
        return empty
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} days"
