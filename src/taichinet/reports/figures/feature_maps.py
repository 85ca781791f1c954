"""Figs. 4 and 9: feature maps of both paths, and feature maps and outputs without and with cross-attention."""

from __future__ import annotations

import torch
from torch import Tensor

from taichinet.models.taichinet.feature_maps import FeatureMaps
from taichinet.reports.figures.sheet import Panel, Row, Sheet
from taichinet.reports.figures.source import Request, Source, choose_cases, provenance, record_of

CHANNELS = 4  # as in the paper: (a) to (d) of the positive path, (e) to (h) of the negative path
MAX_CORRELATION = 0.9  # channels with a higher correlation show the same structure
# The rows of Table I that differ only in the cross-attention.
WITHOUT, WITH = "model-5", "model-7"
ROWS = 3  # of figure 9


def feature_maps_figure(sources: tuple[Source, ...], request: Request) -> Sheet:
    """Fig. 4: one row per path: the image, the mean of the last decoder level, four of its channels, the output."""
    source = sources[0]
    run = source.select_runs(["taichinet"])["taichinet"]
    keys, rule = choose_cases(source, run, request, 1)
    rows = []
    for key in keys:
        case = source.case(key)
        letters = iter("abcdefgh")
        for name, symbol, maps, output in _paths(source.feature_maps(run, key)):
            record = {**record_of(run, key), "path": name}
            channels = [
                case.feature_map_panel(maps[c], {**record, "map": f"channel {c}"}, f"({next(letters)}) no. {c}")
                for c in distinct_channels(maps, CHANNELS)
            ]
            panels = (
                case.panel(),
                case.feature_map_panel(maps.mean(0), {**record, "map": "mean over channels"}),
                *channels,
                Panel(output.numpy(), case.truth, note=symbol, record={**record, "map": "output"}),
            )
            rows.append(Row(f"{name} path", panels))
    return Sheet(
        number=4,
        caption=(
            f"Feature maps of the last decoder level of the positive and the negative path of {run.recipe} for "
            f"{', '.join(keys)} of {source.name}. Each map is normalised from its minimum to its maximum. The outputs "
            "are O_p and O_n, black for 0 and white for 1. Red: ground truth."
        ),
        columns=("Image", "Mean of channels", *(["Channel"] * CHANNELS), "Output"),
        rows=tuple(rows),
        rule=(
            f"{rule} Channels: those with the highest standard deviation over the image, excluding channels that "
            f"correlate above {MAX_CORRELATION} with a selected one; the ground truth is not used."
        ),
        provenance=provenance(sources[:1], [run]),
    )


def attention_figure(sources: tuple[Source, ...], request: Request) -> Sheet:
    """Fig. 9: deep and decoded features of the positive path and the output, without and with cross-attention."""
    source = sources[0]
    runs = source.select_runs((WITHOUT, WITH))
    keys, rule = choose_cases(source, runs[WITH], request, ROWS)
    rows = []
    for key in keys:
        case = source.case(key)
        panels = [case.panel()]
        for run in (runs[WITHOUT], runs[WITH]):
            path = source.feature_maps(run, key).positive
            deep = path.deep if path.attended is None else path.attended
            (prediction,) = source.predict(run, [case])
            record = record_of(run, key)
            panels += [
                case.feature_map_panel(deep[0].mean(0), {**record, "map": "deep, mean over channels"}),
                case.feature_map_panel(path.decoded[0].mean(0), {**record, "map": "decoded, mean over channels"}),
                prediction.probability_panel(),
            ]
        rows.append(Row(key, tuple(panels)))
    scale, fold = runs[WITH].scale, runs[WITH].fold
    titles = (
        "Deep $F_p$\nwithout",
        "Decoded\nwithout",
        "Output\nwithout",
        "Deep $F_p'$\nwith",
        "Decoded\nwith",
        "Output\nwith",
    )
    return Sheet(
        number=9,
        caption=(
            f"Without and with cross-attention at the scale '{scale}', on held-out images of {source.name}, fold "
            f"{fold}: (a) image; (b)-(d) Model 5, without; (e)-(g) Model 7, which differs only in the cross-attention. "
            "(b) F_p and (e) F_p' are the deep features of the positive path, (c) and (f) those of its last decoder "
            "level, means over channels, each normalised from its minimum to its maximum; (d) and (g) the output, "
            "black for 0 and white for 1. Red: ground truth; dashed: the output thresholded at 0.5."
        ),
        columns=tuple(f"({letter}) {title}" for letter, title in zip("abcdefg", ("Image", *titles), strict=True)),
        rows=tuple(rows),
        rule=rule,
        provenance=provenance(sources[:1], list(runs.values())),
    )


def distinct_channels(maps: Tensor, count: int) -> tuple[int, ...]:
    """Return `count` channels of `maps` (C, h, w) with a high standard deviation that do not correlate with each other.

    If too few are distinct, those with the highest standard deviation are added.
    """
    flat = maps.flatten(1).double()
    order = torch.argsort(flat.std(1), descending=True, stable=True).tolist()
    centred = flat - flat.mean(1, keepdim=True)
    unit = centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-12)
    selected: list[int] = []
    for channel in order:
        is_distinct = all(abs(float(unit[channel] @ unit[other])) <= MAX_CORRELATION for other in selected)
        if len(selected) < count and is_distinct:
            selected.append(channel)
    selected += [channel for channel in order if channel not in selected][: count - len(selected)]
    return tuple(selected)


def _paths(maps: FeatureMaps) -> list[tuple[str, str, Tensor, Tensor]]:
    """Return (name, symbol of the output, last decoder maps, probability) of each path."""
    outputs = (
        ("positive", "$O_p$", maps.positive, maps.prediction.positive),
        ("negative", "$O_n$", maps.negative, maps.prediction.negative),
    )
    return [
        (name, symbol, path.decoded[0], torch.sigmoid(logits[0, 0].float()).cpu())
        for name, symbol, path, logits in outputs
        if path is not None and logits is not None
    ]
