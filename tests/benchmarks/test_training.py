"""Records, statistics and pages of the training benchmarks, without measuring times."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import fast_variants  # noqa: E402
import fast_variants_page  # noqa: E402
import measuring  # noqa: E402
import parity  # noqa: E402
import profile_page  # noqa: E402
import profile_training  # noqa: E402

from taichinet.evaluation.uncertainty import Interval  # noqa: E402
from taichinet.experiments import run as run_module  # noqa: E402
from taichinet.experiments.recipes.catalogue import get_recipe  # noqa: E402
from taichinet.training import fit as fit_module  # noqa: E402


def test_record_is_replaced_only_by_the_same_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "record.json"

    def measure(processor: str, speed: int) -> None:
        monkeypatch.setattr(
            measuring, "describe_machine", lambda: {"processor": processor, "accelerator": None, "threads": 2}
        )
        measuring.record(path, {"speed": speed})

    measure("with bf16", 3)
    measure("with bf16", 4)
    assert json.loads(capsys.readouterr().out.split("\n}\n")[1] + "}") == measuring.read_record(path)
    with pytest.raises(SystemExit, match=r"is the record of .*with bf16.* this machine is .*without.* another file"):
        measure("without", 1)
    assert measuring.read_record(path)["speed"] == 4


def test_calls_are_timed_in_turn_without_the_first_round() -> None:
    calls: list[str] = []
    seconds = measuring.seconds_in_turn({name: partial(calls.append, name) for name in "AB"}, rounds=2)
    assert calls == ["A", "B"] * 3
    assert {name: len(values) for name, values in seconds.items()} == {"A": 2, "B": 2}


def test_training_costs_three_times_the_forward_pass() -> None:
    from taichinet.models.complexity import measure_complexity

    forward = measure_complexity("unet", 32, width=8).gflops
    first_layer = 2 * 9 * 8 * 32 * 32 / 1e9  # its input needs no gradient
    assert measuring.training_gflops("unet", 32, width=8) == pytest.approx(3 * forward - first_layer, rel=1e-6)


def test_only_number_formats_of_the_hardware_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from taichinet.training import device as device_module

    for native, names in ((False, ["float32"]), (True, ["float32", "bf16"])):
        monkeypatch.setattr(device_module, "_native_bf16", lambda device, n=native: n)
        placements = measuring.placements(torch.device("cpu"))
        assert list(placements) == [f"{name} {layout}" for name in names for layout in ("NCHW", "channels-last")]
        assert {name.startswith("bf16") == device_config.bf16 for name, device_config in placements.items()} == {True}
        assert device_module.choose_device_config() in placements.values()


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten::convolution_backward", "convolutions, backward"),
        ("aten::mkldnn_convolution", "convolutions, forward"),
        ("aten::native_batch_norm_backward", "BatchNorm"),
        ("aten::threshold_backward", "activations"),
        ("aten::upsample_nearest2d_backward", "concatenation, pooling, upsampling"),
        ("aten::bmm", "attention"),
        ("aten::addcdiv_", "optimiser"),
        ("aten::copy_", "copies and conversions"),
        ("aten::add", profile_training.REST),
    ],
)
def test_operators_are_sorted_by_kind(operator: str, kind: str) -> None:
    assert profile_training.kind_of(operator) == kind


def test_stopwatch_measures_each_stage_and_restores_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(profile_training, "clock", lambda: now[0])

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    runs: Any = run_module  # Any: the fakes take other arguments
    fits: Any = fit_module

    def fake_fit() -> None:
        pass_time(1)
        fits.train_epoch()
        pass_time(2)

    before = fits.train_epoch
    monkeypatch.setattr(runs, "fit", fake_fit)
    monkeypatch.setattr(fits, "train_epoch", lambda: pass_time(10))
    fake = fits.train_epoch
    with profile_training.stopwatch() as (seconds, calls):
        runs.fit()
        runs.fit()
    assert seconds == {("training",): 6, ("training", "steps"): 20}
    assert calls == {("training",): 2, ("training", "steps"): 2}
    assert fits.train_epoch is fake
    monkeypatch.undo()
    assert fits.train_epoch is before


def test_times_are_scaled_to_epochs_of_recipe_and_images_of_busi() -> None:
    recipe, images = get_recipe("cpu-taichinet"), {"train": 647, "validation": 0, "test": 647}
    expected = {
        "mining: steps": 4 / 2,
        "training: steps": 12 / 2,
        "training: checkpoint": 12,
        "scoring: network": 1 / 2,
    }
    expected |= {"mining: asking the trained U-Net++": 1 / 2, "weights": 1, "mining": 1, "decoding and resizing": 1 / 2}
    for name, seconds in expected.items():
        assert profile_page.carried({"path": name.split(": "), "seconds": 1}, recipe, images) == seconds


def test_pareto_front() -> None:
    def row(name: str, milliseconds: float, dice: float | None) -> dict[str, Any]:
        scores = {} if dice is None else {"dice": Interval(dice, 0, 1, 10, 10)}
        return {"name": name, "busi": {"milliseconds": milliseconds}, **scores}

    rows = [row("slow", 9, 0.8), row("fast", 2, 0.7), row("beaten", 5, 0.6), row("equal", 9, 0.7), row("new", 1, None)]
    assert fast_variants_page.pareto_front(rows, "busi") == {"slow", "fast"}


def test_difference_is_computed_on_the_shared_fold_and_on_all_folds(tmp_path: Path) -> None:
    folds = tmp_path / "folds"
    folds.mkdir()
    plan = json.loads((ROOT / "results" / "folds" / fast_variants.FOLDS).read_text())
    (folds / fast_variants.FOLDS).write_text(json.dumps(plan))
    keys = list(plan["fold_of"])[:4]

    def write(name: str, dice: list[float], folds_of: list[int]) -> None:
        path = tmp_path / "busi" / f"short-{name}" / "grouped"
        path.mkdir(parents=True)
        rows = [f"{key},{fold},{value}" for key, fold, value in zip(keys, folds_of, dice, strict=False)]
        (path / "scores.csv").write_text("\n".join(["key,fold,dice", *rows]) + "\n")
        (path / "summary.json").write_text('{"placement": "cpu bf16 channels-last"}')

    write("taichinet", [0.5, 0.7, 0.4, 0.6], [0, 0, 1, 1])
    write("unet", [0.6, 0.8, 0.2, 0.4], [0, 0, 1, 1])
    write("taichinet-one-path", [0.4, 0.6], [0, 0])
    several, single = fast_variants.dice_of("unet", tmp_path), fast_variants.dice_of("taichinet-one-path", tmp_path)
    assert several["difference"].mean == pytest.approx(0.1)
    assert several["over_folds"]["difference"].mean == pytest.approx(-0.05)
    assert several["over_folds"]["mean"] == pytest.approx(0.5)
    assert several["over_folds"]["deviation"] == pytest.approx(0.4 / 2**0.5)
    assert single["difference"].mean == pytest.approx(-0.1)
    assert "over_folds" not in single
    assert single["placement"] == "bf16"
    assert fast_variants.dice_of("taichinet-distilled", tmp_path) == {}
    write("taichinet-distilled", [0.4], [0])
    with pytest.raises(SystemExit, match="other test images"):
        fast_variants.dice_of("taichinet-distilled", tmp_path)


def rows_of(*networks: tuple[str, Interval, Interval | None]) -> list[dict[str, Any]]:
    """Rows of the page from tuples (name, difference on the shared fold, difference over five folds)."""
    rows: list[dict[str, Any]] = [{"name": "taichinet", "busi": {"milliseconds": 100.0}}]
    for name, difference, over in networks:
        row = {"name": name, "busi": {"milliseconds": 50.0}, "dice": difference, "difference": difference}
        rows.append(row if over is None else row | {"over_folds": {"folds": 5, "difference": over}})
    return rows


def test_difference_within_range_of_repeated_trainings_is_not_significant() -> None:
    small, large, none = (
        Interval(0.03, 0.01, 0.05, 100, 80),
        Interval(-0.3, -0.4, -0.2, 100, 80),
        Interval(0.0, -0.1, 0.1, 9, 8),
    )
    rows = rows_of(("one", small, None), ("two", large, None), ("three", large, none), ("four", none, small))
    text = "\n".join(fast_variants_page.findings(rows, [0.61, 0.644, 0.606]))
    assert "a range of 0.038" in text
    assert "`one`: 2.0 x as fast, not significantly different from TaiChiNet (on 1 fold)" in text
    assert "`two`: 2.0 x as fast, worse than TaiChiNet (on 1 fold)" in text
    assert "`three`: 2.0 x as fast, not significantly different from TaiChiNet (on 5 folds)" in text
    assert "`four`: 2.0 x as fast, better than TaiChiNet (on 5 folds)" in text


def test_parity_page_lists_rejected_exports_and_tuned_pytorch_once() -> None:
    row = {
        "images": 3, "agreement": 1.0, "least_agreement": 0.99, "flipped_pixels": 1, "pixels": 1000,
        "largest_difference": 0.1, "dice": 0.7, "dice_cost": 0.001,
    }  # fmt: skip
    done = {
        "form": "openvino",
        "precision": "float32",
        "bytes": 2_000_000,
        "rows": {"the file": row, "tuned PyTorch": row},
    }
    refused = {"form": "onnx", "precision": "int8", "refused": "it is refused: it costs 0.0100 Dice"}
    entry = {"machine": {"processor": "a processor"}, "commit": "abc", "exports": [refused, done, done]}
    text = "\n".join(parity.tables([entry]))
    assert text.count("| tuned PyTorch |  | 3 |") == 1
    assert text.count("| OpenVINO float32, the file | 2.0 MB | 3 |") == 2
    assert "- ONNX int8: it is refused: it costs 0.0100 Dice" in text
