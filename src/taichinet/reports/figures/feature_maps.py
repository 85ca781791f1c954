"""Fig. 4: what the channels of the two paths respond to."""

from __future__ import annotations

import torch
from torch import Tensor

from taichinet.models.taichinet.feature_maps import FeatureMaps
from taichinet.reports.figures.cases import Request, choose_cases
from taichinet.reports.figures.panels import image_panel, response_panel
from taichinet.reports.figures.runs import take_together
from taichinet.reports.figures.sheet import Panel, Row, Sheet
from taichinet.reports.figures.source import Source, made_of, record_of

CHANNELS = 4  # as printed: (a) to (d) of the positive path, (e) to (h) of the negative one
ALIKE = 0.9  # two channels whose maps correlate more strongly than this show the same


def feature_maps_figure(sources: tuple[Source, ...], request: Request) -> Sheet:
    """One image, the mean over the last decoder level's channels and four of them, a row a path."""
    source = sources[0]
    run = take_together(source.runs, ["taichinet"], source.spec, source.out)["taichinet"]
    keys, rule = choose_cases(source, run, request, 1)
    rows = []
    for key in keys:
        case, maps = source.case(key), source.feature_maps(run, key)
        letters = iter("abcdefgh")
        for label, symbol, path, output in _paths(maps):
            channels = distinct_channels(path, CHANNELS)
            record = {**record_of(run, key), "path": label}
            panels: list[Panel] = [
                image_panel(case),
                response_panel(case, path.mean(0), {**record, "map": "mean over channels"}),
                *(
                    response_panel(case, path[c], {**record, "map": f"channel {c}"}, f"({next(letters)}) no. {c}")
                    for c in channels
                ),
                Panel(output.numpy(), truth=case.truth, note=symbol, record={**record, "map": "output"}),
            ]
            rows.append(Row(f"{label} path", case.shape, tuple(panels)))
    return Sheet(
        number=4,
        caption=(
            f"Feature maps of the last decoder level of the positive and the negative path of {run.recipe} for "
            f"{', '.join(keys)} of {source.name}. Each map is stretched from its weakest to its strongest response; "
            "the outputs are O_p and O_n, black 0 to white 1. Red: ground truth."
        ),
        columns=("Image", "Mean of channels", *(["Channel"] * CHANNELS), "Output"),
        rows=tuple(rows),
        rule=(
            f"{rule} Channels: in the order of the standard deviation over the image, leaving out those that correlate "
            f"above {ALIKE} with one taken before; the ground truth has no part in it."
        ),
        made=made_of(sources[:1], [run]),
    )


def distinct_channels(maps: Tensor, count: int) -> tuple[int, ...]:
    """Indices of `count` maps of (C, h, w): those that vary most, without those like one taken before.

    Where too few differ, the most varying of those left out fill up.
    """
    flat = maps.flatten(1).double()
    order = torch.argsort(flat.std(1), descending=True, stable=True).tolist()
    centred = flat - flat.mean(1, keepdim=True)
    unit = centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-12)
    taken: list[int] = []
    for channel in order:
        if len(taken) < count and all(abs(float(unit[channel] @ unit[other])) <= ALIKE for other in taken):
            taken.append(channel)
    taken += [channel for channel in order if channel not in taken][: count - len(taken)]
    return tuple(taken)


def _paths(maps: FeatureMaps) -> list[tuple[str, str, Tensor, Tensor]]:
    """(name, symbol of the output, last decoder maps, probability) of each path."""
    prediction = maps.prediction
    outputs = (
        ("positive", "$O_p$", maps.positive, prediction.positive),
        ("negative", "$O_n$", maps.negative, prediction.negative),
    )
    return [
        (name, symbol, path.decoded[0], torch.sigmoid(logits[0, 0].float()))
        for name, symbol, path, logits in outputs
        if path is not None and logits is not None
    ]
