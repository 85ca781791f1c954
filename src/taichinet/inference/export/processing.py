"""The complete graph of an exported file: the network graph with pre- and post-processing, for ONNX or OpenVINO.

Pre-processing is resizing and normalisation; post-processing is resizing to the original resolution, temperature,
threshold and presence decision. Filling holes and removing small components are not part of the graph, as there are no
operators for connected components: `decision` in the metadata has their settings, which the runner applies.

Resizing is implemented with matrix products, so that the result does not depend on the runtime: the resize operators
of runtimes differ. An axis of n pixels is resized to m pixels by a matrix (m, n) of triangle weights

    w[i, j] = max(0, 1 - |j + 1/2 - (i + 1/2) n / m| / s), each row divided by its sum.

In pre-processing, s = max(n / m, 1): Pillow's bilinear filter with antialiasing, as in training. In post-processing,
s = 1: PyTorch's bilinear interpolation without corner alignment, as in evaluation and in the predictor. As in Pillow,
values are rounded to integer grey values after each axis, width first. Pillow's weights have 22 bits and these have 24,
so a pixel with an exact value close to a half may be rounded differently. Pillow 13 resizes the height first if an
image is much taller than wide. For such images, up to a quarter of the pixels differ by one grey value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import onnx
from onnx import compose
from onnx.parser import parse_model

from taichinet.evaluation.decision import SMALLEST_PROBABILITY, Decision
from taichinet.inference.export.graph import DISAGREEMENT, LESION, NETWORK_IMAGE, OPSET
from taichinet.presence import presence_pixels

if TYPE_CHECKING:
    import openvino

IMAGE, MASK, PROBABILITY = "image", "mask", "probability"
_ORIGINAL_SIZE = "native_size"  # name of the tensor (height, width) in exported files

# ITU-R 601 luma as Pillow computes it, in units of 2^-16.
_LUMA = (19595, 38470, 7471)


def before_network(channels: int, size: int) -> onnx.ModelProto:
    """uint8 `image` (H, W, 1 or 3) -> float `network_image` (1, C, S, S) in [0, 1] and int64 `original_size` (2)."""
    return _parsed(
        f"""
        before (uint8[height, width, depth] {IMAGE})
            => (float[1, {channels}, {size}, {size}] {NETWORK_IMAGE}, int64[2] {_ORIGINAL_SIZE})
        {{
          first = Constant <value = int64[1] {{0}}> ()
          second = Constant <value = int64[1] {{1}}> ()
          third = Constant <value = int64[1] {{2}}> ()
          three = Constant <value = int64[1] {{3}}> ()
          shape = Shape ({IMAGE})
          {_ORIGINAL_SIZE} = Slice (shape, first, third)
          colour_shape = Concat <axis = 0> ({_ORIGINAL_SIZE}, three)
          as_float = Cast <to = 1> ({IMAGE})
          colour = Expand (as_float, colour_shape)
          {_grey() if channels == 1 else "planes = Transpose <perm = [2, 0, 1]> (colour)"}
          height_pixels = Slice ({_ORIGINAL_SIZE}, first, second)
          width_pixels = Slice ({_ORIGINAL_SIZE}, second, third)
          wanted = Constant <value = int64[1] {{{size}}}> ()
          one = Constant <value = float {{1.0}}> ()
          half = Constant <value = float {{0.5}}> ()
          {_weights("across", "width_pixels", "wanted", antialias=True)}
          {_weights("down", "height_pixels", "wanted", antialias=True)}
          across_turned = Transpose <perm = [1, 0]> (across)
          narrowed = MatMul (planes, across_turned)
          narrowed_half = Add (narrowed, half)
          narrowed_whole = Floor (narrowed_half)
          resized = MatMul (down, narrowed_whole)
          resized_half = Add (resized, half)
          resized_whole = Floor (resized_half)
          most = Constant <value = float {{255.0}}> ()
          normalised = Div (resized_whole, most)
          {NETWORK_IMAGE} = Unsqueeze (normalised, first)
        }}
        """
    )


def behind_network(size: int, decision: Decision) -> onnx.ModelProto:
    """Float `lesion` (1, 1, S, S) and int64 `original_size` -> uint8 `mask` (0 or 255), float `probability`: (H, W)."""
    raw = PROBABILITY if decision.temperature == 1 else "raw"
    shown = "above" if decision.presence == 0 else "present_above"
    return _parsed(
        f"""
        behind (float[1, 1, {size}, {size}] {LESION}, int64[2] {_ORIGINAL_SIZE})
            => (uint8[height, width] {MASK}, float[height, width] {PROBABILITY})
        {{
          first = Constant <value = int64[1] {{0}}> ()
          second = Constant <value = int64[1] {{1}}> ()
          third = Constant <value = int64[1] {{2}}> ()
          one = Constant <value = float {{1.0}}> ()
          half = Constant <value = float {{0.5}}> ()
          height_pixels = Slice ({_ORIGINAL_SIZE}, first, second)
          width_pixels = Slice ({_ORIGINAL_SIZE}, second, third)
          given = Constant <value = int64[1] {{{size}}}> ()
          {_weights("across", "given", "width_pixels", antialias=False)}
          {_weights("down", "given", "height_pixels", antialias=False)}
          across_turned = Transpose <perm = [1, 0]> (across)
          both = Constant <value = int64[2] {{0, 1}}> ()
          plane = Squeeze ({LESION}, both)
          widened = MatMul (plane, across_turned)
          native = MatMul (down, widened)
          least = Constant <value = float {{0.0}}> ()
          {raw} = Clip (native, least, one)
          limit = Constant <value = float {{{float(decision.raw_threshold)!r}}}> ()
          above = Greater ({raw}, limit)
          {_calibrated(PROBABILITY, raw, decision)}
          {_with_presence(shown, "above", size, decision)}
          painted = Constant <value = uint8 {{255}}> ()
          empty = Constant <value = uint8 {{0}}> ()
          {MASK} = Where ({shown}, painted, empty)
        }}
        """
    )


def _calibrated(name: str, raw: str, decision: Decision) -> str:
    """ONNX text for `Decision.calibrated`; empty if it changes nothing, and `name` is `raw`."""
    if name == raw:
        return ""
    return f"""
          {name}_low = Constant <value = float {{{SMALLEST_PROBABILITY:.8f}}}> ()
          {name}_high = Constant <value = float {{{1 - SMALLEST_PROBABILITY:.8f}}}> ()
          {name}_clipped = Clip ({raw}, {name}_low, {name}_high)
          {name}_rest = Sub (one, {name}_clipped)
          {name}_log = Log ({name}_clipped)
          {name}_log_rest = Log ({name}_rest)
          {name}_logit = Sub ({name}_log, {name}_log_rest)
          {name}_temperature = Constant <value = float {{{decision.temperature:.8f}}}> ()
          {name}_scaled = Div ({name}_logit, {name}_temperature)
          {name} = Sigmoid ({name}_scaled)"""


def _with_presence(name: str, above: str, size: int, decision: Decision) -> str:
    """ONNX text for `above`, or no pixel if the presence score of `plane` is too low; empty without a threshold."""
    if decision.presence == 0:
        return ""
    evidence = "largest" if decision.temperature == 1 else "evidence"
    return f"""
          all_pixels = Constant <value = int64[1] {{{size * size}}}> ()
          flat = Reshape (plane, all_pixels)
          count = Constant <value = int64[1] {{{presence_pixels(size * size)}}}> ()
          largest, largest_at = TopK (flat, count)
          {_calibrated(evidence, "largest", decision)}
          score = ReduceMean <keepdims = 0> ({evidence})
          least_score = Constant <value = float {{{decision.presence:.8f}}}> ()
          present = GreaterOrEqual (score, least_score)
          {name} = And ({above}, present)"""


def _grey() -> str:
    """Pillow's luma: (sum + 2^15) >> 16. The sum is below 2^24 and thus exact in float32. Grey images are unchanged."""
    return f"""
          luma = Constant <value = float[3] {{{", ".join(f"{weight}.0" for weight in _LUMA)}}}> ()
          weighted = Mul (colour, luma)
          last = Constant <value = int64[1] {{-1}}> ()
          summed = ReduceSum <keepdims = 0> (weighted, last)
          to_round = Constant <value = float {{32768.0}}> ()
          raised = Add (summed, to_round)
          scale = Constant <value = float {{65536.0}}> ()
          shifted = Div (raised, scale)
          grey = Floor (shifted)
          planes = Unsqueeze (grey, first)"""


def _weights(name: str, given: str, wanted: str, antialias: bool) -> str:
    """ONNX text for the matrix `name` (m, n) of the module docstring; `given` and `wanted` name n and m (int64[1])."""
    n, m = f"{name}_n", f"{name}_m"
    widen = f"Max ({name}_scale, one)" if antialias else "Identity (one)"
    return f"""
          {n} = Cast <to = 1> ({given})
          {m} = Cast <to = 1> ({wanted})
          {name}_scale = Div ({n}, {m})
          {name}_reach = {widen}
          {name}_ones_m = ConstantOfShape <value = float[1] {{1.0}}> ({wanted})
          {name}_ones_n = ConstantOfShape <value = float[1] {{1.0}}> ({given})
          {name}_axis = Constant <value = int64 {{0}}> ()
          {name}_count_m = CumSum ({name}_ones_m, {name}_axis)
          {name}_count_n = CumSum ({name}_ones_n, {name}_axis)
          {name}_out = Sub ({name}_count_m, half)
          {name}_in = Sub ({name}_count_n, half)
          {name}_centre_flat = Mul ({name}_out, {name}_scale)
          {name}_centre = Unsqueeze ({name}_centre_flat, second)
          {name}_apart = Sub ({name}_in, {name}_centre)
          {name}_far = Abs ({name}_apart)
          {name}_share = Div ({name}_far, {name}_reach)
          {name}_near = Sub (one, {name}_share)
          {name}_raw = Relu ({name}_near)
          {name}_sum = ReduceSum <keepdims = 1> ({name}_raw, second)
          {name} = Div ({name}_raw, {name}_sum)"""


def _parsed(text: str) -> onnx.ModelProto:
    model: onnx.ModelProto = parse_model(f'<ir_version: 10, opset_import: ["" : {OPSET}]> {text}')
    onnx.checker.check_model(model)
    return model


def complete_onnx(
    network: onnx.ModelProto, channels: int, size: int, decision: Decision, notes: Mapping[str, str]
) -> onnx.ModelProto:
    """Compose the graph of a network (C = `channels`, S = `size`) with pre- and post-processing.

    `notes` and the decision, as JSON, are its metadata.

    The model maps uint8 `image` (H, W, 1 or 3) to uint8 `mask` (0 or 255) and float `probability`, both (H, W).
    """
    network_only = onnx.ModelProto()
    network_only.CopyFrom(network)
    if any(output.name == DISAGREEMENT for output in network_only.graph.output):
        network_only = onnx.utils.Extractor(network_only).extract_model([NETWORK_IMAGE], [LESION])
    parts = (
        compose.add_prefix(before_network(channels, size), "before/", rename_inputs=False, rename_outputs=False),
        network_only,
        compose.add_prefix(behind_network(size, decision), "behind/", rename_inputs=False, rename_outputs=False),
    )
    for part in parts:
        part.ir_version = network.ir_version
        _one_opset(part, network)
    joined = compose.merge_models(parts[0], parts[1], io_map=[(NETWORK_IMAGE, NETWORK_IMAGE)])
    complete: onnx.ModelProto = compose.merge_models(
        joined, parts[2], io_map=[(LESION, LESION), (_ORIGINAL_SIZE, _ORIGINAL_SIZE)]
    )
    complete.producer_name = "taichinet"
    for key, value in {**notes, "decision": decision.model_dump_json()}.items():
        complete.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(complete)
    return complete


def _one_opset(part: onnx.ModelProto, like: onnx.ModelProto) -> None:
    """Set the operator sets of `part` to those of `like`: composed models must list the same operator sets."""
    versions = {entry.domain: entry.version for entry in like.opset_import} | {
        entry.domain: entry.version for entry in part.opset_import if entry.domain not in ("", "ai.onnx")
    }
    del part.opset_import[:]
    for domain, version in versions.items():
        part.opset_import.add(domain=domain, version=version)


def complete_openvino(network: openvino.Model, channels: int, size: int, decision: Decision) -> openvino.Model:
    """Compose an OpenVINO model, float or int8, with pre- and post-processing. `network` is modified."""
    import openvino

    core = openvino.Core()
    before = core.read_model(before_network(channels, size).SerializeToString())
    behind = core.read_model(behind_network(size, decision).SerializeToString())
    _connect(before.output(NETWORK_IMAGE), network.input(0))
    _connect(network.output(LESION), behind.input(LESION))
    _connect(before.output(_ORIGINAL_SIZE), behind.input(_ORIGINAL_SIZE))
    complete = openvino.Model(behind.get_results(), before.get_parameters(), "taichinet")
    complete.set_rt_info(decision.model_dump_json(), ["taichinet", "decision"])
    return complete


def _connect(output: openvino.Output, replaced: openvino.Output) -> None:
    """Connect all consumers of the parameter `replaced` to the source of the result `output`."""
    source = output.get_node().input_value(0) if output.get_node().get_type_name() == "Result" else output
    for target in replaced.get_target_inputs():
        target.replace_source_output(source)
