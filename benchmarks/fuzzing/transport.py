"""Targets that read what another machine wrote: bundles of data sets, and archives of runs."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fuzzing.data import check_folds, folder_files
from fuzzing.mutations import NAMES, VALUES, mutate_bytes, mutate_json, mutate_png, zip_of
from fuzzing.target import Case, Target, WrongValueError
from taichinet.datasets.bundle.read import BundledFiles
from taichinet.datasets.bundle.record import RECORD_FILE, THUMBNAILS_FILE
from taichinet.datasets.bundle.write import make_bundle, write_bundle
from taichinet.datasets.checks.bundled import check_bundle
from taichinet.datasets.manifest import Manifest
from taichinet.evaluation.aggregate import COLUMNS, aggregate
from taichinet.evaluation.undefined import SCORES, SUFFIX
from taichinet.experiments.cross_validate import summarise_study
from taichinet.experiments.experiment import Experiment, vary
from taichinet.experiments.recipes.catalogue import get_recipe
from taichinet.experiments.records import RESULT_FILE, SCORES_FILE, SUMMARY_FILE, FoldRecord, write_record, write_scores
from taichinet.experiments.study_data import open_folds
from taichinet.experiments.transport.pack import pack_runs
from taichinet.experiments.transport.record import INDEX_FILE, part_name
from taichinet.experiments.transport.unpack import unpack_runs
from taichinet.storage.atomic import write_json
from taichinet.storage.digest import digest_bytes

Files = dict[str, bytes]
_SIZE = 16
_STUDY = "busi/demo-unet/grouped"
_FAR = (2**32 - 1, 2**31, 2**28, 10**18, 1_000_000, 0, -1)
_NAMES = (*NAMES, "../../x/result.json", "/x/result.json", "a/../result.json", "weights/x.py", "folds/x.json", ".tmp")


def _members(content: bytes) -> Files:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _change_zip(random: Random, files: Files) -> bytes:
    """A zip whose bytes are changed, that is cut, or whose headers declare a huge size of a member."""
    content = zip_of(files, random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    match random.randrange(4):
        case 0:
            return content[: random.randrange(len(content))]
        case 1:
            size = struct.pack("<I", random.choice((2**32 - 1, 2**31, 2**28, 2**24)))
            at = random.choice(_found(content, b"PK\x01\x02"))
            field = at + random.choice((20, 24, 42))  # compressed size, size, position
            return content[:field] + size + content[field + 4 :]
        case _:
            return mutate_bytes(random, content)


def _found(content: bytes, mark: bytes) -> list[int]:
    return [at for at in range(len(content)) if content.startswith(mark, at)]


def _change_names(random: Random, files: Files) -> Files:
    """`files` with one that is renamed, foreign, absent, exchanged with another, or larger than memory allows."""
    changed = dict(files)
    name, other = random.choice(list(files)), random.choice(list(files))
    match random.randrange(6):
        case 0:
            changed[random.choice(_NAMES)] = changed.pop(name)
        case 1:
            changed[random.choice(_NAMES)] = b"{}"
        case 2:
            del changed[name]
        case 3:
            changed[name], changed[other] = changed[other], changed[name]
        case 4:
            changed[name] = bytes(random.choice((0, 1, 2**20, 2**25)))
        case _:
            changed[f"{name}/x"] = changed[name]
    return changed


def _make_bundle(files: Files, random: Random) -> Case:
    """A bundle with another description, or with members whose digests are those that the description has."""
    changed, record = dict(files), json.loads(files[RECORD_FILE])
    match random.randrange(5):
        case 0:
            changed[RECORD_FILE] = mutate_json(random, record)
        case 1:
            changed[RECORD_FILE] = json.dumps(_change_record(random, record)).encode()
        case 2:
            name = random.choice(list(record["members"]))
            changed[name] = _change_member(random, name, changed[name])
            if random.randrange(4):
                record["members"][name] = digest_bytes(changed[name])
                changed[RECORD_FILE] = json.dumps(record).encode()
        case 3:
            changed = _change_names(random, changed)
        case _:
            return Case({"data.zip": _change_zip(random, changed)})
    return Case({"data.zip": zip_of(changed)})


def _change_record(random: Random, record: dict[str, Any]) -> dict[str, Any]:
    """The description with a version, size, region, key or group that does not fit the rest."""
    sample = random.choice(record["samples"])
    match random.randrange(6):
        case 0:
            record[random.choice(("version", "preparation", "format"))] = random.choice((0, 2, 99, "1", None, *_FAR))
        case 1:
            sample[random.choice(("height", "width"))] = random.choice(_FAR)
        case 2:
            record[random.choice(("size", "channels"))] = random.choice((1, 2, 3, 2048, *_FAR))
        case 3:
            record["regions"] = random.choice(([], ["a", "b"], ["a"] * 33, [""]))
        case 4:
            sample[random.choice(("key", "label", "patient"))] = random.choice((*_NAMES, *VALUES))
        case _:
            keys = [other["key"] for other in record["samples"]]
            groups = ((keys[0], "absent"), (keys[0], keys[0]), (keys[0],), (), tuple(keys))
            record["complete"]["groups"] = [random.choice(groups) for _ in range(random.randrange(3))]
    return record


def _change_member(random: Random, name: str, content: bytes) -> bytes:
    if name == THUMBNAILS_FILE and random.randrange(2):
        rows = random.choice((b"(99999999, 99999999)", b"(1, 2304)", b"(12,)", b"()", b"(-1, 2304)", b"(12, 2304, 1)"))
        return content.replace(b"(12, 2304)", rows, 1)
    return (mutate_png if name.endswith(".png") and random.randrange(2) else mutate_bytes)(random, content)


def _pixels(manifest: Manifest) -> dict[str, list[NDArray[Any]]]:
    regions = len(manifest.regions)
    return {
        sample.key: [
            manifest.files.take_resized(sample.image, _SIZE, 1),
            manifest.files.region_masks(sample, regions),
        ]
        for sample in manifest
    }


def _check_bundle(experiment: Experiment, seed: Files, expected: dict[str, list[NDArray[Any]]], folder: Path) -> None:
    """Read as by a training and a data check; with the original description, the pixels are the original ones."""
    manifest, plan = open_folds(experiment, f"folder={folder / 'data.zip'}", "grouped", folder / "runs")
    check_folds(plan, manifest)
    found = _pixels(manifest)
    for sample in manifest:
        if found[sample.key][1].shape[1:] != manifest.files.header(sample.image).size:
            raise WrongValueError(f"a mask without the size of its image: {found[sample.key][1].shape}")
    if isinstance(manifest.files, BundledFiles):
        check_bundle(manifest, manifest.files, plan)
        with zipfile.ZipFile(folder / "data.zip") as archive:
            record = archive.read(RECORD_FILE)
        if record == seed[RECORD_FILE] and not all(
            found.keys() == expected.keys() and all(map(np.array_equal, found[key], expected[key])) for key in found
        ):
            raise WrongValueError("other pixels with the original digests")


def _bundle_target(seeds: Path) -> Target:
    Case(folder_files(12)).write(seeds / "data")
    path = seeds / "data.zip"
    write_bundle(make_bundle(f"folder={seeds / 'data'}", _SIZE, 1), path)
    files = _members(path.read_bytes())
    experiment = vary(get_recipe("demo-unet"), {"data.size": _SIZE})
    manifest, _ = open_folds(experiment, f"folder={path}", "grouped", seeds / "runs")
    expected = _pixels(manifest)
    return Target(
        "bundle",
        "train, compare, evaluate, data check",
        partial(_make_bundle, files),
        lambda folder, _: _check_bundle(experiment, files, expected, folder),
        5,
    )


def _write_fold(study: Path, experiment: Experiment, fold: int) -> None:
    """A completed fold with scores of two images."""
    row: dict[str, Any] = {score + suffix: 0.5 for suffix in SUFFIX.values() for score in SCORES}
    row |= {"label": "benign", "fold": fold, "predicted_pixels": 5, "true_pixels": 5, "pixels": 100}
    other = {**row, "dice": 0.25, "key": f"b{fold}"}
    rows = pd.DataFrame([{**row, "key": f"a{fold}"}, other])[list(COLUMNS)]
    folder = study / f"fold-{fold}"
    folder.mkdir(parents=True, exist_ok=True)
    record = FoldRecord(
        identity="0123456789abcdef",
        experiment=experiment,
        dataset="busi",
        dataset_digest="digest",
        protocol="grouped",
        fold=fold,
        folds=5,
        fold_seed=0,
        images={"train": 2, "validation": 1, "test": 2},
        selection={"rule": "last", "on": "nothing", "epoch": 1},
        parameters=1000,
        placement="cpu float32",
        wall_seconds=1.0,
        commit=None,
        scores=write_scores(folder / SCORES_FILE, rows),
        summary=aggregate(rows),
    )
    write_record(folder / RESULT_FILE, record)


def _make_archive(runs: Files, existing: Files, random: Random) -> Case:
    """A changed index, part or run file; the digests are mostly right, so that what they do not protect is reached."""
    files = dict(runs)
    case = random.randrange(6)
    if case < 2:
        name = random.choice(list(files))
        if name.endswith(".json") and random.randrange(3):
            files[name] = mutate_json(random, json.loads(files[name]))
        else:
            files[name] = mutate_bytes(random, files[name])
    elif case == 2:
        files = _change_names(random, files)
    whole = zip_of(files) if case != 3 else _change_zip(random, files)
    index: dict[str, Any] = {
        "version": 1,
        "parts": [_describe(part_name(1), whole)],
        "files": [_describe(name, content) for name, content in files.items()],
    }
    if case == 4:
        entry = random.choice(index["parts"] + index["files"])
        entry[random.choice(list(entry))] = random.choice((*VALUES, *_NAMES, *_FAR))
        index["version"] = random.choice((1, 1, 1, 0, 2, "1", None))
    text = mutate_json(random, index) if case == 5 else json.dumps(index).encode("utf-8", "replace")
    if random.randrange(10) == 0:
        whole = mutate_bytes(random, whole)
    packed = {f"archive/{INDEX_FILE}": text, f"archive/{part_name(1)}": whole}
    present = {f"out/{name}": content for name, content in existing.items()} if random.randrange(2) else {}
    return Case({**packed, **present}, random.choice(((), ("--overwrite",))))


def _describe(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "bytes": len(content), "sha256": digest_bytes(content)}


def _snapshot(folder: Path) -> Files:
    """The files below a folder, without locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def _check_archive(folder: Path, case: Case) -> None:
    """A refused archive changes nothing, and an accepted one writes nothing but its run files into `out`."""
    before = _snapshot(folder)
    try:
        unpacked = unpack_runs(folder / "archive", folder / "out", "--overwrite" in case.words)
    except Exception:
        if (after := _snapshot(folder)) != before:
            changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
            raise WrongValueError(f"a refused archive changed files: {changed[:3]}") from None
        raise
    after = _snapshot(folder)
    index = json.loads(after[f"archive/{INDEX_FILE}"])
    listed = {f"out/{file['name']}": file["sha256"] for file in index["files"]}
    derived = {
        str((study / name).relative_to(folder)) for study in unpacked.summarised for name in (SCORES_FILE, SUMMARY_FILE)
    }
    if foreign := sorted(name for name in after if after[name] != before.get(name) and name not in {*listed, *derived}):
        raise WrongValueError(f"a file that the archive does not list: {foreign[:3]}")
    for name, digest in listed.items():
        if name not in derived and (name not in after or digest_bytes(after[name]) != digest):
            raise WrongValueError(f"a file without its digest: {name}")


def _archive_target(seeds: Path) -> Target:
    experiment = get_recipe("demo-unet")
    for place, folds in (("packed", (0, 1)), ("present", (1, 2))):
        study = seeds / place / _STUDY
        for fold in folds:
            _write_fold(study, experiment, fold)
        summarise_study(study)
    write_json(seeds / "packed/folds/busi.json", {"count": 5})
    pack_runs(seeds / "packed", seeds / "archive")
    runs = _members((seeds / "archive" / part_name(1)).read_bytes())
    present = _snapshot(seeds / "present")
    return Target("archive", "archive --unpack", partial(_make_archive, runs, present), _check_archive, 5)


def targets(seeds: Path) -> list[Target]:
    """The targets of this file; `seeds` is a folder to write into."""
    made: tuple[Callable[[Path], Target], ...] = (_bundle_target, _archive_target)
    return [make(seeds / f"{number}") for number, make in enumerate(made)]
