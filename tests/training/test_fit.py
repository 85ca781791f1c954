"""Training: deterministic, bit-identical after an interruption, and with the documented selection of the epoch."""

from __future__ import annotations

import errno
import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import (
    FLOAT32_CPU,
    discs,
    halves,
    same_weights,
    tiny_data,
    tiny_network,
    tiny_settings,
    train_tiny,
)
from pydantic import ValidationError
from torch import nn

from taichinet.batch import Batch, Prediction
from taichinet.datasets.augmentation import AugmentationSettings
from taichinet.errors import SettingError, TaiChiNetError, WeightsError
from taichinet.evaluation.metrics import image_dice
from taichinet.losses.objective import ObjectiveSettings, objective
from taichinet.training import checkpoint_writer
from taichinet.training import fit as fit_module
from taichinet.training.checkpoint import CURRENT, PREVIOUS, load_checkpoint
from taichinet.training.device import choose_device_config
from taichinet.training.fit import epoch_batches, validation_dice
from taichinet.training.loop import TrainingStep, predict_batches, train_epoch
from taichinet.training.optimizer import learning_rate
from taichinet.training.settings import TrainingSettings


class SimulatedCrashError(Exception):
    """Simulates the end of the process."""


def crash_after(epoch: int) -> Any:
    def on_epoch(row: dict[str, Any]) -> None:
        if row["epoch"] == epoch:
            raise SimulatedCrashError

    return on_epoch


def without_seconds(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


@pytest.fixture
def checkpoint_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_writer, "CHECKPOINT_SECONDS", 0.0)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Any]:
    return train_tiny(tmp_path_factory.mktemp("whole"), tiny_settings())


# --------------------------------------------------------------------------------------------- determinism


def test_identical_seed_gives_identical_weights(uninterrupted: tuple[nn.Module, Any], tmp_path: Path) -> None:
    network = tiny_network()
    torch.manual_seed(12345)
    again, result = train_tiny(tmp_path, tiny_settings(), network=network)
    assert same_weights(again, uninterrupted[0])
    assert without_seconds(result.history) == without_seconds(uninterrupted[1].history)


def test_different_seed_gives_different_weights(uninterrupted: tuple[nn.Module, Any], tmp_path: Path) -> None:
    other, _ = train_tiny(tmp_path, tiny_settings(seed=1))
    assert not same_weights(other, uninterrupted[0])


def test_training_reduces_the_loss(tmp_path: Path) -> None:
    _, result = train_tiny(
        tmp_path,
        tiny_settings(epochs=12, learning_rate=1e-2, strategy="plain"),
        network=tiny_network(width=4),
    )
    losses = [row["loss"] for row in result.history]
    assert losses[-1] < 0.8 * losses[0]
    assert result.best_dice == max(row["validation_dice"] for row in result.history)


def test_batches_depend_only_on_seed_and_epoch() -> None:
    settings = tiny_settings()
    first = [batch.image for batch in epoch_batches(tiny_data(), settings, 0)]
    torch.rand(100)
    again = [batch.image for batch in epoch_batches(tiny_data(), settings, 0)]
    later = [batch.image for batch in epoch_batches(tiny_data(), settings, 1)]
    other_seed = [batch.image for batch in epoch_batches(tiny_data(), tiny_settings(seed=1), 0)]
    assert all(torch.equal(expected, actual) for expected, actual in zip(first, again, strict=True))
    for different in (later, other_seed):
        assert not torch.equal(torch.cat(first), torch.cat(different))


def test_epoch_has_every_image_once_with_its_masks() -> None:
    train = discs(7)
    regions = halves(train)
    data = replace(tiny_data(), train=train, regions=regions, augmentation=AugmentationSettings(probability=0))
    batches = list(epoch_batches(data, tiny_settings(), 0))
    assert [len(batch.image) for batch in batches] == [3, 4]  # a single last image is added to the previous batch
    seen = []
    for batch in batches:
        assert batch.easy is not None
        assert batch.hard is not None
        for i in range(len(batch.image)):
            (row,) = [r for r in range(7) if torch.equal(train.image[r].float() / 255, batch.image[i])]
            assert torch.equal(batch.lesion[i], train.lesion[row].float())
            assert torch.equal(batch.easy[i], regions.easy[row].float())
            assert torch.equal(batch.hard[i], regions.hard[row].float())
            seen.append(row)
    assert sorted(seen) == list(range(7))
    assert seen != sorted(seen)


# ----------------------------------------------------------------------------------- interruption and resuming


@pytest.mark.parametrize("kill_at", ["after-epoch-2", "while-saving-3"])
def test_killed_training_resumes_to_bit_identical_weights(
    uninterrupted: tuple[nn.Module, Any], tmp_path: Path, kill_at: str
) -> None:
    script = Path(__file__).parent / "killed_run.py"
    command = [sys.executable, str(script), str(tmp_path), str(torch.get_num_threads()), kill_at]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert (tmp_path / CURRENT).exists()
    assert bool(list(tmp_path.glob(f".{CURRENT}.*.tmp"))) is (kill_at == "while-saving-3")

    epochs: list[int] = []
    # The initial network has no effect, because all weights are from the checkpoint.
    resumed, result = train_tiny(
        tmp_path,
        tiny_settings(),
        network=tiny_network(seed=99),
        resume=True,
        on_epoch=lambda row: epochs.append(row["epoch"]),
    )
    assert epochs in ([3, 4], [2, 3, 4])  # the checkpoint of epoch 2 may not be written when the process is killed
    assert same_weights(resumed, uninterrupted[0])
    assert without_seconds(result.history) == without_seconds(uninterrupted[1].history)
    assert (result.best_epoch, result.best_dice) == (uninterrupted[1].best_epoch, uninterrupted[1].best_dice)


def test_sigterm_writes_the_last_state(uninterrupted: tuple[nn.Module, Any], tmp_path: Path) -> None:
    def terminate(row: dict[str, Any]) -> None:
        if row["epoch"] == 3:
            handler = signal.getsignal(signal.SIGTERM)  # called here as the interpreter calls it for a signal
            assert callable(handler)
            handler(signal.SIGTERM, None)

    with pytest.raises(SystemExit) as caught:
        train_tiny(tmp_path, tiny_settings(), on_epoch=terminate)
    assert caught.value.code == 143
    epochs: list[int] = []
    resumed, _ = train_tiny(tmp_path, tiny_settings(), resume=True, on_epoch=lambda row: epochs.append(row["epoch"]))
    assert epochs == [4]
    assert same_weights(resumed, uninterrupted[0])


@pytest.mark.parametrize("settings", [{"schedule": "cosine"}, {"easy_share": 0.75}, {"selection": "last"}], ids=str)
def test_resumed_training_is_identical_with_schedule_curriculum_and_selection(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    uninterrupted_network, result = train_tiny(tmp_path / "whole", tiny_settings(**settings))
    folder = tmp_path / "cut"
    with pytest.raises(SimulatedCrashError):
        train_tiny(folder, tiny_settings(**settings), on_epoch=crash_after(2))
    resumed, again = train_tiny(folder, tiny_settings(**settings), resume=True)
    assert same_weights(resumed, uninterrupted_network)
    assert without_seconds(again.history) == without_seconds(result.history)


@pytest.mark.usefixtures("checkpoint_every_epoch")
def test_truncated_checkpoint_repeats_one_epoch_with_identical_weights(
    uninterrupted: tuple[nn.Module, Any], tmp_path: Path
) -> None:
    with pytest.raises(SimulatedCrashError):
        train_tiny(tmp_path, tiny_settings(), on_epoch=crash_after(3))
    newest = tmp_path / CURRENT
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    epochs: list[int] = []
    with pytest.warns(UserWarning, match=f"resuming from {PREVIOUS}, an earlier epoch"):
        resumed, result = train_tiny(
            tmp_path, tiny_settings(), resume=True, on_epoch=lambda row: epochs.append(row["epoch"])
        )
    assert epochs == [3, 4]
    assert same_weights(resumed, uninterrupted[0])
    assert without_seconds(result.history) == without_seconds(uninterrupted[1].history)


def test_finished_training_resumes_to_selected_weights_without_training(
    uninterrupted: tuple[nn.Module, Any], tmp_path: Path
) -> None:
    train_tiny(tmp_path, tiny_settings())
    rows: list[Any] = []
    resumed, _ = train_tiny(tmp_path, tiny_settings(), resume=True, on_epoch=rows.append)
    assert rows == []
    assert same_weights(resumed, uninterrupted[0])


def test_checkpoint_of_other_settings_is_rejected_and_unchanged(tmp_path: Path) -> None:
    with pytest.raises(SimulatedCrashError):
        train_tiny(tmp_path, tiny_settings(), on_epoch=crash_after(1))
    before = (tmp_path / CURRENT).read_bytes()
    with pytest.raises(WeightsError, match="other settings"):
        train_tiny(tmp_path, tiny_settings(), resume=True, identity="other settings")
    assert (tmp_path / CURRENT).read_bytes() == before


def test_training_restarts_without_resume(uninterrupted: tuple[nn.Module, Any], tmp_path: Path) -> None:
    with pytest.raises(SimulatedCrashError):
        train_tiny(tmp_path, tiny_settings(), on_epoch=crash_after(2))
    epochs: list[int] = []
    restarted, _ = train_tiny(tmp_path, tiny_settings(), on_epoch=lambda row: epochs.append(row["epoch"]))
    assert epochs == [1, 2, 3, 4]
    assert same_weights(restarted, uninterrupted[0])


@pytest.mark.usefixtures("checkpoint_every_epoch")
def test_full_disk_loses_no_finished_epoch(
    uninterrupted: tuple[nn.Module, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_save = torch.save

    def fail_in_third_epoch(content: dict[str, Any], file: Any) -> None:
        if content["epoch"] == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        full_save(content, file)

    monkeypatch.setattr(torch, "save", fail_in_third_epoch)
    with pytest.raises(WeightsError, match=r"epoch 3 .*No space left on device.*free disk space.*--resume"):
        train_tiny(tmp_path, tiny_settings())
    monkeypatch.undo()
    epochs: list[int] = []
    resumed, _ = train_tiny(tmp_path, tiny_settings(), resume=True, on_epoch=lambda row: epochs.append(row["epoch"]))
    assert epochs == [3, 4]
    assert same_weights(resumed, uninterrupted[0])


# -------------------------------------------------------------------------------------------- loss and loop


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_loss_raises_after_the_epoch(value: float) -> None:
    network = tiny_network().train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1.0)
    batches = tiny_data().train.batches(4)
    with pytest.raises(TaiChiNetError, match=rf"loss became {value}\. .*training\.learning_rate.*float32.*--overwrite"):
        train_epoch(TrainingStep(network, lambda p, b: p.positive.sum() * value, optimizer, FLOAT32_CPU), batches)


def test_train_epoch_equals_plain_pytorch_loop() -> None:
    data, settings = tiny_data(), tiny_settings()
    ours, theirs = tiny_network(), tiny_network().to(memory_format=torch.channels_last)
    ours = FLOAT32_CPU.place(ours)

    def loss_of(prediction: Prediction, batch: Batch) -> torch.Tensor:
        return objective(prediction, batch, "hard", ObjectiveSettings())

    optimizer = torch.optim.Adam(ours.parameters(), lr=1e-3)
    mean = train_epoch(TrainingStep(ours, loss_of, optimizer, FLOAT32_CPU), epoch_batches(data, settings, 0))

    optimizer = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    theirs.train()
    total = 0.0
    for batch in epoch_batches(data, settings, 0):
        optimizer.zero_grad()
        loss = loss_of(theirs(batch.image.to(memory_format=torch.channels_last)), batch)
        loss.backward()
        optimizer.step()
        total += float(loss.detach()) * len(batch.image)
    assert mean == pytest.approx(total / 7)
    assert same_weights(ours, theirs)


def test_prediction_preserves_network_and_order() -> None:
    network = tiny_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    data = discs(5)
    predictions = predict_batches(network, data.batches(2), FLOAT32_CPU)
    assert [len(prediction.positive) for prediction in predictions] == [2, 2, 1]
    together = network.eval()(data.batch(torch.arange(5)).image)
    torch.testing.assert_close(torch.cat([p.positive for p in predictions]), together.positive)
    torch.testing.assert_close(torch.cat([p.lesion for p in predictions]), together.lesion)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# ------------------------------------------------------------------------------ values that are not finite


def damage_after(epoch: int, name: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overwrite a tensor of the network in the last step of `epoch`, after its last finite loss."""
    batches_of_epoch = fit_module.epoch_batches
    networks: list[nn.Module] = []

    def remember(step: TrainingStep, *rest: Any) -> float:
        networks[:] = [step.network]
        return train_epoch(step, *rest)

    def batches(data: Any, settings: Any, number: int, *rest: Any) -> Any:
        yield from batches_of_epoch(data, settings, number, *rest)
        if number + 1 == epoch:
            networks[0].state_dict()[name].fill_(value)

    monkeypatch.setattr(fit_module, "train_epoch", remember)
    monkeypatch.setattr(fit_module, "epoch_batches", batches)


@pytest.mark.parametrize("value", [math.nan, math.inf], ids=str)
@pytest.mark.parametrize("name", ["positive.output.weight", "negative.encoder.0.1.running_var"])
@pytest.mark.parametrize("validation", [0, 3])
def test_non_finite_tensor_stops_training_and_previous_epoch_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: float, validation: int
) -> None:
    data = tiny_data()
    data = replace(data, validation=data.validation.subset(data.validation.keys[:validation]))
    whole, _ = train_tiny(tmp_path / "two", tiny_settings(epochs=2, strategy="plain"), data=data)
    damage_after(3, name, value, monkeypatch)
    folder = tmp_path / "damaged"
    with pytest.raises(
        SettingError,
        match=rf"Epoch 3: .*'{name}' has values that are not finite.*learning_rate.*after epoch 2.*{CURRENT}",
    ):
        train_tiny(folder, tiny_settings(strategy="plain"), data=data)
    monkeypatch.undo()
    state = load_checkpoint(folder, "tiny")
    assert state is not None
    assert state.epoch == 2
    assert all(torch.equal(value, state.best[name]) for name, value in whole.state_dict().items())


def test_non_finite_loss_reports_last_valid_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "objective", lambda prediction, *_: prediction.positive.sum() * math.nan)
    with pytest.raises(SettingError, match=r"Epoch 1: The loss became nan\..*No epoch had been completed before"):
        train_tiny(tmp_path, tiny_settings())
    assert list(tmp_path.iterdir()) == []


def test_non_finite_outputs_are_not_scored_as_empty_masks() -> None:
    """Finite weights with overflowing outputs give an empty mask for a normal image, which would have Dice 1."""
    data = tiny_data()
    normal = replace(data.validation, lesion=torch.zeros_like(data.validation.lesion))
    network = tiny_network()
    with torch.no_grad():
        network.get_parameter("positive.decoder.3.4.bias").fill_(10)
        network.get_parameter("positive.output.weight").fill_(3e38)
    with pytest.raises(SettingError, match=r"output \(lesion\) has values that are not finite"):
        validation_dice(network, normal, 3, FLOAT32_CPU)


@pytest.mark.parametrize("learning_rate", [1e30, 1e38])
def test_learning_rate_out_of_range_is_rejected(learning_rate: float) -> None:
    with pytest.raises(ValidationError, match="less than or equal to 10"):
        tiny_settings(learning_rate=learning_rate)


def test_largest_learning_rate_gives_finite_weights_or_an_error(tmp_path: Path) -> None:
    try:
        network, _ = train_tiny(tmp_path, tiny_settings(learning_rate=10.0))
    except SettingError as error:
        assert "finite" in str(error) or "loss became" in str(error)  # noqa: PT017 - both results are valid
    else:
        assert all(bool(torch.isfinite(value).all()) for value in network.state_dict().values())


def test_nan_probability_is_not_scored_as_empty_mask() -> None:
    probability = torch.zeros(3, 2, 4, 4)
    probability[1, 0, 2, 3] = math.nan
    assert image_dice(probability, torch.zeros_like(probability)).tolist() == [[1, 1], [0, 1], [1, 1]]


# -------------------------------------------------------------------------- schedule, curriculum, selection


def test_default_rate_is_constant_and_cosine_decreases_to_one_percent() -> None:
    constant = TrainingSettings()
    assert {learning_rate(constant, epoch) for epoch in range(40)} == {1e-4}
    cosine = TrainingSettings(epochs=11, schedule="cosine", learning_rate=2.0)
    rates = [learning_rate(cosine, epoch) for epoch in range(11)]
    assert rates[0] == pytest.approx(2)
    assert rates[5] == pytest.approx((2 + 0.02) / 2)
    assert rates[10] == pytest.approx(0.02)
    assert rates == sorted(rates, reverse=True)
    assert learning_rate(TrainingSettings(epochs=1, schedule="cosine"), 0) == pytest.approx(1e-4)


def test_optimiser_uses_learning_rate_of_each_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []

    def spy(step: TrainingStep, *rest: Any) -> float:
        rates.extend(group["lr"] for group in step.optimizer.param_groups)
        return train_epoch(step, *rest)

    monkeypatch.setattr(fit_module, "train_epoch", spy)
    settings = tiny_settings(schedule="cosine")
    train_tiny(tmp_path, settings)
    assert rates == [learning_rate(settings, epoch) for epoch in range(4)]


@pytest.mark.parametrize(
    ("share", "epochs", "easy"),
    [(0.25, 40, 10), (0.5, 40, 20), (0.0, 5, 0), (1.0, 5, 5), (0.3, 10, 3), (0.25, 4, 1), (0.25, 7, 2), (0.25, 15, 4)],
)
def test_easy_step_is_first_and_has_its_share_of_epochs(share: float, epochs: int, easy: int) -> None:
    settings = TrainingSettings(epochs=epochs, easy_share=share)
    assert [settings.step(epoch) for epoch in range(epochs)] == ["easy"] * easy + ["hard"] * (epochs - easy)
    plain = TrainingSettings(epochs=epochs, easy_share=share, strategy="plain")
    assert {plain.step(epoch) for epoch in range(epochs)} == {"plain"}


def test_loss_of_each_epoch_uses_its_curriculum_step(
    uninterrupted: tuple[nn.Module, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [row["step"] for row in uninterrupted[1].history] == ["easy", "hard", "hard", "hard"]
    steps: list[str] = []

    def spy(prediction: Any, batch: Any, step: Any, loss: Any) -> torch.Tensor:
        steps.append(step)
        return objective(prediction, batch, step, loss)

    monkeypatch.setattr(fit_module, "objective", spy)
    train_tiny(tmp_path, tiny_settings(easy_share=0.5))
    assert steps == ["easy"] * 4 + ["hard"] * 4  # two batches per epoch


def set_validation_scores(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Replace validation by the given scores, one per epoch."""
    remaining = iter(scores)
    monkeypatch.setattr(fit_module, "validation_dice", lambda *_: next(remaining))


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [([0.1, 0.7, 0.3, 0.6], 2), ([0.4, 0.4, 0.4, 0.4], 1), ([0.0, 0.0, 0.0, 0.1], 4)],
    ids=str,
)
def test_first_epoch_with_best_validation_dice_is_selected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float], chosen: int
) -> None:
    set_validation_scores(monkeypatch, scores)
    selected, result = train_tiny(tmp_path / "selected", tiny_settings(strategy="plain"))
    assert (result.best_epoch, result.best_dice) == (chosen, scores[chosen - 1])
    monkeypatch.undo()
    short, _ = train_tiny(tmp_path / "short", tiny_settings(strategy="plain", epochs=chosen, selection="last"))
    assert same_weights(selected, short)


def test_last_epoch_is_selected_with_selection_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_validation_scores(monkeypatch, [0.9, 0.8, 0.7, 0.6])
    _, result = train_tiny(tmp_path, tiny_settings(selection="last"))
    assert (result.best_epoch, result.best_dice) == (4, 0.6)


def test_last_epoch_is_selected_without_validation_images(tmp_path: Path) -> None:
    data = tiny_data()
    empty = replace(data, validation=data.validation.subset(()))
    trained, result = train_tiny(tmp_path, tiny_settings(), data=empty)
    assert math.isnan(result.best_dice)
    assert all(math.isnan(row["validation_dice"]) for row in result.history)
    assert result.best_epoch == 4
    last, _ = train_tiny(tmp_path / "last", tiny_settings(selection="last"))
    assert same_weights(trained, last)
    resumed, _ = train_tiny(tmp_path, tiny_settings(), data=empty, resume=True)
    assert same_weights(resumed, trained)


def test_validation_dice_is_mean_over_images() -> None:
    class LeftHalf(nn.Module):
        """Predicts the left half of every image as lesion."""

        def forward(self, image: torch.Tensor) -> Prediction:
            columns = torch.arange(image.shape[-1]) < image.shape[-1] // 2
            return Prediction(torch.where(columns, 9.0, -9.0).expand_as(image))

    network, data = LeftHalf(), discs(5, seed=3)
    probability = network(data.batch(torch.arange(5)).image).lesion.numpy()
    scores = []
    for row in range(5):
        predicted = {(i, j) for i in range(32) for j in range(32) if probability[row, 0, i, j] > 0.5}
        true_pixels = {(i, j) for i in range(32) for j in range(32) if data.lesion[row, 0, i, j] == 1}
        scores.append(2 * len(predicted & true_pixels) / (len(predicted) + len(true_pixels)))
    assert len(set(scores)) > 2  # so that a mean over batches would be different
    for batch_size in (2, 5, 16):
        assert validation_dice(network, data, batch_size, FLOAT32_CPU) == pytest.approx(sum(scores) / 5)


def test_empty_prediction_of_normal_image_has_dice_one() -> None:
    nothing = torch.zeros(1, 1, 4, 4)
    something = torch.ones(1, 1, 4, 4)
    assert image_dice(nothing, nothing).tolist() == [[1.0]]
    assert image_dice(something, nothing).tolist() == [[0.0]]
    assert image_dice(nothing, something).tolist() == [[0.0]]
    assert image_dice(something, something).tolist() == [[1.0]]


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0}, {"easy_share": 1.1}, {"schedule": "step"}],
    ids=str,
)
def test_settings_outside_their_range_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrainingSettings.model_validate(wrong)


def test_device_config_follows_requested_precision() -> None:
    assert not choose_device_config("float32").bf16
    assert choose_device_config("bf16").bf16
    assert choose_device_config("float32", channels_last=False).describe().endswith("float32 contiguous")
    assert choose_device_config("bf16").describe().endswith("bf16 channels-last")


@pytest.mark.parametrize(("wide_vectors", "layout"), [(True, "channels-last"), (False, "contiguous")])
def test_float32_uses_faster_memory_layout_of_processor(
    wide_vectors: bool, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": wide_vectors})
    monkeypatch.setattr("taichinet.training.device.processor_has_bf16", lambda: False)
    assert choose_device_config().describe() == f"cpu float32 {layout}"
    assert choose_device_config("bf16").describe() == "cpu bf16 channels-last"
