"""Pre- and post-processing of an exported file: resizing and normalisation; original resolution and threshold.

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

import onnx
from onnx.parser import parse_model

from taichinet.inference.export.graph import LESION, NETWORK_IMAGE, OPSET

IMAGE, MASK, PROBABILITY = "image", "mask", "probability"
_NATIVE_SIZE = "native_size"

# ITU-R 601 luma as Pillow computes it, in units of 2^-16.
_LUMA = (19595, 38470, 7471)


def before_network(channels: int, size: int) -> onnx.ModelProto:
    """uint8 `image` (H, W, 1 or 3) -> float `network_image` (1, C, S, S) in [0, 1] and int64 `original_size` (2)."""
    return _parsed(
        f"""
        before (uint8[height, width, depth] {IMAGE})
            => (float[1, {channels}, {size}, {size}] {NETWORK_IMAGE}, int64[2] {_NATIVE_SIZE})
        {{
          first = Constant <value = int64[1] {{0}}> ()
          second = Constant <value = int64[1] {{1}}> ()
          third = Constant <value = int64[1] {{2}}> ()
          three = Constant <value = int64[1] {{3}}> ()
          shape = Shape ({IMAGE})
          {_NATIVE_SIZE} = Slice (shape, first, third)
          colour_shape = Concat <axis = 0> ({_NATIVE_SIZE}, three)
          as_float = Cast <to = 1> ({IMAGE})
          colour = Expand (as_float, colour_shape)
          {_grey() if channels == 1 else "planes = Transpose <perm = [2, 0, 1]> (colour)"}
          height_pixels = Slice ({_NATIVE_SIZE}, first, second)
          width_pixels = Slice ({_NATIVE_SIZE}, second, third)
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


def behind_network(size: int, threshold: float) -> onnx.ModelProto:
    """Float `lesion` (1, 1, S, S) and int64 `original_size` -> uint8 `mask` (0 or 255), float `probability`: (H, W)."""
    return _parsed(
        f"""
        behind (float[1, 1, {size}, {size}] {LESION}, int64[2] {_NATIVE_SIZE})
            => (uint8[height, width] {MASK}, float[height, width] {PROBABILITY})
        {{
          first = Constant <value = int64[1] {{0}}> ()
          second = Constant <value = int64[1] {{1}}> ()
          third = Constant <value = int64[1] {{2}}> ()
          one = Constant <value = float {{1.0}}> ()
          half = Constant <value = float {{0.5}}> ()
          height_pixels = Slice ({_NATIVE_SIZE}, first, second)
          width_pixels = Slice ({_NATIVE_SIZE}, second, third)
          given = Constant <value = int64[1] {{{size}}}> ()
          {_weights("across", "given", "width_pixels", antialias=False)}
          {_weights("down", "given", "height_pixels", antialias=False)}
          across_turned = Transpose <perm = [1, 0]> (across)
          both = Constant <value = int64[2] {{0, 1}}> ()
          plane = Squeeze ({LESION}, both)
          widened = MatMul (plane, across_turned)
          native = MatMul (down, widened)
          least = Constant <value = float {{0.0}}> ()
          {PROBABILITY} = Clip (native, least, one)
          limit = Constant <value = float {{{threshold!r}}}> ()
          above = Greater ({PROBABILITY}, limit)
          painted = Constant <value = uint8 {{255}}> ()
          empty = Constant <value = uint8 {{0}}> ()
          {MASK} = Where (above, painted, empty)
        }}
        """
    )


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
