"""Networks from outside the package on the command line, with the files in the pages of docs."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from documents.pages import named_files
from PIL import Image

from cli.test_commands import run
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import FoldError, SettingError, WeightsError
from taichinet.models import catalogue
from taichinet.storage.digest import digest_file

EXAMPLES = named_files()
PACKAGES = {"smp_unet.py": "segmentation_models_pytorch", "monai_unet.py": "monai", "timm_fpn.py": "timm"}
SETTINGS = ("data.size=64", "data.folds=2", "data.validation_share=0.25", "training.epochs=1")


def arguments(data: Path, out: Path, *settings: str) -> list[str]:
    return ["--data", str(data), "--output", str(out), *(arg for s in (*SETTINGS, *settings) for arg in ("--set", s))]


def forget_code() -> None:
    """As in a new process: no network of a file is loaded."""
    for model in [model for model in catalogue.CATALOGUE if "@" in model]:
        del catalogue.CATALOGUE[model]


@pytest.fixture(autouse=True)
def _separate_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("models.catalogue", "models.weights"):
        monkeypatch.setattr(f"taichinet.{module}.CATALOGUE", catalogue.CATALOGUE)
    forget_code()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 8, 8, 2, seed=1, size=(64, 96))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    for name, text in EXAMPLES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def runs(data: Path, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    run("train", f"{files}/mynet.py:MyNet", *arguments(data, out, "options.width=4"))
    return out


@pytest.fixture
def study(runs: Path) -> Path:
    return runs / "busi" / "own-MyNet" / "grouped"


def test_weights_have_a_copy_of_the_file_and_record_its_digest_and_class(study: Path, files: Path) -> None:
    weights = study / "fold-0" / "weights"
    assert (weights / "mynet.py").read_bytes() == (files / "mynet.py").read_bytes()
    config = json.loads((weights / "config.json").read_text())
    digest = digest_file(files / "mynet.py")
    assert config["code"] == {"file": "mynet.py", "name": "MyNet", "sha256": digest}
    assert config["model"] == f"MyNet@{digest[:16]}"
    assert config["options"] == {"width": 4}


def test_every_command_refuses_the_weights_by_default_and_names_the_code(
    study: Path, data: Path, tmp_path: Path
) -> None:
    image = next((data / "benign").glob("*).png"))
    for command in (
        ("predict", image, "-o", tmp_path / "masks", "--weights", study),
        ("evaluate", study, "--data", data),
        ("export", study / "fold-0/weights", "-o", tmp_path / "x.onnx", "--images", data),
        ("package-weights", study / "fold-0", "-o", tmp_path / "packed"),
    ):
        with pytest.raises(WeightsError, match=r"would execute .*mynet\.py \(SHA-256 [0-9a-f]{64}\).*--trust-code"):
            run(*command)


def test_trusted_weights_are_evaluated_with_the_scores_of_the_training(study: Path, data: Path, tmp_path: Path) -> None:
    run("evaluate", study, "--data", data, "--output", tmp_path, "--trust-code")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "scores.csv"), pd.read_csv(study / "scores.csv"), atol=1e-5)


def test_trusted_weights_predict_masks_of_the_size_of_the_image(study: Path, data: Path, tmp_path: Path) -> None:
    image = next((data / "benign").glob("*).png"))
    run("predict", image, "-o", tmp_path, "--weights", study / "fold-0", "--trust-code")
    with Image.open(image) as scan, Image.open(tmp_path / f"{image.stem}_mask.png") as mask:
        assert mask.size == scan.size


def test_trusted_weights_are_packaged_with_their_code(study: Path, data: Path, tmp_path: Path) -> None:
    run("package-weights", study / "fold-0", "-o", tmp_path / "packed", "--trust-code")
    forget_code()
    with pytest.raises(WeightsError, match="would execute"):
        run("evaluate", tmp_path / "packed", "--data", data)
    image = next((data / "benign").glob("*).png"))
    run("predict", image, "-o", tmp_path / "masks", "--weights", tmp_path / "packed")  # the graph has no code
    run("evaluate", tmp_path / "packed", "--data", data, "--trust-code")


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")
def test_trusted_weights_are_exported(study: Path, data: Path, tmp_path: Path) -> None:
    weights = study / "fold-0" / "weights"
    run("export", weights, "-o", tmp_path / "x.onnx", "--images", data, "--trust-code")
    assert (tmp_path / "x.onnx").is_file()


def test_changed_copy_of_the_code_is_not_executed(study: Path, data: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    for file in (study / "fold-0" / "weights").iterdir():
        if file.is_file():
            (weights / file.name).write_bytes(file.read_bytes())
    with (weights / "mynet.py").open("a") as code:
        code.write(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    with pytest.raises(WeightsError, match=r"mynet\.py was changed after the training.*was not executed"):
        run("evaluate", weights, "--data", data, "--trust-code")
    assert not (tmp_path / "executed").exists()


def test_training_is_not_resumed_with_a_changed_file(runs: Path, files: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "mynet.py").write_text(EXAMPLES["mynet.py"] + "\n# changed\n", encoding="utf-8")
    with pytest.raises(FoldError, match=r"model was MyNet@\w+ and is MyNet@\w+ now"):
        run("train", f"{tmp_path}/mynet.py:MyNet", *arguments(data, runs, "options.width=4"), "--resume")
    run("train", f"{files}/mynet.py:MyNet", *arguments(data, runs, "options.width=4"), "--resume")


def test_report_lists_the_network_without_executing_its_code(runs: Path, study: Path, tmp_path: Path) -> None:
    name = json.loads((study / "summary.json").read_text())["experiment"]["model"]
    run("report", runs, "-o", tmp_path / "results.md")
    assert name in (tmp_path / "results.md").read_text()
    run("report", runs, "-o", tmp_path / "report.html")


@pytest.mark.parametrize("file", PACKAGES)
def test_network_of_another_library_is_trained_and_loaded(file: str, files: Path, data: Path, tmp_path: Path) -> None:
    if find_spec(PACKAGES[file]) is None:
        pytest.skip(f"{PACKAGES[file]} is not installed")
    name = "TimmFPN" if file == "timm_fpn.py" else file.removesuffix(".py")
    narrow = {"monai_unet.py": ("options.channels=[4,8]",), "timm_fpn.py": ("options.width=4",)}.get(file, ())
    run("train", f"{files}/{file}:{name}", *arguments(data, tmp_path, *narrow), "--fold", 0)
    forget_code()
    weights = tmp_path / "busi" / f"own-{name}" / "grouped" / "fold-0"
    run("evaluate", weights, "--data", data, "--output", tmp_path / "scores", "--trust-code")
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "scores" / "scores.csv"), pd.read_csv(weights / "scores.csv"), atol=1e-4
    )


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("{files}/mynet.py", r"does not name a network\. Write FILE\.py:CLASS"),
        ("{files}/absent.py:MyNet", "absent.py cannot be read"),
        ("{files}/mynet.py:YourNet", r"no class or function 'YourNet'\. It has: MyNet"),
    ],
)
def test_wrong_name_of_a_network_is_refused(recipe: str, message: str, files: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=message):
        run("train", recipe.format(files=files), *arguments(data, tmp_path))
    assert list(tmp_path.iterdir()) == []


ENDS = """
import sys
from torch import nn
class {name}(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)
    def forward(self, image):
        {forward}
        return self.layer(image)
{end}
"""


def test_files_that_print_or_end_the_program(data: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "net.py", tmp_path / "runs"
    for forward, end, message in (
        ("pass", "sys.exit(0)", r"net\.py cannot be executed \(SystemExit: 0\)"),
        ("sys.exit(0)", "", r"called sys\.exit\(0\)"),
    ):
        file.write_text(ENDS.format(name="Ends", forward=forward, end=end))
        with pytest.raises(SettingError, match=message):
            run("train", f"{file}:Ends", *arguments(data, out))
    file.write_text(ENDS.format(name="Prints", forward="print(image.shape)", end="print('loaded')"))
    assert json.loads(run("train", f"{file}:Prints", *arguments(data, out), "--fold", "0", "--json"))["folder"]
