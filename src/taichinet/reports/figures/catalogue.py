"""The paper's figures by number: draw_figures makes those that were asked for, or says what they lack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from taichinet.errors import TaiChiNetError, unknown_name
from taichinet.reports.figures.ablation import ablation_figure
from taichinet.reports.figures.attention import attention_figure
from taichinet.reports.figures.cases import Request
from taichinet.reports.figures.easy_hard import easy_hard_figure
from taichinet.reports.figures.failures import failures_figure
from taichinet.reports.figures.feature_maps import feature_maps_figure
from taichinet.reports.figures.layout import DPI, write_figure
from taichinet.reports.figures.methods import methods_figure
from taichinet.reports.figures.sheet import Sheet
from taichinet.reports.figures.source import Source

FIGURES: dict[int, Callable[[tuple[Source, ...], Request], Sheet]] = {
    4: feature_maps_figure,
    7: easy_hard_figure,
    8: ablation_figure,
    9: attention_figure,
    11: methods_figure,
    12: failures_figure,
}


@dataclass(frozen=True)
class Drawn:
    """The figures that were written, each with its files, and why each of the others was not."""

    sheets: tuple[tuple[Sheet, tuple[Path, Path, Path]], ...]
    failed: tuple[tuple[int, TaiChiNetError], ...]


def refuse_unknown_figures(numbers: Sequence[int]) -> None:
    """SettingError for a number that is no figure of results in the paper."""
    for number in numbers:
        if number not in FIGURES:
            raise unknown_name("figure", str(number), tuple(map(str, FIGURES)))


def draw_figures(
    numbers: Sequence[int], sources: tuple[Source, ...], request: Request, folder: Path, dpi: int = DPI
) -> Drawn:
    """Write each of `numbers` into `folder`; one that lacks runs or cases keeps none of the others from being drawn."""
    sheets, failed = [], []
    for number in numbers:
        try:
            sheet = FIGURES[number](sources, request)
        except TaiChiNetError as error:
            failed.append((number, error))
            continue
        sheets.append((sheet, write_figure(sheet, folder, dpi)))
    return Drawn(tuple(sheets), tuple(failed))
