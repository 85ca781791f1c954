"""Scores per image for the scatter plot of the page, and overlays of the worst cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from PIL import Image

from taichinet.datasets.catalogue import open_dataset
from taichinet.datasets.decoded import united_mask
from taichinet.datasets.image_io import read_grey, read_rgb
from taichinet.datasets.manifest import Manifest, Sample
from taichinet.errors import DataError, SettingError, unknown_name
from taichinet.experiments.recipes.catalogue import SCALES
from taichinet.inference.predictor import Predictor
from taichinet.models.weights import load_weights
from taichinet.models.weights_folder import CONFIG_FILE
from taichinet.progress import tracked
from taichinet.reports.document.format import PROTOCOLS, title_of
from taichinet.reports.document.html import image_bytes
from taichinet.reports.overlay import Mask, overlay
from taichinet.reports.paper_tables.runs import Method, Run
from taichinet.reports.paper_tables.tested import Selection
from taichinet.training.device import choose_device_config

Pair = tuple[str, str]
WORST = 24
WIDTH = 560  # maximum width of an image in pixels; smaller images are enlarged by an integer factor
COLOURS = 256
NO_DATA = "This page contains no images: run `taichinet report` with --data DATA_SET to show the worst cases."


@dataclass(frozen=True)
class CaseStudy:
    """Dice per image of all methods with the same data and folds.

    Attributes:
        title: Data and folds.
        keys: The images.
        dice: By method the Dice of each of `keys`; None if the method was not tested on it.
        first: The method on the x axis at first.
        second: The method on the y axis at first.
        images: PNGs by key, with the predictions of both.
        note: Why there are no images.
    """

    title: str
    keys: tuple[str, ...]
    dice: Mapping[str, tuple[float | None, ...]]
    first: Method
    second: Method
    images: Mapping[str, bytes] = field(default_factory=dict)
    note: str = ""

    def worst(self, count: int) -> tuple[str, ...]:
        """Keys of the `count` images with the lowest Dice of `first`, of those that both methods were tested on."""
        both = zip(self.dice[self.first.name], self.dice[self.second.name], self.keys, strict=True)
        known = sorted((dice, key) for dice, other, key in both if dice is not None and other is not None)
        return tuple(key for _, key in known[:count])


def case_studies(methods: Sequence[Method], pair: Pair | None = None) -> list[CaseStudy]:
    """Return a study for all data and folds under which at least two methods were tested.

    A study first shows the two recipes of `pair`, by default TaiChiNet and U-Net, if it has both. Raises SettingError
    if no study has both recipes of `pair`.
    """
    groups: dict[tuple[object, ...], dict[str, Method]] = {}
    for method in methods:
        groups.setdefault(method.first.study, {}).setdefault(method.name, method)
    studies = [_study(named, pair) for named in groups.values() if len(named) > 1]
    if pair is not None and not any({*pair} <= {*study.dice} for study in studies):
        known = tuple(dict.fromkeys(name for study in studies for name in study.dice))
        for name in pair:
            if name not in known:
                raise unknown_name("recipe among the runs", name, known)
        raise SettingError(f"'{pair[0]}' and '{pair[1]}' were not run on the same data and folds.")
    return studies


def with_overlays(
    studies: Sequence[CaseStudy], data: Sequence[str], count: int = WORST, trust_code: bool = False
) -> list[CaseStudy]:
    """Add overlays of the `count` worst cases to studies whose data set is in `data` and whose runs have weights.

    Raises DataError if the images of a data set are not those that were scored, and WeightsError if the weights need
    code that is not trusted (`trust_code`).
    """
    read = cache(lambda source, normal: open_dataset(source, include_normal=normal))
    return [
        _with_overlays(study, [read(s, study.first.experiment.data.include_normal) for s in data], count, trust_code)
        for study in studies
    ]


def predict_cases(
    run: Run, keys: Sequence[str], samples: Mapping[str, Sample], trust_code: bool = False
) -> dict[str, Mask]:
    """Predict the masks of `keys` at original resolution with the weights of the fold that tested each image.

    Images of another data set were tested by the networks of all folds; the first is used. `trust_code`: see
    `load_weights`.
    """
    fold_of = run.rows.drop_duplicates("key").set_index("key")["fold"].to_dict()
    masks: dict[str, Mask] = {}
    for fold in sorted({fold_of[key] for key in keys}):
        loaded = load_weights(_weights(run, fold), trust_code)
        predictor = Predictor(loaded, choose_device_config(loaded.config.provenance.get("precision", "auto")))
        read = read_grey if predictor.channels == 1 else read_rgb
        members = [key for key in keys if fold_of[key] == fold]
        images = (read(samples[key].image) for key in members)
        predictions = tracked(predictor.predict_many(images), "predicting worst cases", len(members))
        masks |= {key: prediction.mask for key, prediction in zip(members, predictions, strict=True)}
    return masks


def _study(named: Mapping[str, Method], pair: Pair | None) -> CaseStudy:
    method = next(iter(named.values()))
    file, normal = method.file, method.experiment.data.include_normal
    selection = Selection("all", "paper") if normal else Selection()
    dice = {name: {str(key): float(v) for key, v in m.per_image(selection).items()} for name, m in named.items()}
    keys = tuple(sorted({key for scores in dice.values() for key in scores}))
    pairs = [pair or ("", ""), *((f"{scale}-taichinet", f"{scale}-unet") for scale in SCALES), tuple(named)[:2]]
    first, second = next(names for names in pairs if {*names} <= {*named})
    title = title_of(file.dataset) + (" with normal images" if normal else "")
    title += "" if method.own_data else f", tested on {title_of(method.first.tested_on)}"
    return CaseStudy(
        title=f"{title}, {PROTOCOLS[file.protocol]}",
        keys=keys,
        dice={name: tuple(scores.get(key) for key in keys) for name, scores in dice.items()},
        first=named[first],
        second=named[second],
    )


def _with_overlays(study: CaseStudy, manifests: Sequence[Manifest], count: int, trust_code: bool) -> CaseStudy:
    manifest = next((m for m in manifests if m.name == study.first.first.tested_on), None)
    if manifest is None:
        return replace(study, note=NO_DATA)
    if len(manifest.regions) > 1:
        return replace(study, note="Images are shown for data sets with one region only.")
    methods = (study.first, study.second)
    if missing := [f"`{method.name}`" for method in methods if not _has_weights(method.first)]:
        return replace(study, note=f"No images: there are no weights in the run folders of {' and '.join(missing)}.")
    _refuse_other_images(study, manifest)
    samples = {sample.key: sample for sample in manifest}
    keys = study.worst(count)
    first, second = (predict_cases(method.first, keys, samples, trust_code) for method in methods)
    return replace(study, images={key: _overlay_png(samples[key], first[key], second[key]) for key in keys})


def _overlay_png(sample: Sample, first: Mask, second: Mask) -> bytes:
    """A PNG with a palette, which keeps the page small."""
    grey = read_grey(sample.image)
    image = overlay(grey, united_mask(sample), first, second, scale=max(1, round(WIDTH / grey.shape[1])))
    image.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    return image_bytes(image.quantize(COLOURS, dither=Image.Dither.NONE))


def _has_weights(run: Run) -> bool:
    return all((_weights(run, int(fold)) / CONFIG_FILE).is_file() for fold in run.rows["fold"].unique())


def _weights(run: Run, fold: int) -> Path:
    """The weights folder beside the scores; for scores on another data set in the folder above."""
    study = run.folder if run.tested_on == run.file.dataset else run.folder.parent
    return study / f"fold-{fold}" / "weights"


def _refuse_other_images(study: CaseStudy, manifest: Manifest) -> None:
    scored = study.first.file.dataset_digest
    known = set(manifest.keys)
    unknown = [key for key in study.keys if key not in known]
    if unknown or (study.first.own_data and scored and manifest.digest() != scored):
        raise DataError(
            f"The images of {manifest.name} given with --data are not those that the runs were scored on. Give the "
            "folder that was used for training.",
            unknown,
        )
