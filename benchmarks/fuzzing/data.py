"""Targets that read data sets: zips, tables, MONAI's and nnU-Net's indexes, fold plans."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import asdict
from functools import partial
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from fuzzing.images import encode, small_phantom
from fuzzing.mutations import NAMES, VALUES, mutate_bytes, mutate_json, mutate_png, mutate_zip, zip_of
from fuzzing.target import Case, Target, WrongValueError
from taichinet.datasets import image_io
from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.folds import FoldPlan, make_folds, read_folds, verify_folds
from taichinet.datasets.manifest import Manifest
from taichinet.datasets.readers.tables import read_rows

Files = dict[str, bytes]
_MOST_SAMPLES = 100
_MOST_ROWS = 100_000


def folder_files(count: int = 4) -> Files:
    """A plain data set of `count` tiny images with masks."""
    files: Files = {}
    for number in range(count):
        grey, lesion = small_phantom(number, 16)
        files[f"images/case{number}.png"] = encode(Image.fromarray(grey), "PNG")
        files[f"masks/case{number}.png"] = encode(Image.fromarray(lesion.astype(np.uint8) * 255), "PNG")
    return files


def _exported(folder: Path, form: str) -> Files:
    """The files of an export of `folder_files` to MONAI's or nnU-Net's form."""
    from taichinet.datasets.interchange.export import export_monai, export_nnunet

    source = folder / "source"
    Case(folder_files()).write(source)
    manifest = open_dataset(f"folder={source}")
    plan = make_folds(manifest, (), "paper", 0, 2)
    out = folder / form
    if form == "monai":
        export_monai(manifest, out, plan)
    else:
        out = export_nnunet(manifest, out, 500, plan)
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def _check_samples(manifest: Manifest, within: Path) -> None:
    """Every sample is inside the given folder, and there are not more samples than the files can define."""
    if len(manifest.samples) > _MOST_SAMPLES:
        raise WrongValueError(f"{len(manifest.samples)} samples of a few files")
    for sample in manifest:
        for file in (sample.image, *(mask.file for mask in sample.masks)):
            if isinstance(file, Path) and not file.resolve().is_relative_to(within.resolve()):
                raise WrongValueError(f"a sample outside of the data set: {file}")
        image_io.read_grey(sample.image)
        for mask in sample.masks:
            manifest.files.mask(mask)


def _make_zip(files: Files, random: Random) -> Case:
    change = mutate_png if random.randrange(2) else mutate_bytes
    return Case({"data.zip": mutate_zip(random, files, change)})


def _check_zip(folder: Path, _: Case) -> None:
    _check_samples(open_dataset(f"folder={folder / 'data.zip'}"), folder)


def _make_index(files: Files, indexes: tuple[str, ...], random: Random) -> Case:
    changed = dict(files)
    index = random.choice(indexes)
    if random.randrange(10) == 0:
        images = [name for name in files if name.endswith(".png")]
        changed[random.choice(images)] = mutate_bytes(random, files[random.choice(images)])
    else:
        changed[index] = mutate_json(random, json.loads(files[index]))
    return Case(changed)


def _check_index(name: str, folder: Path, _: Case) -> None:
    _check_samples(open_dataset(f"{name}={folder}"), folder)


_ROWS = [["image", "class", "patient"], ["case1.png", "benign", "1"], ["case2.png", "malignant", "2"], ["3", "", "x"]]


def _sheet_files() -> Files:
    """The members of a small .xlsx, the same in every process."""
    from openpyxl import Workbook

    book = Workbook()
    for row in _ROWS:
        book.active.append(row)
    buffer = BytesIO()
    book.save(buffer)
    with zipfile.ZipFile(buffer) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return {name: re.sub(rb"20[0-9-]{8}T[0-9:]{8}", b"2026-01-01T00:00:00", data) for name, data in files.items()}


def _make_table(sheet: Files, random: Random) -> Case:
    if random.randrange(20) == 0:  # the slow one
        name = "xl/worksheets/sheet1.xml"
        far = random.choice((b'r="XFD1048576"', b'r="A99999999"', b'r="ZZZZ1"', b'r=""', b't="e"', b't="d"'))
        changed = {**sheet, name: sheet[name].replace(random.choice((b'r="A1"', b'r="B3"', b't="s"')), far, 1)}
        change = changed if random.randrange(3) else {**sheet, name: mutate_bytes(random, sheet[name])}
        content = zip_of(change) if random.randrange(2) else mutate_zip(random, change, mutate_bytes)
        return Case({"table.xlsx": content})
    rows = [list(row) for row in _ROWS]
    for _ in range(random.randrange(4)):
        row = random.choice(rows)
        row[random.randrange(3)] = str(random.choice((*VALUES, *NAMES, '"', "a;b", "a,b", "\r", "ä")))[:6000]
    comma = random.choice((",", ";", "\t", ", "))
    encoding = random.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    content = "\n".join(comma.join(row) for row in rows).encode(encoding, "replace")
    return Case({"table.csv": mutate_bytes(random, content) if random.randrange(2) else content})


def _check_table(folder: Path, case: Case) -> None:
    """The rows have the requested columns, and there are not more rows than the size of the file allows."""
    rows = read_rows(folder / next(iter(case.files)), ("image", "class"))
    if len(rows) > _MOST_ROWS or any("image" not in row for row in rows):
        raise WrongValueError(f"{len(rows)} rows, or one without the column that was asked for")


def _make_plan(plan: Any, random: Random) -> Case:
    return Case({"plan.json": mutate_json(random, plan)})


def _check_plan(manifest: Manifest, folder: Path, _: Case) -> None:
    plan = read_folds(folder / "plan.json")
    verify_folds(plan, manifest)
    check_folds(plan, manifest)


def check_folds(plan: FoldPlan, manifest: Manifest) -> None:
    """An accepted plan tests every image at most once and splits no group if its protocol keeps groups together."""
    if plan.count > len(manifest.samples):
        raise WrongValueError(f"{plan.count} folds of {len(manifest.samples)} images")
    seen: list[str] = []
    for fold in range(plan.count):
        split = plan.split(fold, manifest.labels, 0.5)
        seen += split.test
        parts = (set(split.train), set(split.validation), set(split.test))
        if parts[0] & parts[2] or parts[1] & parts[2] or parts[0] & parts[1]:
            raise WrongValueError(f"fold {fold} has an image in two parts")
        if plan.protocol == "grouped":
            for group in plan.groups:
                if 0 < len(parts[2] & set(group)) < len(group):
                    raise WrongValueError(f"fold {fold} splits the group {group}")
    if len(seen) != len(set(seen)) or not set(seen) <= set(manifest.keys):
        raise WrongValueError("an image is tested twice, or is not of the data")


def targets(seeds: Path) -> list[Target]:
    """The targets of this file; `seeds` is a folder to write into."""
    files, sheet = folder_files(), _sheet_files()
    monai, nnunet = _exported(seeds / "monai", "monai"), _exported(seeds / "nnunet", "nnunet")
    Case(folder_files(12)).write(seeds / "plan")
    manifest = open_dataset(f"folder={seeds / 'plan'}")
    groups = (("case0", "case1"), ("case2", "case3", "case4"))
    plan = json.loads(json.dumps(asdict(make_folds(manifest, groups, "grouped", 0, 3))))
    nnunet_indexes = tuple(name for name in nnunet if name.endswith(".json"))
    read = "train, evaluate, data check, data export"
    return [
        Target("zip", read, partial(_make_zip, files), _check_zip, 10),
        Target("monai", read, partial(_make_index, monai, ("datalist.json",)), partial(_check_index, "monai"), 10),
        Target("nnunet", read, partial(_make_index, nnunet, nnunet_indexes), partial(_check_index, "nnunet"), 10),
        Target("table", read, partial(_make_table, sheet), _check_table, 20),
        Target("folds", "train, compare", partial(_make_plan, plan), partial(_check_plan, manifest), 15),
    ]
