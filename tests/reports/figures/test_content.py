"""Content of the figures: images, predictions and scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fakes.random_runs import halves, make_fake_run, source_of

from taichinet.datasets.manifest import Manifest
from taichinet.errors import SettingError
from taichinet.reports.figures.catalogue import FIGURES
from taichinet.reports.figures.feature_maps import distinct_channels
from taichinet.reports.figures.methods import MODELS, PAPER_METHODS
from taichinet.reports.figures.sheet import Sheet
from taichinet.reports.figures.source import Request, Source, at_quantiles, by_dice


def test_printed_dice_equals_scores_table_at_original_size(sheets: dict[int, Sheet], source: Source) -> None:
    for run in source.runs:
        panels = [
            panel
            for row in sheets[8].record()["rows"]
            for panel in row["panels"]
            if panel.get("recipe") == run.recipe and "dice_native" in panel
        ]
        for panel in panels:
            assert panel["dice_native"] == pytest.approx(run.scores["dice_native"][panel["case"]], abs=1e-3)


def test_cases_are_quartiles_of_reference_dice() -> None:
    scores = pd.DataFrame(
        {
            "key": [f"image {i}" for i in (4, 2, 0, 3, 1, 9)],
            "dice": [0.4, 0.2, 0.0, 0.3, 0.1, np.nan],
            "true_pixels": [5, 5, 5, 5, 5, 0],
            "sensitivity_native": [1, 1, 1, 1, 1, np.nan],
        }
    )
    assert at_quantiles(by_dice(scores), 1) == (("image 2",), "0.5")
    assert at_quantiles(by_dice(scores), 3) == (("image 1", "image 2", "image 3"), "0.25, 0.5, 0.75")
    assert at_quantiles(["only"], 3)[0] == ("only",)
    assert at_quantiles([], 3)[0] == ()


def test_drawn_failures_are_the_artificial_ones(sheets: dict[int, Sheet], manifest: Manifest) -> None:
    _, held_out = halves(manifest)
    assert [(row.label, row.panels[0].record["case"]) for row in sheets[12].rows] == [
        ("taken for background", held_out[3]),
        ("inverted", held_out[5]),
    ]
    assert sheets[12].provenance["found"] == {"taken for background": 1, "inverted": 1}


def test_easy_and_hard_parts_are_the_mined_regions(sheets: dict[int, Sheet], manifest: Manifest) -> None:
    train, _ = halves(manifest)
    for row in sheets[7].rows:
        assert row.label in train
        easy, hard = (panel.region for panel in row.panels[1:])
        assert easy is not None
        assert hard is not None
        assert not (easy & hard).any()
        shares = [panel.record["share_of_lesion"] for panel in row.panels[1:]]
        assert sum(shares) == pytest.approx(1, abs=1e-3)  # the fake mining splits whole lesions
        columns = np.arange(128) * 32 // 128 % 10 <= train.index(row.label)
        assert not easy[:, ~columns].any()
        assert not hard[:, columns].any()


def test_feature_maps_are_of_the_scored_network(sheets: dict[int, Sheet], source: Source) -> None:
    positive, negative = sheets[4].rows
    run = next(run for run in source.runs if run.recipe == "demo-taichinet")
    maps = source.feature_maps(run, positive.panels[0].record["case"])
    assert maps.negative is not None
    for row, path in ((positive, maps.positive), (negative, maps.negative)):
        channels = [int(panel.record["map"].removeprefix("channel ")) for panel in row.panels[2:6]]
        assert len(set(channels)) == 4
        for panel, channel in zip(row.panels[2:6], channels, strict=True):
            values = path.decoded[0, channel].double().numpy()
            np.testing.assert_allclose(panel.values, (values - values.min()) / max(np.ptp(values), 1e-30), atol=1e-6)


def test_proportional_channels_are_selected_once() -> None:
    rng = torch.Generator().manual_seed(0)
    maps = torch.rand(6, 8, 8, generator=rng)
    maps[0] = 9 * maps[5]  # the strongest channel, proportional to the last
    maps[1] *= 5
    assert distinct_channels(maps, 2) == (0, 1)
    assert 5 not in distinct_channels(maps, 5)
    assert sorted(distinct_channels(maps, 6)) == [0, 1, 2, 3, 4, 5]


def test_given_cases_are_drawn_in_order(source: Source, manifest: Manifest) -> None:
    _, held_out = halves(manifest)
    sheet = FIGURES[8]((source,), Request(cases=(held_out[2], held_out[0])))
    assert [row.label for row in sheet.rows] == [held_out[2], held_out[0]]


def test_methods_can_be_chosen(source: Source) -> None:
    sheet = FIGURES[11]((source,), Request(methods=("unet", "taichinet"), count=2))
    assert sheet.columns == ("Image", "U-Net", "TaiChiNet")
    assert len(sheet.rows) == 2
    with pytest.raises(SettingError, match="Did you mean 'unet'"):
        FIGURES[11]((source,), Request(methods=("unett",)))
    with pytest.raises(SettingError, match="legibly"):
        FIGURES[11]((source,), Request(methods=PAPER_METHODS + MODELS[1:4]))


def test_largest_scale_is_selected(manifest: Manifest, tmp_path: Path) -> None:
    _, held_out = halves(manifest)
    for recipe in ("demo-taichinet", "cpu-taichinet"):
        make_fake_run(tmp_path, manifest, recipe, held_out)
    (chosen,) = source_of(tmp_path).select_runs(["taichinet"]).values()
    assert chosen.recipe == "cpu-taichinet"
