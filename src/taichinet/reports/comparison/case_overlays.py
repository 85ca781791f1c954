"""Overlays of the worst cases: the image, the truth in red, and what the weights of two methods predict."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.image_io import read_grey, read_rgb, united_mask
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.errors import DataError
from taichinet.inference.predictor import Predictor
from taichinet.models.weights import CONFIG_FILE, load_weights
from taichinet.reports.comparison.cases import CaseStudy
from taichinet.reports.comparison.runs import Method, Run
from taichinet.reports.overlay import Mask, overlay
from taichinet.training.device import choose_device_config

WORST = 24
WIDTH = 560  # pixels of a picture at most; smaller images are enlarged towards it by whole steps
COLOURS = 256
NO_DATA = "This page holds no pictures: run `taichinet report` with --data DATA_SET to have the worst cases drawn."


def with_overlays(studies: Sequence[CaseStudy], data: Sequence[str], count: int = WORST) -> list[CaseStudy]:
    """`studies` with pictures of their `count` worst cases, where `data` holds the set and the runs hold weights.

    Raises DataError where a data set of that name has other pictures than those that were scored.
    """
    opened: dict[tuple[str, bool], Manifest] = {}
    return [_draw(study, data, count, opened) for study in studies]


def _draw(study: CaseStudy, data: Sequence[str], count: int, opened: dict[tuple[str, bool], Manifest]) -> CaseStudy:
    normal = study.first.experiment.data.include_normal
    manifest = None
    for source in data:
        if (source, normal) not in opened:
            opened[source, normal] = open_dataset(source, include_normal=normal)
        if opened[source, normal].name == study.first.first.tested_on:
            manifest = opened[source, normal]
    if manifest is None:
        return replace(study, note=NO_DATA)
    if len(manifest.regions) > 1:
        return replace(study, note="Pictures are drawn for images of one region only.")
    if lacking := [method.name for method in (study.first, study.second) if not _has_weights(method)]:
        names = " and ".join(f"`{name}`" for name in lacking)
        return replace(study, note=f"No pictures: the run folders of {names} hold no weights here.")
    _refuse_other_pictures(study, manifest)
    samples = {sample.key: sample for sample in manifest}
    keys = study.worst(count)
    masks = [predict_cases(method.first, keys, samples) for method in (study.first, study.second)]
    return replace(study, pictures={key: _picture(samples[key], masks[0][key], masks[1][key]) for key in keys})


def predict_cases(run: Run, keys: Sequence[str], samples: Mapping[str, Sample]) -> dict[str, Mask]:
    """The mask of each of `keys` at the image's own size, by the weights of the fold that tested it.

    Of foreign images, which the networks of all folds were tested on, by those of the first.
    """
    fold_of: dict[str, int] = {}
    for key, fold in zip(run.rows["key"], run.rows["fold"], strict=True):
        fold_of.setdefault(str(key), int(fold))
    found: dict[str, Mask] = {}
    for fold in sorted({fold_of[key] for key in keys}):
        loaded = load_weights(_weights(run, fold))
        device_config = choose_device_config(loaded.config.provenance.get("precision", "auto"))
        predictor = Predictor(loaded, device_config)
        read = read_grey if predictor.channels == 1 else read_rgb
        members = [key for key in keys if fold_of[key] == fold]
        predictions = predictor.predict_many(read(samples[key].image) for key in members)
        found |= {key: one.mask for key, one in zip(members, predictions, strict=True)}
    return found


def _picture(sample: Sample, first: Mask, second: Mask) -> bytes:
    """A PNG of few colours: the page holds all of them."""
    grey = read_grey(sample.image)
    scale = max(1, round(WIDTH / grey.shape[1]))
    picture = overlay(grey, united_mask(sample), first, second, scale=scale)
    picture.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    memory = io.BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(memory, format="PNG", optimize=True)
    return memory.getvalue()


def _has_weights(method: Method) -> bool:
    run = method.first
    return all((_weights(run, int(fold)) / CONFIG_FILE).is_file() for fold in run.rows["fold"].unique())


def _weights(run: Run, fold: int) -> Path:
    """Beside the scores; of an evaluation on other data, one folder above them."""
    study = run.folder if run.tested_on == run.file.dataset else run.folder.parent
    return study / f"fold-{fold}" / "weights"


def _refuse_other_pictures(study: CaseStudy, manifest: Manifest) -> None:
    scored = study.first.first.file.dataset_digest
    own = study.first.first.tested_on == study.first.first.file.dataset
    strangers = [key for key in study.keys if key not in set(manifest.keys)]
    if strangers or (own and scored and manifest.digest() != scored):
        raise DataError(
            f"The pictures of {manifest.name} given with --data are not those that the runs were scored on. Give the "
            "folder that they were trained from.",
            strangers,
        )
