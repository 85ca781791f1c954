"""The result figures of the paper by number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from taichinet.errors import TaiChiNetError, unknown_name
from taichinet.progress import tracked
from taichinet.reports.figures.easy_hard import easy_hard_figure
from taichinet.reports.figures.failures import failures_figure
from taichinet.reports.figures.feature_maps import attention_figure, feature_maps_figure
from taichinet.reports.figures.methods import ablation_figure, methods_figure
from taichinet.reports.figures.sheet import DPI, Sheet, write_figure
from taichinet.reports.figures.source import Request, Source

FIGURES: dict[int, Callable[[tuple[Source, ...], Request], Sheet]] = {
    4: feature_maps_figure,
    7: easy_hard_figure,
    8: ablation_figure,
    9: attention_figure,
    11: methods_figure,
    12: failures_figure,
}


@dataclass(frozen=True)
class DrawnFigures:
    """The figures that were written, each with its files, and the error of each that was not."""

    sheets: tuple[tuple[Sheet, tuple[Path, Path, Path]], ...]
    failed: tuple[tuple[int, TaiChiNetError], ...]


def refuse_unknown_figures(numbers: Sequence[int]) -> None:
    """Raise SettingError for a number that is not a result figure of the paper."""
    for number in numbers:
        if number not in FIGURES:
            raise unknown_name("figure", str(number), tuple(map(str, FIGURES)))


def draw_figures(
    numbers: Sequence[int], sources: tuple[Source, ...], request: Request, folder: Path, dpi: int = DPI
) -> DrawnFigures:
    """Write figures to `folder`; figures whose runs or images are missing do not prevent the others.

    Only figure 11 shows more than the first of `sources`. Raises StorageError if a file cannot be written.
    """
    sheets, failed = [], []
    for number in tracked(numbers, "drawing figures"):
        try:
            sheet = FIGURES[number](sources, request)
        except TaiChiNetError as error:
            failed.append((number, error))
            continue
        sheets.append((sheet, write_figure(sheet, folder, dpi)))
    return DrawnFigures(tuple(sheets), tuple(failed))
