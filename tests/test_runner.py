"""The runner, with only onnxruntime, numpy and Pillow installed, and its reader compared with that of `predict`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image

from taichinet import runner
from taichinet.datasets import image_io
from taichinet.errors import DataError
from taichinet.evaluation.decision import Decision
from taichinet.inference.export.graph import LESION, NETWORK_IMAGE
from taichinet.inference.export.processing import before_network, behind_network, complete_onnx

SIZE = 16
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")
SUFFIXES = ("png", "jpg", "bmp", "tif", "webp", "ppm", "pgm")
CLEAN_ENV = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def save_model(path: Path, operator: str, threshold: float = 0.5) -> Path:
    """An ONNX file whose network applies `operator` to its input."""
    network = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> same (float[1, 1, {SIZE}, {SIZE}] {NETWORK_IMAGE})'
        f" => (float[1, 1, {SIZE}, {SIZE}] {LESION}) {{ {LESION} = {operator} ({NETWORK_IMAGE}) }}"
    )
    onnx.save(complete_onnx(network, 1, SIZE, Decision(threshold=threshold), {"weights": "none"}), path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file whose network predicts a lesion where the image is bright."""
    return save_model(tmp_path_factory.mktemp("model") / "bright.onnx", "Identity")


def scene(height: int = 40, width: int = 50) -> NDArray[np.uint8]:
    pixels = np.random.default_rng(0).integers(0, 60, (height, width), dtype=np.uint8)
    pixels[10:30, 15:35] += 180
    return pixels


def test_runner_segments_without_torch_installed(model: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / "bin" / "python"
    packages = next((tmp_path / "bare").glob("lib/python*/site-packages"))
    for name in ("numpy", "onnxruntime", "PIL"):
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        installed = Path(spec.origin).parent
        (packages / name).symlink_to(installed)
        for libraries in (installed.with_name(f"{name}.libs"), installed.with_name("pillow.libs")):
            if not libraries.exists() or (packages / libraries.name).exists():
                continue
            (packages / libraries.name).symlink_to(libraries)
    shutil.copy(runner.__file__, packages / "runner.py")
    absent = subprocess.run([python, "-c", "import taichinet"], capture_output=True, text=True, env=CLEAN_ENV)
    assert "ModuleNotFoundError" in absent.stderr
    Image.fromarray(scene()).save(tmp_path / "scan.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "scan.png").read_bytes()[:300])
    np.save(tmp_path / "array.npy", scene(33, 61))
    Image.fromarray(scene()).save(tmp_path / "scan.jpg")
    images = [str(tmp_path / name) for name in ("scan.png", "broken.png", "array.npy", "scan.jpg")]
    done = subprocess.run(
        [python, "-m", "runner", model, *images, "-o", tmp_path / "out"],
        capture_output=True,
        text=True,
        env=CLEAN_ENV,
    )
    assert done.returncode == 7, done.stderr
    assert "broken.png" in done.stderr
    for name, pixels in (("scan_png", scene()), ("array", scene(33, 61))):
        mask = np.asarray(Image.open(tmp_path / "out" / f"{name}_mask.png"))
        expected = runner.Model(model).segment(pixels)
        np.testing.assert_array_equal(mask, expected.mask)
        probability = np.asarray(Image.open(tmp_path / "out" / f"{name}_probability.png"))
        np.testing.assert_allclose(probability / 255, expected.probability, atol=1 / 500)


def test_mask_covers_the_bright_region(model: Path) -> None:
    prediction = runner.Model(model).segment(scene())
    assert prediction.mask[15:25, 20:30].all()
    assert not prediction.mask[:5].any()
    colour = np.repeat(scene()[..., None], 3, axis=2)
    np.testing.assert_array_equal(runner.Model(model).segment(colour).mask, prediction.mask)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4, 4), np.uint8), np.zeros((0, 3), np.uint8), np.zeros((4, 4))])
def test_non_image_arrays_are_rejected(model: Path, pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        runner.Model(model).segment(pixels)


def write_image_files(folder: Path) -> list[Path]:
    """Files of every mode, bit depth and format that is read, and of many kinds that are rejected."""
    rng = np.random.default_rng(1)
    colour = Image.fromarray(rng.integers(0, 256, (23, 31, 4), dtype=np.uint8))
    grey = scene(23, 31)
    images = {mode: colour.convert("RGBA" if "A" in mode else "RGB").convert(mode) for mode in MODES}
    for kind, top in ((np.uint16, 257), (np.uint16, 16), (np.uint16, 1), (np.int32, 1), (np.int32, 2**20)):
        images[f"{kind.__name__}-{top}"] = Image.fromarray(np.multiply(grey, top, dtype=kind))
    images["negative"] = Image.fromarray(grey.astype(np.int32) - 90)
    images |= {f"float-{top}": Image.fromarray((grey * np.float32(top)).astype(np.float32)) for top in (1 / 255, 1, 9)}
    images["nan"] = Image.fromarray(np.full((4, 4), np.nan, dtype=np.float32))
    files = []
    for name, image in images.items():
        for turn in (1, 6):
            exif = Image.Exif()
            exif[0x0112] = turn
            for suffix in SUFFIXES:
                file = folder / f"{name.replace('/', '')}-{turn}.{suffix}"
                try:
                    image.save(file, exif=exif)
                except (OSError, ValueError):  # the format has no such mode
                    file.unlink(missing_ok=True)
                    continue
                files.append(file)
    Image.new("L", (8, 8)).save(folder / "pages.tif", save_all=True, append_images=[Image.new("L", (8, 8))])
    Image.new("L", (8, 8)).save(folder / "a.gif")
    (folder / "comment.pgm").write_bytes(b"P5\n# by hand\n31 23\n255\n" + grey.tobytes())
    (folder / "negative.pgm").write_bytes(b"P5\n-1 4\n255\n" + bytes(16))
    (folder / "half.png").write_bytes((folder / "L-1.png").read_bytes()[:300])
    return [*files, *(folder / f"{name}" for name in ("pages.tif", "a.gif", "comment.pgm", "negative.pgm", "half.png"))]


def test_runner_and_predict_read_the_same_pixels(tmp_path: Path) -> None:
    outcomes = []
    for file in write_image_files(tmp_path):
        try:
            pixels = runner.read_image(file)
        except ValueError as error:
            with pytest.raises(DataError, match=re.escape(str(error))):
                image_io.read_rgb(file)
            outcomes.append(False)
            continue
        expected = image_io.read_rgb(file) if pixels.ndim == 3 else image_io.read_grey(file)
        np.testing.assert_array_equal(pixels, expected, err_msg=str(file))
        outcomes.append(True)
    assert outcomes.count(True) > 80
    assert outcomes.count(False) >= 5


def run(model: Path, *images: Path, output: Path) -> int:
    return runner.main([str(model), *map(str, images), "-o", str(output)])


def test_runner_does_not_overwrite_files_it_did_not_write(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(scene()).save(tmp_path / "x.png")
    Image.fromarray(scene()).save(tmp_path / "x_mask.png")
    before = (tmp_path / "x_mask.png").read_bytes()
    assert run(model, tmp_path / "x.png", output=tmp_path) == 3
    assert "x_mask.png exists and was not written by this runner" in capsys.readouterr().err
    assert (tmp_path / "x_mask.png").read_bytes() == before
    assert run(model, tmp_path / "x.png", output=tmp_path / "out") == 0
    assert run(model, tmp_path / "x.png", output=tmp_path / "out") == 0
    both = [tmp_path / "out" / "x_mask.png", tmp_path / "x.png"]
    assert run(model, *both, output=tmp_path / "out") == 3


def test_images_with_the_same_stem_get_distinct_outputs(model: Path, tmp_path: Path) -> None:
    images = [tmp_path / "a" / "x.png", tmp_path / "a" / "x.bmp", tmp_path / "b" / "x.png"]
    for image, turned in zip(images, range(3), strict=True):
        image.parent.mkdir(exist_ok=True)
        Image.fromarray(np.rot90(scene(40, 40), turned)).save(image)
    assert run(model, *images, output=tmp_path / "out") == 0
    for name, image in zip(("x_png", "x_bmp", "x_png_2"), images, strict=True):
        expected = runner.Model(model).segment(runner.read_image(image)).mask
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / f"{name}_mask.png")), expected)


def test_unreadable_files_do_not_stop_the_run(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(scene()).save(tmp_path / "good.png")
    np.save(tmp_path / "float.npy", np.zeros((4, 4)))
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / "several.npz", scene())
    (tmp_path / "short.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{")
    bad = [tmp_path / name for name in ("float.npy", "object.npy", "several.npz", "short.npy", "absent.png")]
    assert run(model, *bad, tmp_path / "good.png", output=tmp_path / "out") == 7
    captured = capsys.readouterr()
    assert [line.split(":")[0] for line in captured.err.splitlines()] == [str(file) for file in bad]
    assert "good.png: lesion on" in captured.out
    assert run(model, *bad, output=tmp_path / "out") == 3


def test_probability_at_the_threshold_is_background(tmp_path: Path) -> None:
    model = save_model(tmp_path / "zero.onnx", "Identity", threshold=0.0)
    pixels = np.zeros((8, 9), np.uint8)
    assert not runner.Model(model).segment(pixels).mask.any()
    pixels[:] = 1
    assert runner.Model(model).segment(pixels).mask.all()


def test_non_finite_output_is_an_error(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = save_model(tmp_path / "log.onnx", "Log")  # minus infinity for a black pixel
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / "black.png")
    assert run(broken, tmp_path / "black.png", output=tmp_path / "out") == 3
    assert "not finite" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())
    assert run(model, tmp_path / "black.png", output=tmp_path / "out") == 0


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_error_names_a_model_that_cannot_be_opened(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "bad.onnx").write_bytes(content)
    assert run(tmp_path / "bad.onnx", tmp_path / "x.png", output=tmp_path / "out") == 5
    assert "bad.onnx: cannot be opened as an ONNX model" in capsys.readouterr().err


def test_command_line_imports_no_heavy_package() -> None:
    heavy = ("torch", "scipy", "pandas", "matplotlib", "onnx", "onnxruntime", "openvino", "monai", "timm")
    code = f"import sys, taichinet.cli.app; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_processing_graphs_name_their_outputs() -> None:
    assert [output.name for output in before_network(1, SIZE).graph.output] == ["network_image", "native_size"]
    assert [output.name for output in behind_network(SIZE, Decision()).graph.output] == ["mask", "probability"]
