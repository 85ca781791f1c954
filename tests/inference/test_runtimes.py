"""Runtimes: predictions equal those of plain PyTorch, unneeded layers are skipped, and the choice is verified."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers import FLOAT32_CPU, NARROW
from numpy.typing import NDArray
from torch import nn
from typer.testing import CliRunner

from taichinet.cli import app as command_line
from taichinet.datasets.image_io import resize_image
from taichinet.datasets.phantoms.phantom import make_phantom
from taichinet.errors import SettingError, WeightsError
from taichinet.evaluation.decision import Decision, stored_decision
from taichinet.inference.export.graph import network_graph
from taichinet.inference.export.quantise import onnx_int8
from taichinet.inference.runtimes.catalogue import RUNTIMES, export_formats, find_runtime, register_runtime
from taichinet.inference.runtimes.choose import open_runtime, validated_records
from taichinet.inference.runtimes.eager import Eager, InferenceWrapper, Tuned, fold_batch_norms
from taichinet.inference.runtimes.graph_folder import RUNTIMES_FOLDER, graph_file
from taichinet.inference.runtimes.onnx import OnnxRuntime
from taichinet.inference.runtimes.parity import (
    Parity,
    ParityRecord,
    digest_graph,
    processor,
    read_record,
    write_record,
)
from taichinet.inference.runtimes.runtime import BuildRequest, Precision, Runtime, RuntimeSpec
from taichinet.inference.runtimes.user_record import (
    MeasuredRuntime,
    UserRecord,
    cache_folder,
    read_user_record,
    write_user_record,
)
from taichinet.inference.shipped import shipped_weights
from taichinet.models.catalogue import create_model, list_models
from taichinet.models.settings import CouplingSettings
from taichinet.models.upsampling import UpsampledConv2d
from taichinet.models.weights import load_weights, save_weights
from taichinet.models.weights_folder import LoadedWeights, WeightsConfig
from taichinet.storage.digest import digest_file

EXACT = Parity(4, 1.0, 1.0, 0, 4000, 0.0, None, None)


def phantoms(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Phantom images, uint8 (B, 1, S, S)."""
    rng = np.random.default_rng(seed)
    labels = ("benign", "malignant")
    images = [make_phantom(rng, labels[i % 2]).image for i in range(count)]  # type: ignore[arg-type]
    return np.stack([resize_image(image, size)[None] for image in images])


@pytest.fixture(scope="module")
def shipped() -> LoadedWeights:
    return load_weights(shipped_weights())


@pytest.fixture(scope="module")
def shipped_graph(shipped: LoadedWeights, shared_graph: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    return shared_graph(shipped)


@pytest.fixture(scope="module")
def transposed_graph(shipped: LoadedWeights, shared_graph: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    return shared_graph(shipped, transposed=True)


def assert_agrees(runtime: Runtime, shipped: LoadedWeights, tolerance: float) -> None:
    images = phantoms(3, shipped.config.size)
    expected, actual = Eager(shipped.network).maps(images), runtime.maps(images)
    assert expected.lesion.max() > 0.5, "the network must predict a lesion"
    np.testing.assert_allclose(actual.lesion, expected.lesion, atol=tolerance)
    assert actual.disagreement is not None
    assert expected.disagreement is not None
    np.testing.assert_allclose(actual.disagreement, expected.disagreement, atol=tolerance)


def test_tuned_pytorch_agrees_with_plain_on_the_shipped_weights(shipped: LoadedWeights) -> None:
    assert_agrees(Tuned(shipped.network, FLOAT32_CPU), shipped, 2e-4)


def test_onnx_runtime_agrees_with_plain_on_the_shipped_weights(
    shipped: LoadedWeights, shipped_graph: onnx.ModelProto
) -> None:
    assert_agrees(OnnxRuntime(shipped_graph.SerializeToString(), "float32", threads=1), shipped, 2e-4)


def test_openvino_agrees_with_plain_on_the_shipped_weights(
    shipped: LoadedWeights, shipped_graph: onnx.ModelProto
) -> None:
    openvino = pytest.importorskip("openvino")
    from taichinet.inference.runtimes.openvino import OpenVino

    model = openvino.Core().read_model(shipped_graph.SerializeToString())
    assert_agrees(OpenVino(model, "float32", threads=1), shipped, 2e-4)


SIGNAL_AFTER_TWO_RUNTIMES = """
import gc, os, signal, time
import numpy as np, openvino
from openvino import opset13 as ops
from taichinet.inference.runtimes.openvino import OpenVino

def runtime():
    image = ops.parameter([-1, 3, 32, 32], np.float32)
    kernel = ops.constant(np.ones((1, 3, 3, 3), np.float32))
    sums = ops.convolution(image, kernel, [1, 1], [1, 1], [1, 1], [1, 1])
    opened = OpenVino(openvino.Model([sums], [image]), "float32")
    opened.maps(np.zeros((1, 3, 32, 32), np.uint8))
    return [opened]

runtimes = [runtime(), runtime()]
while runtimes:
    runtimes.pop(0)
    gc.collect()
signal.signal(signal.SIGTERM, lambda number, frame: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(0.1)
"""


def test_signal_is_handled_after_openvino_runtimes_were_deleted() -> None:
    """In the order in which they were made, which unmapped a signal stack that was in use."""
    pytest.importorskip("openvino")
    done = subprocess.run([sys.executable, "-c", SIGNAL_AFTER_TWO_RUNTIMES], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_openvino_returns_batch_predictions_in_order(shipped: LoadedWeights, transposed_graph: onnx.ModelProto) -> None:
    """With two threads and nine different images, the requests end in a different order."""
    openvino = pytest.importorskip("openvino")
    from taichinet.inference.runtimes.openvino import OpenVino

    model = openvino.Core().read_model(transposed_graph.SerializeToString())
    runtime = OpenVino(model, "float32", threads=2)
    assert len(runtime._requests) > 1, "with one request, the order cannot change"
    images = phantoms(9, shipped.config.size)
    together = runtime.maps(images)
    assert together.disagreement is not None
    for row in range(9):
        alone = runtime.maps(images[row : row + 1])
        np.testing.assert_allclose(together.lesion[row], alone.lesion[0], atol=1e-4)
        assert alone.disagreement is not None
        np.testing.assert_allclose(together.disagreement[row], alone.disagreement[0], atol=1e-4)
    assert not np.allclose(together.lesion[0], together.lesion[1], atol=1e-2)


def test_tuned_pytorch_fuses_upsampling_and_plain_does_not(shipped: LoadedWeights) -> None:
    def layers(runtime: Eager) -> tuple[list[bool], int]:
        modules = list(runtime._network.modules())
        plain = [module.fused for module in modules if isinstance(module, UpsampledConv2d)]
        return plain, sum(isinstance(module, nn.ConvTranspose2d) for module in modules)

    assert layers(Eager(copy.deepcopy(shipped.network))) == ([False] * 8, 0)  # four levels, two paths
    assert layers(Tuned(shipped.network, FLOAT32_CPU)) == ([], 8)


def test_only_openvino_graph_has_transposed_convolutions(
    shipped: LoadedWeights,
    shipped_graph: onnx.ModelProto,
    transposed_graph: onnx.ModelProto,
    shared_graph: Callable[..., onnx.ModelProto],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def count(graph: onnx.ModelProto) -> tuple[int, int]:
        kinds = [node.op_type for node in graph.graph.node]
        return kinds.count("Resize"), kinds.count("ConvTranspose")

    assert count(shipped_graph) == (8 + 2, 0)  # the decoders, and the enlarged logits of both paths
    assert count(transposed_graph) == (2, 8)
    pytest.importorskip("openvino")
    from taichinet.inference.runtimes.openvino import OpenVino

    monkeypatch.setattr("taichinet.inference.export.graph.network_graph", shared_graph)
    build = find_runtime("openvino").build
    assert build is not None
    built = build(BuildRequest("float32", shipped, Decision(), [], {}, tmp_path))
    assert isinstance(built.runtime, OpenVino)
    kinds = [operation.get_type_name() for operation in built.runtime._model.get_ops()]
    assert kinds.count("ConvolutionBackpropData") == 8


def test_int8_predictions_are_close_and_convolutions_are_int8(
    shipped: LoadedWeights, shipped_graph: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))  # no file is written to the system's temporary folder
    monkeypatch.setattr(tempfile, "tempdir", None)
    quantised = onnx_int8(shipped_graph, list(phantoms(6, shipped.config.size, seed=1)), tmp_path)
    assert list(tmp_path.iterdir()) == []
    convolutions = [node for node in quantised.graph.node if node.op_type == "Conv"]
    producers = {output: node.op_type for node in quantised.graph.node for output in node.output}
    of_int8 = [node for node in convolutions if producers.get(node.input[1]) == "DequantizeLinear"]
    assert len(of_int8) >= 40
    assert len(of_int8) < len(convolutions), "first layer, output and head stay float"
    images = phantoms(12, shipped.config.size)
    expected = Eager(shipped.network).maps(images).lesion
    actual = OnnxRuntime(quantised.SerializeToString(), "int8", threads=1).maps(images).lesion
    assert 0 < np.abs(actual - expected).mean() < 0.02
    threshold = stored_decision(shipped.config.decision, shipped.config.threshold, shipped.name).raw_threshold
    assert np.mean((actual > threshold) != (expected > threshold)) < 0.01


@pytest.mark.parametrize("model", list_models())
def test_folding_batch_norm_changes_neither_output_nor_original_network(model: str) -> None:
    torch.manual_seed(0)
    network = create_model(model, **NARROW.get(model, {})).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # with initial statistics, folding would be trivial
            nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    image = torch.rand(1, 1, 64, 64)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    with torch.inference_mode():
        expected = network(image).lesion
        folded = fold_batch_norms(network)
        np.testing.assert_allclose(folded(image).lesion.numpy(), expected.numpy(), atol=1e-3)
        assert torch.equal(network(image).lesion, expected)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules()) < norms


@pytest.mark.parametrize("cross_attention", [True, False])
def test_negative_decoder_is_skipped_without_head(cross_attention: bool) -> None:
    network = create_model("taichinet", width=4, head="none", cross_attention=cross_attention).eval()
    assert_same_lesion_without_disagreement(network, network.negative.decoder[-1])  # type: ignore[union-attr, index]


def test_second_path_of_baseline_is_skipped_without_head() -> None:
    network = create_model("unet", width=4, second_path=CouplingSettings(head="none")).eval()
    assert_same_lesion_without_disagreement(network, network.negative)


@pytest.mark.parametrize("head", ["a", "b", "c"])
def test_lesion_needs_both_paths_with_head(head: str) -> None:
    network = create_model("taichinet", width=4, head=head).eval()
    assert_same_lesion_without_disagreement(network, network.negative.decoder[-1], called=True)  # type: ignore[union-attr, index]


def assert_same_lesion_without_disagreement(network: nn.Module, layer: object, called: bool = False) -> None:
    """Check that the lesion is bit-identical without the disagreement, and whether `layer` is called for it."""
    assert isinstance(layer, nn.Module)
    image = torch.rand(2, 1, 32, 32)
    calls: list[int] = []
    with torch.inference_mode():
        lesion, disagreement = InferenceWrapper(network, disagreement=True)(image)
        assert disagreement.max() > 0
        layer.register_forward_hook(lambda *_: calls.append(1))
        (alone,) = InferenceWrapper(network, disagreement=False)(image)
    assert torch.equal(alone, lesion)
    assert bool(calls) == called


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of a small network in `w` and its graph."""
    folder = tmp_path_factory.mktemp("narrow")
    torch.manual_seed(0)
    save_weights(create_model("taichinet", width=2), WeightsConfig("taichinet", {"width": 2}, 32), folder / "w")
    onnx.save(network_graph(load_weights(folder / "w")), folder / "onnx-float32.onnx")
    return folder


@pytest.fixture
def weights(narrow: Path, tmp_path: Path) -> Path:
    return shutil.copytree(narrow, tmp_path / "narrow") / "w"


def store_graph(folder: Path, **changes: object) -> None:
    """Store the ONNX graph in the weights folder, with a valid record except for `changes`."""
    runtimes = folder / RUNTIMES_FOLDER
    runtimes.mkdir(exist_ok=True)
    if not (runtimes / "onnx-float32.onnx").exists():
        shutil.copy(folder.parent / "onnx-float32.onnx", runtimes)
    digest = digest_file(folder / "model.safetensors")
    graph = digest_graph([runtimes / "onnx-float32.onnx"])
    record = ParityRecord("onnx", "float32", "onnx-float32.onnx", digest, processor(), EXACT, 0.5, 1.0, 2.0, graph)
    write_record(replace(record, **changes), runtimes / "onnx-float32.json")  # type: ignore[arg-type]


def chosen(choice: str, folder: Path, accelerated: bool = False) -> str:
    return open_runtime(choice, load_weights(folder), folder, accelerated=accelerated).description.name


def test_exported_graph_is_used_only_if_it_is_named(weights: Path) -> None:
    store_graph(weights)
    assert chosen("auto", weights) == "tuned", "an export does not change what auto does"
    assert chosen("onnx", weights) == "onnx"
    assert chosen("onnx", weights / "model.safetensors") == "onnx"
    assert chosen("eager", weights) == "eager"


def test_tuned_pytorch_computes_in_float32_unless_bf16_is_given_or_recorded(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a processor with bf16, which changes the masks of some networks."""
    monkeypatch.setenv("TAICHINET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("taichinet.training.device.processor_has_bf16", lambda: True)
    store_graph(weights)
    named = {name: str(opened(name, weights)[0].description) for name in ("auto", "tuned", "tuned-bf16")}
    assert named == {"auto": "tuned float32", "tuned": "tuned float32", "tuned-bf16": "tuned bf16"}
    bf16 = MeasuredRuntime("tuned", "bf16", "", "", 0.1, EXACT, ())
    write_user_record(replace(user_record(weights), measured=(bf16,)))
    assert str(opened("auto", weights)[0].description) == "tuned bf16"


def test_graph_of_packaged_weights_is_stored_in_the_cache_folder(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAICHINET_CACHE", str(tmp_path / "cache"))
    assert graph_file(weights, "runtimes/a.onnx") == weights / "runtimes" / "a.onnx"
    monkeypatch.setattr("taichinet.inference.runtimes.graph_folder.PACKAGED", weights.parent)
    assert graph_file(weights, "model.onnx") == weights / "model.onnx"
    store_graph(weights)
    cached = graph_file(weights, RUNTIMES_FOLDER)
    cached.parent.mkdir(parents=True)
    (weights / RUNTIMES_FOLDER).rename(cached)
    assert chosen("onnx", weights) == "onnx"
    result = CliRunner().invoke(command_line.app, ["benchmark", "-w", str(weights), "--most-images", "1", "--json"])
    assert "runtimes/onnx-float32.onnx" in result.stdout, result.output
    (cached / "onnx-float32.onnx").write_bytes(b"torn")
    with pytest.raises(WeightsError, match="not the one that was exported"):
        chosen("onnx", weights)


def user_record(folder: Path, **changes: Any) -> UserRecord:
    """A record in which the graph of `store_graph` is the fastest, except for `changes` of that entry."""
    graph = digest_graph([folder / RUNTIMES_FOLDER / "onnx-float32.onnx"])
    onnx_one = MeasuredRuntime("onnx", "float32", "runtimes/onnx-float32.onnx", graph, 0.1, EXACT, ())
    plain = MeasuredRuntime("eager", "float32", "", "", 0.5, EXACT, ())
    digest = digest_file(folder / "model.safetensors")
    measured = (replace(onnx_one, **changes), plain)
    return UserRecord("2026-11-28", "0.1.0", "w", digest, processor(), "4 images", measured)


def opened(choice: str, folder: Path, accelerated: bool = False) -> tuple[Runtime, list[str]]:
    """The runtime and all messages."""
    messages: list[str] = []
    return open_runtime(choice, load_weights(folder), folder, True, accelerated, messages.append), messages


def test_auto_follows_the_record_of_the_user(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAICHINET_CACHE", str(tmp_path / "cache"))
    store_graph(weights, processor="another", seconds=9.0)  # of an export elsewhere, where it was slow
    runtime, messages = opened("auto", weights)
    assert messages == [f"Runtime: {runtime.description}, the default for these weights."]
    assert runtime.description.name == "tuned"
    file = write_user_record(user_record(weights))
    assert file.is_relative_to(tmp_path / "cache")
    runtime, messages = opened("auto", weights / "model.safetensors")
    assert messages == [f"Runtime: onnx float32, following the record of 2026-11-28 in {file}."]
    images = phantoms(2, 32)
    expected = Eager(load_weights(weights).network).maps(images)
    np.testing.assert_allclose(runtime.maps(images).lesion, expected.lesion, atol=1e-5)
    assert opened("auto", weights, accelerated=True)[1][0].startswith("Runtime: tuned")
    assert opened("eager", weights)[1] == ["Runtime: eager float32, as given."]
    write_user_record(user_record(weights, failures=("its masks differ",)))
    assert opened("auto", weights)[1] == [f"Runtime: eager float32, following the record of 2026-11-28 in {file}."]


@pytest.mark.parametrize(
    "changes",
    [
        {"graph": "gone.onnx"},
        {"graph_digest": "f" * 64},
        {"runtime": "unheard-of"},
        {"graph": "../../onnx-float32.onnx"},
    ],
)
def test_record_that_cannot_be_followed_is_reported(
    changes: dict[str, str], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAICHINET_CACHE", str(tmp_path / "cache"))
    store_graph(weights)
    file = write_user_record(user_record(weights, **changes))
    runtime, (reason, chosen_one) = opened("auto", weights)
    assert runtime.description.name == "tuned"
    assert str(file) in reason
    assert "cannot be used" in reason
    assert "the record is not followed" in chosen_one


def test_damaged_or_foreign_record_of_the_user_is_reported(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAICHINET_CACHE", str(tmp_path / "cache"))
    store_graph(weights)
    file = write_user_record(user_record(weights))
    valid = json.loads(file.read_text())
    others: list[dict[str, Any]] = [
        {"processor": "another"},
        {"weights_digest": "another"},
        {"measured": []},
        {"date": 3},
    ]
    for text in ("{", "[]", *(json.dumps({**valid, **other}) for other in others)):
        file.write_text(text)
        runtime, (reason, _) = opened("auto", weights)
        assert runtime.description.name == "tuned"
        assert str(file) in reason
        assert "taichinet benchmark" in reason


def test_cache_folder_is_that_of_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("HOME", "/home/reader")
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast/cache")
    monkeypatch.setenv("TAICHINET_CACHE", "~/records")
    assert cache_folder() == Path("/home/reader/records")
    monkeypatch.delenv("TAICHINET_CACHE")
    assert cache_folder() == Path("/fast/cache/taichinet")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path("/home/reader/.cache/taichinet")


def test_benchmark_records_what_it_measured(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAICHINET_CACHE", str(tmp_path / "cache"))
    store_graph(weights)
    before = {path: path.read_bytes() for path in weights.rglob("*") if path.is_file()}
    result = CliRunner().invoke(command_line.app, ["benchmark", "-w", str(weights), "--most-images", "3", "--json"])
    assert result.exit_code == 0, result.output
    (printed,) = json.loads(result.stdout)
    record = read_user_record(digest_file(weights / "model.safetensors"))
    assert record is not None
    assert printed["followed"] == record.fastest.runtime
    by_name = {one.runtime: one for one in record.measured}
    assert set(by_name) == {"eager", "tuned", "onnx"}
    assert by_name["onnx"].graph == "runtimes/onnx-float32.onnx"
    assert by_name["eager"].parity.flipped_pixels == 0
    assert [one.seconds for one in record.measured] == sorted(one.seconds for one in record.measured)
    assert {path: path.read_bytes() for path in weights.rglob("*") if path.is_file()} == before
    assert "following the record" in opened("auto", weights)[1][0]
    (weights / RUNTIMES_FOLDER / "onnx-float32.onnx").write_bytes(b"torn")
    table = CliRunner().invoke(command_line.app, ["benchmark", "-w", str(weights), "--most-images", "1"])
    assert "is not measured" in table.stderr
    assert "Delete this file" in table.stdout


def test_runtime_with_invalid_record_or_graph_is_not_chosen(weights: Path) -> None:
    different = replace(EXACT, agreement=0.9)
    for changes in (
        {"weights_digest": "another"},
        {"processor": "another"},
        {"parity": different},
        {"graph": "gone.onnx"},
        {"runtime": "unheard-of"},
        {"runtime": "eager"},
        {"seconds": float("nan")},
        {"tuned_seconds": 0.0},
        {"parity": replace(EXACT, agreement=float("nan"))},
        {"seconds": "fast"},
        {"graph": "a\0b"},
    ):
        store_graph(weights, **changes)
        with pytest.raises(WeightsError, match="taichinet export"):
            chosen("onnx", weights)
    (weights / RUNTIMES_FOLDER / "onnx-float32.json").write_text("{")
    assert len(rejection_reasons(weights)) == 1
    store_graph(weights)
    (weights / RUNTIMES_FOLDER / "onnx-float32.onnx").write_bytes(b"torn")
    assert len(rejection_reasons(weights)) == 1


def rejection_reasons(folder: Path) -> list[str]:
    """Why the records of a weights folder are not valid; none may be."""
    reasons: list[str] = []
    assert validated_records(folder, reasons.append) == []
    return reasons


def test_changed_graph_is_rejected_with_reason(weights: Path) -> None:
    store_graph(weights)
    graph = weights / RUNTIMES_FOLDER / "onnx-float32.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1  # one bit, probably of a weight, so that the graph can still be read
    graph.write_bytes(content)
    (reason,) = rejection_reasons(weights)
    assert "onnx-float32.onnx is not the one that was exported" in reason
    with pytest.raises(WeightsError, match="not the one that was exported"):
        chosen("onnx", weights)


def test_record_without_digest_is_unverified_and_not_used(weights: Path) -> None:
    store_graph(weights)
    file = weights / RUNTIMES_FOLDER / "onnx-float32.json"
    old = json.loads(file.read_text())
    del old["graph_digest"]
    file.write_text(json.dumps(old))
    (reason,) = rejection_reasons(weights)
    assert "unverified" in reason
    assert "taichinet export" in reason


@pytest.mark.parametrize("linked", [False, True])
def test_graph_outside_weights_folder_is_rejected(weights: Path, tmp_path: Path, linked: bool) -> None:
    store_graph(weights)
    own, outside = weights / RUNTIMES_FOLDER / "onnx-float32.onnx", tmp_path / "outside.onnx"
    shutil.copy(own, outside)
    if linked:
        own.unlink()
        own.symlink_to(outside)
    store_graph(weights, graph=own.name if linked else "../../outside.onnx")
    (reason,) = rejection_reasons(weights)
    assert "is outside of" in reason


def test_digest_of_openvino_graph_includes_its_weights(tmp_path: Path) -> None:
    graph, values = tmp_path / "g.xml", tmp_path / "g.bin"
    graph.write_text("<net/>")
    values.write_bytes(b"weights")
    files = find_runtime("openvino").files(graph)
    before = digest_graph(files)
    values.write_bytes(b"Weights")
    assert digest_graph(files) != before


def test_damaged_record_raises_weights_error(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    write_record(ParityRecord("onnx", "int8", "g", "d", "p", EXACT, 0.1, 0.2, 0.3, "e"), file)
    valid = json.loads(file.read_text())
    texts = ["[" * 100_000, "1" * 5000, "[]", "null", '{"parity": 3}', "\xff"]
    wrong: tuple[object, ...] = ([], {}, float("nan"))
    texts += [json.dumps({**valid, key: value}) for key in valid for value in wrong if key != "holds"]
    for text in texts:
        file.write_text(text, encoding="latin-1")
        with pytest.raises(WeightsError, match="taichinet export"):
            read_record(file)


def test_unverified_runtime_is_rejected_with_export_command(weights: Path) -> None:
    with pytest.raises(WeightsError, match="taichinet export"):
        chosen("onnx", weights)
    with pytest.raises(SettingError, match="Did you mean 'onnx'"):
        chosen("onx", weights)


def test_parity_record_round_trips(tmp_path: Path) -> None:
    record = ParityRecord("openvino", "int8", "g.xml", "d", processor(), EXACT, 0.1, 0.2, 0.3)
    write_record(record, tmp_path / "r.json")
    assert read_record(tmp_path / "r.json") == record


def test_parity_fails_on_dice_loss_or_different_masks() -> None:
    assert EXACT.failures("int8") == []
    assert replace(EXACT, agreement=0.99).failures("int8")
    assert replace(EXACT, agreement=0.99, plain_dice=0.7, dice=0.6951).failures("int8") == []
    assert "0.0051 Dice" in replace(EXACT, plain_dice=0.7, dice=0.6949).failures("int8")[0]
    assert replace(EXACT, agreement=0.99, plain_dice=0.7, dice=0.7).failures("float32")


def test_registered_runtime_is_opened_by_name_and_cannot_replace_another(weights: Path) -> None:
    calls: list[tuple[Path, bool]] = []

    def open_half(loaded: LoadedWeights, path: Path, precision: Precision, disagreement: bool) -> Runtime:
        calls.append((path, disagreement))
        return Tuned(loaded.network, FLOAT32_CPU, disagreement)

    register_runtime(RuntimeSpec("half", open_half))
    try:
        assert chosen("half", weights) == "tuned"
        assert calls == [(weights, True)]
        assert chosen("auto", weights) == "tuned"
        assert "half" not in export_formats()
        with pytest.raises(SettingError, match="'half' is already registered"):
            register_runtime(RuntimeSpec("half", open_half))
    finally:
        RUNTIMES.pop("half")
    for name in ("auto", "onnx"):
        with pytest.raises(SettingError, match=f"'{name}' is already registered"):
            register_runtime(RuntimeSpec(name, open_half))
