"""The runner: in an environment of onnxruntime and numpy alone, and its decoder against Pillow's."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import venv
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image

from taichinet import runner
from taichinet.inference.export.graph import LESION, NETWORK_IMAGE
from taichinet.inference.export.surroundings import before_network, behind_network
from taichinet.inference.export.whole import whole_onnx

SIZE = 16


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose network says that what is bright is lesion: its output is its input."""
    network = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> same (float[1, 1, {SIZE}, {SIZE}] {NETWORK_IMAGE})'
        f" => (float[1, 1, {SIZE}, {SIZE}] {LESION}) {{ {LESION} = Identity ({NETWORK_IMAGE}) }}"
    )
    path = tmp_path_factory.mktemp("model") / "bright.onnx"
    onnx.save(whole_onnx(network, 1, SIZE, 0.5, {"weights": "none"}), path)
    return path


def scene(height: int = 40, width: int = 50) -> NDArray[np.uint8]:
    pixels = np.random.default_rng(0).integers(0, 60, (height, width), dtype=np.uint8)
    pixels[10:30, 15:35] += 180
    return pixels


def test_an_environment_without_torch_and_pillow_segments(model: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / "bin" / "python"
    packages = next((tmp_path / "bare").glob("lib/python*/site-packages"))
    for name in ("numpy", "onnxruntime", "taichinet"):
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        installed = Path(spec.origin).parent
        (packages / name).symlink_to(installed)
        libraries = installed.with_name(f"{name}.libs")
        if libraries.exists():
            (packages / libraries.name).symlink_to(libraries)
    absent = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True)
    assert "ModuleNotFoundError" in absent.stderr
    Image.fromarray(scene()).save(tmp_path / "scan.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "scan.png").read_bytes()[:300])
    np.save(tmp_path / "array.npy", scene(33, 61))
    Image.fromarray(scene()).save(tmp_path / "scan.jpg")
    images = [str(tmp_path / name) for name in ("scan.png", "broken.png", "array.npy", "scan.jpg")]
    done = subprocess.run(
        [python, "-m", "taichinet.runner", model, *images, "-o", tmp_path / "out"], capture_output=True, text=True
    )
    assert done.returncode == 7, done.stderr
    assert "broken.png" in done.stderr
    assert "install Pillow" in done.stderr
    for name, pixels in (("scan", scene()), ("array", scene(33, 61))):
        mask = np.asarray(Image.open(tmp_path / "out" / f"{name}_mask.png"))
        expected = runner.Model(model).segment(pixels)
        np.testing.assert_array_equal(mask, expected.mask)
        probability = np.asarray(Image.open(tmp_path / "out" / f"{name}_probability.png"))
        np.testing.assert_allclose(probability / 255, expected.probability, atol=1 / 500)
    loaded = subprocess.run(
        [python, "-c", "import taichinet.runner, sys, json; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
    )
    assert not {"torch", "PIL", "scipy", "typer"} & set(json.loads(loaded.stdout))


def test_the_mask_is_where_the_image_is_bright(model: Path) -> None:
    found = runner.Model(model).segment(scene())
    assert found.mask[15:25, 20:30].all()
    assert not found.mask[:5].any()
    colour = np.repeat(scene()[..., None], 3, axis=2)
    np.testing.assert_array_equal(runner.Model(model).segment(colour).mask, found.mask)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4, 4), np.uint8), np.zeros((0, 3), np.uint8), np.zeros((4, 4))])
def test_arrays_that_are_no_image_are_refused(model: Path, pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        runner.Model(model).segment(pixels)


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA", "P", "1", "I;16"])
def test_every_kind_of_png_is_read_as_pillow_reads_it(mode: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (23, 31)).astype(np.uint16))
        expected = (np.asarray(image) >> 8).astype(np.uint8)
    else:
        image = Image.fromarray(rng.integers(0, 256, (23, 31, 4), dtype=np.uint8))
        image = image.convert("RGBA" if "A" in mode else "RGB").convert(mode)
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        flat = Image.alpha_composite(black, image.convert("RGBA")) if "A" in mode else image
        expected = np.asarray(flat.convert("L" if mode in ("L", "1", "LA") else "RGB"))
    image.save(tmp_path / "x.png")
    found = runner.read_image(tmp_path / "x.png")
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1 if "A" in mode else 0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4])
def test_every_filter_of_png_is_undone(kind: int, channels: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(kind).integers(0, 256, (6, 7, channels), dtype=np.uint8)
    rows = pixels.reshape(6, -1).astype(int)
    lines = b""
    for y in range(6):
        line = []
        for x in range(rows.shape[1]):
            left = rows[y, x - channels] if x >= channels else 0
            up = rows[y - 1, x] if y else 0
            corner = rows[y - 1, x - channels] if y and x >= channels else 0
            paeth = min(
                (abs(up - corner), 0, left), (abs(left - corner), 1, up), (abs(left + up - 2 * corner), 2, corner)
            )
            guess = [0, left, up, (left + up) // 2, paeth[2]][kind]
            line.append((rows[y, x] - guess) % 256)
        lines += bytes([kind, *line])
    header = struct.pack(">IIBBBBB", 7, 6, 8, 0 if channels == 1 else 2, 0, 0, 0)
    content = runner._PNG
    for name, part in ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        content += struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
    (tmp_path / "x.png").write_bytes(content)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x.png")).reshape(pixels.shape), pixels)
    np.testing.assert_array_equal(runner.read_image(tmp_path / "x.png").reshape(pixels.shape), pixels)


def test_netpbm_with_a_comment_is_read(tmp_path: Path) -> None:
    pixels = scene(9, 11)
    (tmp_path / "x.pgm").write_bytes(b"P5\n# by hand\n11 9\n255\n" + pixels.tobytes())
    np.testing.assert_array_equal(runner.read_image(tmp_path / "x.pgm"), pixels)
    Image.fromarray(np.dstack([pixels] * 3)).save(tmp_path / "x.ppm")
    np.testing.assert_array_equal(runner.read_image(tmp_path / "x.ppm"), np.dstack([pixels] * 3))


def test_the_command_line_loads_no_heavy_package() -> None:
    heavy = ("torch", "scipy", "pandas", "matplotlib", "onnx", "onnxruntime", "openvino", "monai", "timm")
    code = f"import sys, taichinet.cli.app; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_surroundings_name_what_they_take_and_give() -> None:
    assert [output.name for output in before_network(1, SIZE).graph.output] == ["network_image", "native_size"]
    assert [output.name for output in behind_network(SIZE, 0.5).graph.output] == ["mask", "probability"]
