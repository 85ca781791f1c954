"""The content of a validation card as a document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from taichinet.evaluation.calibration import UNCERTAIN, Calibration
from taichinet.evaluation.uncertainty import LEVEL, Interval
from taichinet.evaluation.undefined import EmptyTruthPolicy
from taichinet.experiments.records import network_title
from taichinet.experiments.validation_card import GroupCard, ValidationCard
from taichinet.reports.document.format import EMPTY, LONG, counted, digits_of, number
from taichinet.reports.document.model import (
    Block,
    Cell,
    Document,
    Facts,
    Figure,
    Note,
    Pictures,
    Points,
    Row,
    Section,
    Table,
)
from taichinet.reports.plain_reading import NOT_A_DEVICE, bounds, plain_reading
from taichinet.reports.reliability import (
    calibration_rows,
    reliability_figure,
    reliability_in_words,
    reliability_size,
)

IN_ROWS = ("dice", "jaccard", "precision", "sensitivity", "hd95")
POLICIES: Mapping[EmptyTruthPolicy, str] = {
    "paper": "a normal image counts 0, as in the paper",
    "correct-empty-is-1": "a normal image left empty counts 1",
}


def card_document(card: ValidationCard) -> Document:
    """The whole card; sections without results are left out."""
    sections = (
        Section("reading", "In plain words", (Points(plain_reading(card)),)),
        _scores(card),
        _classes(card),
        _normals(card),
        _comparison(card),
        _calibration(card),
        _worst(card),
        _facts(card),
    )
    kept = tuple(section for section in sections if section is not None)
    return Document(card_title(card), (card_lead(card),), kept, NOT_A_DEVICE)


def card_title(card: ValidationCard) -> str:
    """What was validated on what; only what is external is called so."""
    kind = "External validation" if card.external else "Validation"
    return f"{kind} of {network_title(card.origin.model)} on {card.cohort.title}"


def card_lead(card: ValidationCard) -> str:
    """One sentence: weights, images, and whether both are of the same data set."""
    origin, cohort = card.origin, card.cohort
    trained = f"trained on {origin.trained_on}" if origin.trained_on else "with no record of their training data"
    said = f"Weights “{origin.name}”, {trained}, on {counted(cohort.images)} images of {cohort.title}"
    if card.external:
        return f"{said} that are new to them."
    if origin.trained_on is None:
        return f"{said}. Whether these images took part in the training is not known."
    return f"{said}. They are of the data set of the training: this is not an external validation."


def _scores(card: ValidationCard) -> Section | None:
    if not card.lesion.images:
        return None
    clusters = (
        "each image by itself"
        if card.cohort.clusters == card.cohort.images
        else f"images of one patient or copies of one picture together ({counted(card.cohort.clusters)} groups)"
    )
    scores = card.lesion.scores
    note = (
        f"Means over {counted(card.lesion.images)} images, in small print their {LEVEL:.0%} interval: "
        f"percentile bootstrap, {counted(card.resamples)} resamples, {clusters}."
    )
    rows: tuple[Row, ...] = tuple(
        (heading, *(_interval(scores[size][name], digits_of(name)) for size in ("network", "native")))
        for name, heading in LONG.items()
    )
    headings = ("Score", f"at {card.origin.size} × {card.origin.size} px", "at the image's own size")
    return Section("scores", "Scores on images with a lesion", (Note(note), Table(headings, (rows,))))


def _classes(card: ValidationCard) -> Section | None:
    if not card.by_class:
        return None
    note = Note(f"Images with a lesion, at {card.origin.size} × {card.origin.size} px.")
    return Section("classes", "By class", (note, _group_table("Class", ((g.group, g) for g in card.by_class))))


def _normals(card: ValidationCard) -> Section | None:
    if card.normal is None:
        return None
    normal = card.normal
    alarm, area = normal.false_positive_rate, normal.false_positive_area
    facts = [
        ("normal images", counted(normal.images)),
        ("with a false alarm", f"{round(alarm.mean * normal.images)}, a share of {_with_bounds(alarm, 3)}"),
        ("area called lesion", f"{_with_bounds(area, 4)} of the image on average"),
    ]
    if normal.detection_auc == normal.detection_auc:
        facts.append(
            (
                "detection (AUC)",
                f"{normal.detection_auc:.3f}: how often an image with a lesion has the higher 99.9th percentile of "
                "probability than a normal one; 0.5 is guessing",
            )
        )
    note = Note("Dice of an image without a lesion is a matter of agreement, so all images are scored under both.")
    table = _group_table("All images, where", ((POLICIES[one.policy], one) for one in card.all_images if one.policy))
    return Section("normal", "With normal images", (note, table, Facts(tuple(facts))))


def _comparison(card: ValidationCard) -> Section | None:
    if not card.comparison:
        return None
    own = card.origin.trained_on or "own data set"
    images = "" if card.internal_images is None else f"{counted(card.internal_images)} "
    note = (
        f"The same weights on {images}images of {own} with a lesion that they had not seen, at "
        f"{card.origin.size} × {card.origin.size} px. Both sides are resampled where both are at hand; "
        + (
            f"near-duplicates and patients of {own} are drawn together."
            if card.internal_grouped
            else f"near-duplicates of {own} are not known here, so each of its images is drawn alone and the "
            "intervals may be too narrow."
        )
    )
    rows = tuple(
        (
            LONG[one.score],
            number(one.internal, digits_of(one.score)),
            number(one.external, digits_of(one.score)),
            _interval(one.difference, digits_of(one.score), sign="+"),
        )
        for one in card.comparison
    )
    table = Table(("Score", own, "here", "difference"), (rows,))
    return Section("comparison", "Against its own data set", (Note(note), table))


def _calibration(card: ValidationCard) -> Section | None:
    overall = card.overall
    if overall.whole is None:
        return None
    groups = {"images with a lesion": card.lesion, **{group.group: group for group in card.by_class}}
    if card.all_images:
        groups = {"all images": overall, **groups}
    rows = []
    for name, group in groups.items():
        if group.whole is None or group.uncertain is None:
            continue
        share = group.uncertain.total / group.whole.total if group.whole.total else float("nan")
        values = (group.whole.ece, group.whole.brier, group.uncertain.ece, group.uncertain.brier, share)
        rows.append((name, *(number(value, 4) for value in values)))
    band = f"{UNCERTAIN[0]} to {UNCERTAIN[1]}"
    note = (
        "ECE is the mean gap between the probability given and the share of pixels that are lesion, Brier the mean "
        "squared error; 0 is best for both. Most pixels are background with a low probability and improve both, so "
        f"both are also given for the uncertain pixels only, those with a probability of {band}."
    )
    table = Table(("Images", "ECE", "Brier", "ECE, uncertain", "Brier, uncertain", "Share uncertain"), (tuple(rows),))
    blocks = (Note(note), table, _reliability(overall.whole))
    return Section("calibration", "Calibration of the probabilities", blocks)


def _reliability(calibration: Calibration) -> Figure:
    headings = ("Probability", "Pixels", "Mean probability", "Share that is lesion")
    return Figure(
        draw=partial(reliability_figure, calibration),
        size=reliability_size,
        description=reliability_in_words(calibration),
        caption=(
            "On the dotted diagonal the probabilities are calibrated. Grey: uncertain probabilities. Hollow points "
            "have fewer than 100 pixels. Counts are on a logarithmic scale."
        ),
        numbers=Table(headings, (tuple(calibration_rows(calibration)),)),
    )


def _worst(card: ValidationCard) -> Section | None:
    if not card.worst:
        return None
    pictured = [case for case in card.worst if case.picture is not None]
    note = "The images with a lesion on which Dice is lowest."
    if pictured:
        note += (
            f" Solid red is the truth, dashed cyan the prediction. The pictures are of {card.cohort.title}, whose "
            f"licence decides who may see them: {card.cohort.licence}."
        )
    rows = tuple(
        (case.key, case.label, *(number(value, 3) for value in (case.dice, case.sensitivity, case.precision)))
        for case in card.worst
    )
    blocks: tuple[Block, ...] = (Note(note), Table(("Image", "Class", "Dice", "Sensitivity", "Precision"), (rows,), 2))
    if pictured:
        items = tuple((f"{case.key}, Dice {case.dice:.3f}", case.picture) for case in pictured if case.picture)
        blocks = (*blocks, Pictures(items))
    return Section("worst", "Worst cases", blocks)


def _facts(card: ValidationCard) -> Section:
    origin, cohort = card.origin, card.cohort
    trained = [
        origin.trained_on or "not recorded",
        f"{counted(origin.trained_images)} images" if origin.trained_images is not None else "",
        {True: "with normal images", False: "without normal images", None: ""}[origin.trained_on_normal],
        f"protocol {origin.protocol}" if origin.protocol else "",
        f"fold {origin.fold}" if origin.fold is not None else "",
        f"commit {origin.commit}" if origin.commit else "",
    ]
    classes = ", ".join(f"{counted(count)} {label}" for label, count in cohort.images_by_class.items())
    facts = [
        ("weights", f"{origin.name} ({network_title(origin.model)})"),
        ("trained on", ", ".join(part for part in trained if part)),
        ("input", f"{origin.size} × {origin.size} px, lesion where the probability exceeds {origin.threshold:g}"),
        ("tested on", f"{cohort.title}: {classes}"),
        ("structure", cohort.region),
        ("which images", cohort.note),
        ("licence", cohort.licence),
        ("source", cohort.source),
        ("citation", cohort.citation),
        ("pictures", f"SHA-256 {cohort.digest[:16]}" if cohort.digest else ""),
        ("bootstrap", f"{counted(card.resamples)} resamples, seed {card.seed}"),
        ("scored by", f"taichinet, commit {card.commit}" if card.commit else "taichinet, not a checkout"),
        *card.made,
    ]
    shown = tuple((name, text) for name, text in facts if text)
    return Section("made", "What was tested on what", (Facts(shown),))


def _group_table(heading: str, groups: Iterable[tuple[str, GroupCard]]) -> Table:
    rows: tuple[Row, ...] = tuple(
        (
            name,
            counted(group.images),
            *(_interval(group.scores["network"][score], digits_of(score)) for score in IN_ROWS),
        )
        for name, group in groups
    )
    return Table((heading, "Images", *(LONG[name] for name in IN_ROWS)), (rows,))


def _interval(interval: Interval, digits: int, sign: str = "") -> Cell:
    known = interval.mean == interval.mean
    text = f"{interval.mean:{sign}.{digits}f}" if known else EMPTY
    return Cell(text.replace("-", "−"), bounds(interval, digits).replace("-", "−"))


def _with_bounds(interval: Interval, digits: int) -> str:
    between = bounds(interval, digits)
    return number(interval.mean, digits) + (f" ({between})" if between else "")
