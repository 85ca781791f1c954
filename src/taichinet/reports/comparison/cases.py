"""Per-image scores for the page's scatter: every study with at least two methods, and the pair it opens with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from taichinet.errors import SettingError, unknown_name
from taichinet.experiments.recipes.catalogue import SCALES
from taichinet.reports.comparison.runs import Method, Selection
from taichinet.reports.document.format import PROTOCOLS, title_of

Pair = tuple[str, str]


@dataclass(frozen=True)
class CaseStudy:
    """Dice of every image under every method that shares data and folds.

    `dice[method][i]` is of image `keys[i]`, None where the method was not tested on it. `first` and `second` are the
    methods that the page opens with; `pictures` are PNGs by key, of these two; `note` says why there are none.
    """

    title: str
    keys: tuple[str, ...]
    dice: Mapping[str, tuple[float | None, ...]]
    first: Method
    second: Method
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    note: str = ""

    def worst(self, count: int) -> tuple[str, ...]:
        """Keys of the `count` images with the lowest Dice of `first` among those that both were tested on."""
        both = zip(self.dice[label_of(self.first)], self.dice[label_of(self.second)], self.keys, strict=True)
        known = sorted((one, key) for one, other, key in both if one is not None and other is not None)
        return tuple(key for _, key in known[:count])


def label_of(method: Method) -> str:
    """How the page calls a method: its recipe, and of one with settings of its own the name that it was given."""
    return method.name


def case_studies(methods: Sequence[Method], pair: Pair | None = None) -> list[CaseStudy]:
    """A study for every kind of data and folds under which two methods or more were tested.

    `pair` names the recipes to open with, where a study has both. SettingError for a pair that no study has.
    """
    together: dict[tuple[object, ...], dict[str, Method]] = {}
    for method in methods:
        together.setdefault(method.study, {}).setdefault(label_of(method), method)
    studies = [_study(named, pair) for named in together.values() if len(named) > 1]
    if pair is not None and not any({*pair} <= {*study.dice} for study in studies):
        known = tuple(dict.fromkeys(name for study in studies for name in study.dice))
        for name in pair:
            if name not in known:
                raise unknown_name("recipe among the runs", name, known)
        raise SettingError(f"'{pair[0]}' and '{pair[1]}' were not run on the same data and folds.")
    return studies


def _study(named: Mapping[str, Method], pair: Pair | None) -> CaseStudy:
    any_method = next(iter(named.values()))
    normal = any_method.experiment.data.include_normal
    selection = Selection("all", "paper") if normal else Selection()
    series = {name: dict(_dice(method, selection)) for name, method in named.items()}
    keys = tuple(sorted({key for scores in series.values() for key in scores}))
    first, second = pair if pair is not None and {*pair} <= {*named} else _usual_pair(named)
    return CaseStudy(
        title=_title(any_method),
        keys=keys,
        dice={name: tuple(scores.get(key) for key in keys) for name, scores in series.items()},
        first=named[first],
        second=named[second],
    )


def _dice(method: Method, selection: Selection) -> list[tuple[str, float]]:
    return [(str(key), float(dice)) for key, dice in method.per_image(selection).items()]


def _usual_pair(named: Mapping[str, Method]) -> Pair:
    """TaiChiNet and the plain U-Net of one scale where they are, the largest scale first; else the first two."""
    for scale in SCALES:
        pair = (f"{scale}-taichinet", f"{scale}-unet")
        if {*pair} <= {*named}:
            return pair
    first, second = list(named)[:2]
    return first, second


def _title(method: Method) -> str:
    file = method.first.file
    normal = " with normal images" if method.experiment.data.include_normal else ""
    on = "" if method.first.tested_on == file.dataset else f", tested on {title_of(method.first.tested_on)}"
    return f"{title_of(file.dataset)}{normal}{on}, {PROTOCOLS[file.protocol]}"
