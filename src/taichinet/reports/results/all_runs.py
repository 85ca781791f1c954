"""The page with all scores: one row per run, from the summary.json files of trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taichinet.datasets.catalogue import find_dataset, list_datasets
from taichinet.evaluation.aggregate import GroupScores
from taichinet.evaluation.undefined import EmptyTruthPolicy
from taichinet.experiments.records import StudyRecord, TrainingRecord
from taichinet.reports.document.format import SHORT, digits_of, number, percent, scored, title_of
from taichinet.reports.document.model import Block, Document, Heading, Section, table_of

POLICIES: Mapping[EmptyTruthPolicy, str] = {"paper": "0, as the paper", "correct-empty-is-1": "1 if left empty"}
GROUP_COLUMNS = ("Empty ground truth scores", "Class or region")
OUTPUTS = {"positive": "DI of O_p", "second_path": "DI of the second path", "mean": "DI of the mean of both"}
HOW_TO_READ = (
    "Mean ± sample standard deviation over folds of the fold's mean. All scores are at input resolution and distances "
    "in its pixels, except *DI native*, which is computed on the original mask. Protocol *grouped* keeps "
    "near-duplicates together; protocol *paper* draws folds at random, which can have near-duplicates in both "
    "training and test. An empty cell was not run, or was not measured."
)
Images = tuple[str, bool, str]


def all_runs_document(results: Sequence[StudyRecord]) -> Document:
    """Return the page, with a section for each data set with or without normal images."""
    sections = [
        Section("", heading, tuple(_blocks(members, with_normal)))
        for (_, with_normal, _), (heading, members) in by_images(results).items()
    ]
    return Document("Results: all runs", (HOW_TO_READ,), tuple(sections))


def by_images(results: Sequence[StudyRecord]) -> dict[Images, tuple[str, list[StudyRecord]]]:
    """The studies of each data set, with or without normal images, under a heading."""
    groups: dict[Images, list[StudyRecord]] = {}
    for result in results:
        groups.setdefault(images_of(result), []).append(result)
    return {key: (_heading(key, list(groups)), members) for key, members in groups.items()}


def images_of(record: StudyRecord | TrainingRecord) -> Images:
    """Name of the data set, whether with normal images, and digest: the images of one section."""
    return record.dataset, record.experiment.data.include_normal, record.dataset_digest


def _heading(key: Images, keys: Sequence[Images]) -> str:
    dataset, with_normal, digest = key
    # Data sets of one name with different images have separate tables.
    version = f" (images `{digest[:12]}`)" if len([other for other in keys if other[:2] == key[:2]]) > 1 else ""
    has_normal = dataset not in list_datasets() or find_dataset(dataset).has_normal
    return title_of(dataset) + f", {'with' if with_normal else 'without'} normal images" * has_normal + version


def _blocks(members: Sequence[StudyRecord], with_normal: bool) -> list[Block]:
    tables = {"Images with a lesion": _lesion_rows(members)}
    all_images = _all_rows(members)
    if with_normal and all_images:
        tables |= {"All images": all_images, "Normal images": _normal_rows(members)}
    tables["By class and region"] = _class_rows(members)
    tables["Which output is the prediction"] = _output_rows(members)
    blocks: list[Block] = []
    for heading, rows in tables.items():
        if rows:
            words = [name for name in ("Network", "Recipe", "Folds", *GROUP_COLUMNS) if name in rows[0]]
            blocks += [Heading(heading), table_of(rows, len(words))]
    return blocks


def _lesion_rows(members: Sequence[StudyRecord]) -> list[dict[str, str]]:
    groups = [next((g for g in member.summary.groups if g.group == "lesion" and g.images), None) for member in members]
    return [{**study_cells(member), **_scores(group)} for member, group in zip(members, groups, strict=True)]


def _all_rows(members: Sequence[StudyRecord]) -> list[dict[str, str]]:
    return [
        {**study_cells(member), "Empty ground truth scores": POLICIES[group.policy], **_scores(group)}
        for member in members
        for group in member.summary.groups
        if group.group == "all" and group.images and group.policy
    ]


def _normal_rows(members: Sequence[StudyRecord]) -> list[dict[str, str]]:
    rows = []
    for member in members:
        by_dataset = {f" of {name}": images for name, images in member.summary.normal_images_by_dataset.items()}
        for of_dataset, normal in {"": member.summary.normal_images, **by_dataset}.items():
            rates = {
                "With any false positive": percent(normal.false_positive_rate),
                "Mean false-positive area": percent(normal.mean_false_positive_area, 2),
            }
            rows.append({**study_cells(member), "Images": f"{normal.images}{of_dataset}", **rates})
    return rows


def _class_rows(members: Sequence[StudyRecord]) -> list[dict[str, str]]:
    rows = []
    for member in members:
        for group in member.summary.groups:
            if group.images and group.group not in ("lesion", "all"):
                policy = f" (empty ground truth: {POLICIES[group.policy]})" if group.policy else ""
                rows.append({**study_cells(member), "Class or region": group.group + policy, **_scores(group)})
    return rows


def _output_rows(members: Sequence[StudyRecord]) -> list[dict[str, str]]:
    """Dice of O_p, of the second path and of their mean on lesion images, for networks with two paths."""
    return [
        {
            **study_cells(member),
            **{heading: number(member.outputs.get(name), 3, "") for name, heading in OUTPUTS.items()},
        }
        for member in members
        if member.outputs
    ]


def study_cells(member: StudyRecord) -> dict[str, str]:
    """The first cells of a row: network, recipe and folds."""
    done = len(set(member.folds_done))
    count = str(done) if done == member.folds else f"{done} of {member.folds}"
    folds = f"{count} {'fold' if member.folds == 1 else 'folds'}, {member.protocol}"
    return {"Network": member.network, "Recipe": f"`{member.experiment.name}`", "Folds": folds}


def _scores(group: GroupScores | None) -> dict[str, str]:
    """The number of images and all scores; empty cells without a group."""
    scores = {
        heading: "" if group is None else scored(group.score(name), digits_of(name)) for name, heading in SHORT.items()
    }
    native = {"DI native": "" if group is None else scored(group.score("dice", "native"))}
    distances = {heading: scores.pop(heading) for heading in (SHORT["hd95"], SHORT["assd"])}
    return {"Images": "" if group is None else str(group.images), **scores, **native, **distances}
