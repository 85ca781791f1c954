"""The folder in which the commands of a page run: phantoms under the names in the pages, and finished trainings."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cli.test_commands import run
from conftest import BuildOnce
from fakes.bus_uclm import make_fake_bus_uclm
from fakes.ddti import make_fake_ddti
from fakes.drishti_gs import make_fake_drishti_gs
from fakes.udiat import make_fake_udiat
from PIL import Image

from documents.pages import ROOT, named_files
from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.phantoms.folder import write_phantom_busi

TINY = {
    "data.size": 32,
    "data.folds": 2,
    "data.validation_share": 0.5,
    "training.epochs": 1,
    "training.batch_size": 8,
    "training.warmup_epochs": 0,
    "mining.epochs": 1,
    "mining.width": 2,
}
"""The settings that replace those of every command that trains, so that a fold takes less than a second."""


def tiny(words: list[str]) -> list[str]:
    """The words of a command, with `TINY` if it trains, in one process, and with one fold if it compares.

    Pages show alternatives for one folder of runs: a training overwrites that of an earlier command.
    """
    if words[:2] == ["data", "bundle"]:
        return [*words, "--size", str(TINY["data.size"])]
    if words[0] not in ("train", "compare"):
        return words
    if words[0] == "train" and "--resume" not in words:
        words = [*words, "--overwrite"]
    elif words[0] == "compare" and "--fold" not in words:
        words = [*words, "--fold", "0"]
    while "--jobs" in words:
        index = words.index("--jobs")
        words = [*words[:index], *words[index + 2 :]]
    return [*words, *(word for key, value in TINY.items() for word in ("--set", f"{key}={value}"))]


def busi(folder: Path) -> None:
    write_phantom_busi(folder, 12, 10, 5, seed=1, size=(64, 80))


def own(folder: Path) -> None:
    """A user's own folder: images and masks, two images per patient."""
    source = write_phantom_busi(folder.with_name(f"{folder.name}-source"), 6, 6, 0, seed=2, size=(64, 80))
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number, file in enumerate(sorted(source.glob("*/*).png"))):
        name = f"P{number // 2 + 1:02}_{number % 2 + 1}.png"
        shutil.copy(file, folder / "images" / name)
        shutil.copy(file.with_name(f"{file.stem}_mask.png"), folder / "masks" / name)


def images(folder: Path) -> None:
    """Two images without masks."""
    folder.mkdir()
    for number in (1, 2):
        image(folder / f"scan{number}.png")


def image(file: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
    Image.fromarray(grey).save(file, format="PPM" if file.suffix == ".pgm" else "PNG")


def masks_of_busi(folder: Path) -> None:
    """Masks that another program predicted for the phantoms."""
    busi(data := folder.with_name(f"{folder.name}-source"))
    manifest = open_dataset(data, include_normal=False)
    folder.mkdir()
    for sample in manifest:
        Image.fromarray(manifest.region_masks(sample)[0]).convert("L").save(folder / f"{sample.key}.png")


def fake(make: Callable[[Path], Path]) -> Callable[[Path], None]:
    """Write a fake of a data set into `folder`."""

    def write(folder: Path) -> None:
        make(folder.with_name(f"{folder.name}-source")).rename(folder)

    return write


PATIENTS = ("ALWI", "ANAT", "ANFO", "CHID", "EVFE", "FUHI")  # enough for two folds with validation
KINDS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "busi": (busi, ("Dataset_BUSI_with_GT", "data/BUSI", "BUSI", "DIR", "phantoms", "taichinet-demo/phantoms")),
    "bus-uclm": (fake(partial(make_fake_bus_uclm, patients=PATIENTS)), ("BUS-UCLM", "data/BUS-UCLM")),
    "ddti": (fake(partial(make_fake_ddti, count=9)), ("DDTI", "data/DDTI")),
    "drishti-gs": (fake(partial(make_fake_drishti_gs, training=8)), ("Drishti-GS",)),
    "udiat": (fake(partial(make_fake_udiat, count=15)), ("DatasetB", "BUS")),
    "own": (own, ("my-folder", "my-data")),
    "images": (images, ("images", "scans", "my-images")),
    "png": (image, ("image.png", "scan1.png")),
    "pgm": (image, ("scan2.pgm",)),
    "predictions": (masks_of_busi, ("predictions", "nnunet-masks")),
}
"""What the pages call data: how it is made, and its names in the pages."""
SHARED_FOLDS = ("runs/folds/FILE.json", "runs/folds/busi-lesions-grouped-5folds-seed0.json")
"""Names of fold files in the pages; here each is the file of two folds, as in `TINY`."""
STUDY = re.compile(r"runs/(?P<data>[\w+-]+)/(?P<recipe>[\w+-]+)/(?P<protocol>grouped|paper)\b")
DATA_OF_RUNS = {"busi": "Dataset_BUSI_with_GT", "bus-uclm": "BUS-UCLM", "clinic": "my-folder"}
WEIGHTS = "runs/busi/cpu-unet/grouped/fold-0/weights"
STANDARD = ("cpu-unet", "own-MyNet")
EXPORTED = ("lesion.onnx", "lesion.xml")


class PageFolder:
    """The current folder of the commands of a page. What several pages need is made once, and copied."""

    def __init__(self, folder: Path, build_once: BuildOnce) -> None:
        self.folder, self._build_once = folder, build_once
        for kind, (make, names) in KINDS.items():
            made = build_once(f"page-{kind}{Path(names[0]).suffix}", make)
            for name in names:
                self._place(made, name)
        for name, text in named_files().items():
            (folder / name).write_text(text, encoding="utf-8")

    def _place(self, source: Path, name: str) -> None:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)

    def provide(self, words: Iterable[str]) -> None:
        """Place what a command reads and no earlier command of the page has made: trainings, folds, weights, files."""
        for word in (word.rstrip("/") for word in words):
            study = STUDY.search(word)
            if (self.folder / (study[0] if study else word)).exists():
                continue
            if study and (study["data"], study["protocol"]) == ("busi", "grouped") and study["recipe"] in STANDARD:
                self._place(self._standard_runs() / study[0], study[0])
            elif study:
                self._place(self._trained(study["data"], study["recipe"], study["protocol"]) / study[0], study[0])
            elif word in SHARED_FOLDS:
                (plan,) = (self._standard_runs() / "runs/folds").glob("*.json")
                self._place(plan, word)
            elif word in ("WEIGHTS", "weights"):
                self._place(self._standard_runs() / WEIGHTS, word)
            elif word == "runs":
                self._place(self._standard_runs() / word, word)
            elif word == "results-archive":
                self._place(self._archived(), word)
            elif word in EXPORTED:
                for file in self._exported(word).iterdir():
                    self._place(file, file.name)
            elif (ROOT / word).is_file():
                self._place(ROOT / word, word)

    def _standard_runs(self) -> Path:
        """A folder with the `runs` of the U-Net and of an own network on the same folds."""

        def train(folder: Path) -> None:
            words = ["compare", "mynet.py:MyNet", "--against", "unet", "--data", "Dataset_BUSI_with_GT"]
            run(*tiny([*words, "--fold", "0-1", "-o", str(folder / "runs")]))

        return self._build_once("page-runs", train)

    def _trained(self, data: str, recipe: str, protocol: str) -> Path:
        """A folder with the `runs` of one recipe."""

        def train(folder: Path) -> None:
            given = [word for name in data.split("+") for word in ("--data", f"{name}={DATA_OF_RUNS[name]}")]
            network = "mynet.py:MyNet" if recipe == "own-MyNet" else recipe
            run(*tiny(["train", network, *given, "--protocol", protocol, "-o", str(folder / "runs")]))

        return self._build_once(f"page-runs-{data}-{recipe}-{protocol}", train)

    def _archived(self) -> Path:
        """The archive of the standard runs."""
        return self._build_once(
            "page-archive", lambda folder: run("archive", self._standard_runs() / "runs", "-o", folder)
        )

    def _exported(self, name: str) -> Path:
        """A folder with an exported network."""
        given = ("--format", "openvino" if name.endswith(".xml") else "onnx", "--images", "Dataset_BUSI_with_GT")

        def export(folder: Path) -> None:
            folder.mkdir()
            shutil.copytree(self._standard_runs() / WEIGHTS, folder.with_name(f"{folder.name}-weights"))
            run("export", folder.with_name(f"{folder.name}-weights"), *given, "-o", folder / name)

        return self._build_once(f"page-{name}", export)

    def names(self) -> dict[str, Any]:
        """The variables that snippets use without defining them."""
        with Image.open(self.folder / "image.png") as opened:
            return {"path": self.folder / "image.png", "grey": np.asarray(opened.convert("L"))}
