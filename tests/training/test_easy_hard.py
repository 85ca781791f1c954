"""Easy and hard regions (Eq. 23-24): definition, caching, and rejection of held-out images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import FLOAT32_CPU, discs

from taichinet.batch import Batch, Prediction
from taichinet.datasets.augmentation import AugmentationSettings
from taichinet.datasets.prepared import Prepared
from taichinet.errors import DataError, FoldError, TaiChiNetError, WeightsError
from taichinet.losses.objective import ObjectiveSettings
from taichinet.training import easy_hard
from taichinet.training.easy_hard import (
    MinedRegions,
    MiningSettings,
    mine_regions,
    read_regions,
    refuse_leakage,
    split_lesion,
)
from taichinet.training.fit import fit

SETTINGS = MiningSettings(width=2, epochs=3, batch_size=3, learning_rate=1e-2)
AUGMENTATION = AugmentationSettings()


def mine(
    cache: Path, train: Prepared | None = None, settings: MiningSettings = SETTINGS
) -> tuple[MinedRegions, list[dict[str, Any]]]:
    """The regions and the epochs trained for them."""
    epochs: list[dict[str, Any]] = []
    return mine_regions(train or discs(5), settings, AUGMENTATION, cache, epochs.append, FLOAT32_CPU), epochs


def test_level_1_gives_easy_part_and_level_4_adds_hard_part() -> None:
    first = torch.tensor([0.9, 0.9, 0.2, 0.2, 0.9, 0.2, 0.5])
    fourth = torch.tensor([0.9, 0.2, 0.9, 0.2, 0.9, 0.9, 0.5])
    true_mask = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0])
    easy, hard = split_lesion(first, fourth, true_mask)
    assert easy.tolist() == [True, True, False, False, False, False, False]
    assert hard.tolist() == [False, False, True, False, False, False, False]


def test_split_equals_equations_23_and_24() -> None:
    generator = torch.Generator().manual_seed(0)
    first, fourth, mask = (torch.rand(2, 1, 8, 8, generator=generator) for _ in range(3))
    true_mask = (mask > 0.6).float()
    easy, hard = split_lesion(first, fourth, true_mask)

    def pixels_of(chosen: torch.Tensor) -> set[tuple[int, ...]]:
        return {tuple(pixel) for pixel in chosen.nonzero().tolist()}

    lesion = pixels_of(true_mask == 1)
    expected_easy = pixels_of(first > 0.5) & lesion  # Eq. 23
    complement_in_lesion = lesion - expected_easy
    assert pixels_of(easy) == expected_easy
    assert pixels_of(hard) == (pixels_of(fourth > 0.5) & lesion) & complement_in_lesion  # Eq. 24


def test_mined_regions_are_disjoint_and_within_the_lesion(tmp_path: Path) -> None:
    train = discs(5)
    mined, _ = mine(tmp_path, train, replace_settings(epochs=20))
    easy, hard = mined.regions.easy, mined.regions.hard
    assert mined.regions.keys == train.keys
    assert easy.dtype == hard.dtype == torch.uint8
    assert easy.shape == hard.shape == train.lesion.shape
    assert int((easy & hard).sum()) == 0
    assert int(((easy | hard) & (1 - train.lesion)).sum()) == 0
    assert int(easy.sum() + hard.sum()) > 0
    lesion = int(train.lesion.sum())
    assert mined.provenance.easy_share_of_lesion == pytest.approx(int(easy.sum()) / lesion)
    assert mined.provenance.hard_share_of_lesion == pytest.approx(int(hard.sum()) / lesion)


def replace_settings(**changes: object) -> MiningSettings:
    return MiningSettings.model_validate({**SETTINGS.model_dump(), **changes})


def test_second_call_reads_regions_from_cache(tmp_path: Path) -> None:
    first, trained = mine(tmp_path)
    again, trained_again = mine(tmp_path)
    assert [row["epoch"] for row in trained] == [1, 2, 3]
    assert trained_again == []
    assert again.provenance == replace(first.provenance, settings=again.provenance.settings)
    assert again.provenance.identity() == first.provenance.identity()
    assert torch.equal(again.regions.easy, first.regions.easy)
    assert torch.equal(again.regions.hard, first.regions.hard)


def test_cache_has_provenance_and_no_checkpoint(tmp_path: Path) -> None:
    mined, _ = mine(tmp_path)
    (folder,) = tmp_path.iterdir()
    assert folder.name == mined.provenance.identity()
    assert {file.name for file in folder.iterdir()} == {"provenance.json", "regions.safetensors"}
    written = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert tuple(written["keys"]) == discs(5).keys
    assert written["settings"]["epochs"] == 3
    assert (written["size"], written["channels"]) == (32, 1)


@pytest.mark.parametrize("change", ["images", "masks", "keys", "seed", "epochs"])
def test_changed_input_is_mined_again(tmp_path: Path, change: str) -> None:
    mine(tmp_path, settings=replace_settings(epochs=1))
    data, settings = discs(5), replace_settings(epochs=1)
    if change == "images":
        data = replace(data, image=data.image.clone().add_(1))
    elif change == "masks":
        data = replace(data, lesion=data.lesion.flip(-1))
    elif change == "keys":
        data = replace(data, keys=tuple(f"{key}'" for key in data.keys))
    elif change == "seed":
        settings = replace_settings(epochs=1, seed=1)
    else:
        settings = replace_settings(epochs=2)
    mined, trained = mine(tmp_path, data, settings)
    assert len(trained) == settings.epochs
    assert mined.regions.keys == data.keys
    assert len(list(tmp_path.iterdir())) == 2


def test_changed_augmentation_is_mined_again(tmp_path: Path) -> None:
    settings = replace_settings(epochs=1)
    default = mine_regions(discs(5), settings, AUGMENTATION, tmp_path)
    other = mine_regions(discs(5), settings, AugmentationSettings(gamma=(1.0, 1.0)), tmp_path)
    assert default.provenance.identity() != other.provenance.identity()


def test_mining_is_deterministic(tmp_path: Path) -> None:
    first, _ = mine(tmp_path / "one")
    torch.manual_seed(99)  # the global random state has no effect
    second, _ = mine(tmp_path / "other")
    assert torch.equal(first.regions.easy, second.regions.easy)
    assert torch.equal(first.regions.hard, second.regions.hard)


def test_interrupted_mining_resumes_from_last_epoch(tmp_path: Path) -> None:
    class SimulatedCrashError(Exception):
        pass

    def interrupt(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise SimulatedCrashError

    uninterrupted, _ = mine(tmp_path / "whole")
    with pytest.raises(SimulatedCrashError):
        mine_regions(discs(5), SETTINGS, AUGMENTATION, tmp_path / "cut", interrupt, FLOAT32_CPU)
    resumed, trained = mine(tmp_path / "cut")
    assert [row["epoch"] for row in trained] == [3]
    assert torch.equal(resumed.regions.easy, uninterrupted.regions.easy)
    assert torch.equal(resumed.regions.hard, uninterrupted.regions.hard)


@pytest.mark.parametrize("file", ["provenance.json", "regions.safetensors"])
def test_truncated_cache_is_reported_with_folder_to_delete(tmp_path: Path, file: str) -> None:
    mine(tmp_path, settings=replace_settings(epochs=1))
    (folder,) = tmp_path.iterdir()
    torn = folder / file
    torn.write_bytes(torn.read_bytes()[:40])
    with pytest.raises(TaiChiNetError, match=r"cannot be read .*Delete that folder") as caught:
        mine(tmp_path, settings=replace_settings(epochs=1))
    assert str(folder) in str(caught.value)
    with pytest.raises(TaiChiNetError):
        read_regions(tmp_path / "nowhere")


def test_changed_pixel_of_regions_is_rejected(tmp_path: Path) -> None:
    mine(tmp_path, settings=replace_settings(epochs=1))
    (folder,) = tmp_path.iterdir()
    file = folder / "regions.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"cannot be read .*another digest.*Delete that folder"):
        read_regions(folder)


@pytest.mark.parametrize(
    "change", [{"keys": ["disc (1)"]}, {"keys": None}, {"keys": 3}, {"settings": {}}, {"unknown": 1}], ids=str
)
def test_changed_provenance_is_rejected(tmp_path: Path, change: dict[str, Any]) -> None:
    """Its keys are used to detect leakage of held-out images."""
    mine(tmp_path, settings=replace_settings(epochs=1))
    (folder,) = tmp_path.iterdir()
    file = folder / "provenance.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"cannot be read .*Delete that folder"):
        mine(tmp_path, settings=replace_settings(epochs=1))


def test_regions_of_earlier_version_without_digest_are_read(tmp_path: Path) -> None:
    mined, _ = mine(tmp_path, settings=replace_settings(epochs=1))
    (folder,) = tmp_path.iterdir()
    file = folder / "provenance.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    del content["regions_digest"]
    file.write_text(json.dumps(content), encoding="utf-8")
    assert torch.equal(read_regions(folder).regions.easy, mined.regions.easy)


def test_all_outputs_of_mining_network_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eq. 23 uses output 1, which is only trained by deep supervision."""
    objectives: list[ObjectiveSettings] = []
    networks: list[torch.nn.Module] = []

    def spy(network: torch.nn.Module, data: Any, objective: ObjectiveSettings, *rest: Any) -> Any:
        objectives.append(objective)
        before = [output.weight.detach().clone() for output in network.outputs]  # type: ignore[union-attr]
        result = fit(network, data, objective, *rest)
        networks.append(network)
        for number, (output, weight) in enumerate(zip(network.outputs, before, strict=True), start=1):  # type: ignore[arg-type]
            assert not torch.equal(output.weight, weight), f"output {number} was not trained"
        return result

    monkeypatch.setattr(easy_hard, "fit", spy)
    mine(tmp_path, settings=replace_settings(epochs=1))
    assert len(networks) == 1
    assert objectives[0].auxiliary.levels == 1


def test_regions_are_from_first_and_last_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eq. 23: the outputs in between are not used."""
    received: list[tuple[torch.Tensor, torch.Tensor]] = []

    def predict(network: torch.nn.Module, batches: list[Batch], device_config: Any) -> Iterator[Prediction]:
        for batch in batches:
            levels = tuple(torch.full_like(batch.lesion, level) for level in (1.0, 2.0, 3.0, 4.0))
            yield Prediction(levels[-1], levels=levels)

    def spy(coarse: torch.Tensor, fine: torch.Tensor, lesion: torch.Tensor) -> Any:
        received.append((coarse, fine))
        return split_lesion(coarse, fine, lesion)

    monkeypatch.setattr(easy_hard, "predict_batches", predict)
    monkeypatch.setattr(easy_hard, "split_lesion", spy)
    mine(tmp_path, settings=replace_settings(epochs=1))
    for coarse, fine in received:
        assert torch.equal(coarse, torch.full_like(coarse, 1.0).sigmoid())
        assert torch.equal(fine, torch.full_like(fine, 4.0).sigmoid())
    assert received


def test_held_out_image_used_in_mining_is_reported(tmp_path: Path) -> None:
    mined, _ = mine(tmp_path, settings=replace_settings(epochs=1))
    refuse_leakage(mined.provenance, ["other (2)", "other (1)"])
    with pytest.raises(FoldError, match=r"1 held-out images .*\(disc \(3\)\).*bias the scores") as caught:
        refuse_leakage(mined.provenance, ["other (1)", "disc (3)"])
    assert caught.value.exit_code == 6


def test_regions_of_other_images_are_rejected(tmp_path: Path) -> None:
    mined, _ = mine(tmp_path, settings=replace_settings(epochs=1))
    with pytest.raises(DataError, match="belong to other images"):
        discs(5, name="other").batch(torch.arange(2), mined.regions)
    backwards = discs(5).subset(discs(5).keys[::-1])
    with pytest.raises(DataError, match="belong to other images"):
        backwards.batch(torch.arange(2), mined.regions)
