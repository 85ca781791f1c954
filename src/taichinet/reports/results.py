"""docs/compare/results.md: one row per recipe, from the summary.json files of trainings, and the networks for use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from taichinet.datasets.catalogue import find_dataset, list_datasets
from taichinet.evaluation.aggregate import GroupScores
from taichinet.evaluation.undefined import EmptyTruthPolicy
from taichinet.experiments.records import StudyRecord, TrainingRecord
from taichinet.models.catalogue import find_entry
from taichinet.reports.document.format import SHORT, digits_of, duration, number, percent, recipes_by_text, scored
from taichinet.reports.document.model import Block, Document, Heading, Note, Points, Section, table_of
from taichinet.reports.paper_tables.differences import all_differences

POLICIES: Mapping[EmptyTruthPolicy, str] = {"paper": "0, as the paper", "correct-empty-is-1": "1 if left empty"}
GROUP_COLUMNS = ("Empty ground truth scores", "Class or region")
OUTPUTS = {"positive": "DI of O_p", "second_path": "DI of the second path", "mean": "DI of the mean of both"}
HOW_TO_READ = (
    "Mean ± sample standard deviation over folds of the fold's mean. All scores are at input resolution and distances "
    "in its pixels, except *DI native*, which is computed on the original mask. Protocol *grouped* keeps "
    "near-duplicates together; protocol *paper* draws folds at random and may put near-duplicates into training and "
    "test. The wall time is the sum over completed folds; mining counts for the run that did it, other runs read its "
    "regions from the cache. GFLOPs are for one image at the recipe's size. An empty cell was not run, or was not "
    "measured."
)


def results_document(results: Sequence[StudyRecord], for_use: Sequence[TrainingRecord] = ()) -> Document:
    """Return the page, with a section for each data set with or without normal images.

    Args:
        results: The studies.
        for_use: Trainings on all images with the settings and images of one of the studies.

    Returns:
        The page.
    """
    groups: dict[tuple[str, bool, str], list[StudyRecord]] = {}
    for result in results:
        groups.setdefault(_images(result), []).append(result)
    sections = []
    for key, members in groups.items():
        dataset, with_normal, digest = key
        # Data sets of one name with different images have separate tables.
        versions = [other for other in groups if other[:2] == (dataset, with_normal)]
        version = f" (images `{digest[:12]}`)" if len(versions) > 1 else ""
        has_normal = dataset not in list_datasets() or find_dataset(dataset).has_normal
        normal = f", {'with' if with_normal else 'without'} normal images" if has_normal else ""
        trained = [record for record in for_use if _images(record) == key]
        blocks = (*_blocks(members, with_normal), *_for_use(trained), *_machines(members))
        sections.append(Section("", f"{dataset}{normal}{version}", blocks))
    return Document("Results", (HOW_TO_READ,), tuple(sections))


def _images(record: StudyRecord | TrainingRecord) -> tuple[str, bool, str]:
    """Name of the data set, whether with normal images, and digest: the images of one section."""
    return record.dataset, record.experiment.data.include_normal, record.dataset_digest


def _blocks(members: Sequence[StudyRecord], with_normal: bool) -> list[Block]:
    tables = {"Images with a lesion": _lesion_rows(members)}
    all_images = _all_rows(members)
    if with_normal and all_images:
        tables |= {"All images": all_images, "Normal images": _normal_rows(members)}
    tables["By class and region"] = _class_rows(members)
    tables["Which output is the prediction"] = _output_rows(members)
    blocks = _recipes(members)
    for heading, rows in tables.items():
        if rows:
            words = [name for name in ("Network", "Recipe", "Folds", *GROUP_COLUMNS) if name in rows[0]]
            blocks += [Heading(heading), table_of(rows, len(words))]
        if heading == "Images with a lesion":
            blocks += _uncertain_details(members)
    return blocks


def _recipes(members: Sequence[StudyRecord]) -> list[Block]:
    note = (
        "Differences from the paper's recipe, or from our default if the paper does not specify it (see fidelity.md):"
    )
    experiments = [member.experiment for member in members]
    return [Note(note), _by_text(("; ".join(all_differences(e)) or "none", e.name) for e in experiments)]


def _lesion_rows(members: Sequence[StudyRecord]) -> list[dict[str, str]]:
    rows = []
    for member in members:
        group = next((group for group in member.summary.groups if group.group == "lesion" and group.images), None)
        costs = {
            "Parameters": f"{member.parameters:,}",
            "GFLOPs": number(member.gflops, 2, ""),
            "Wall time": duration(member.wall_seconds),
            "Commit": ", ".join(f"`{commit}`" for commit in member.commits),
        }
        rows.append({**_study(member), **_scores(group), **costs})
    return rows


def _uncertain_details(members: Sequence[StudyRecord]) -> list[Block]:
    models = dict.fromkeys(member.experiment.model for member in members)
    notes = tuple(f"{entry.title}: {entry.note}" for model in models if (entry := find_entry(model)).note)
    return [Note("Uncertain:"), Points(notes)] if notes else []


def _all_rows(members: Sequence[StudyRecord]) -> list[dict[str, str]]:
    return [
        {**_study(member), "Empty ground truth scores": POLICIES[group.policy], **_scores(group)}
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
            rows.append({**_study(member), "Images": f"{normal.images}{of_dataset}", **rates})
    return rows


def _class_rows(members: Sequence[StudyRecord]) -> list[dict[str, str]]:
    rows = []
    for member in members:
        for group in member.summary.groups:
            if group.images and group.group not in ("lesion", "all"):
                policy = f" (empty ground truth: {POLICIES[group.policy]})" if group.policy else ""
                rows.append({**_study(member), "Class or region": group.group + policy, **_scores(group)})
    return rows


def _output_rows(members: Sequence[StudyRecord]) -> list[dict[str, str]]:
    """Dice of O_p, of the second path and of their mean on lesion images, for networks with two paths."""
    return [
        {**_study(member), **{heading: number(member.outputs.get(name), 3, "") for name, heading in OUTPUTS.items()}}
        for member in members
        if member.outputs
    ]


def _for_use(records: Sequence[TrainingRecord]) -> list[Block]:
    """One line for each network that was trained on all images; it has no scores of its own."""
    lines = []
    for record in records:
        done = [str(fold) for fold in record.decision_folds]
        some = f"fold{'s' * (len(done) > 1)} {', '.join(done)} of {record.folds}"
        folds = "all folds" if len(done) == record.folds else some
        decision = "threshold 0.5" if record.decision is None else f"its decision is the mean of those of {folds}"
        lines.append((f"{record.images:,} images; {decision}", record.experiment.name, f" ({record.protocol})"))
    note = "Networks for use, trained on all images. The scores above are those of the networks of the folds:"
    return [Note(note), _by_text(lines)] if lines else []


def _machines(members: Sequence[StudyRecord]) -> list[Block]:
    """One line for each machine and number format, with the recipes that ran there."""
    units = {"accelerator": "{}", "processor": "{}", "cores": "{} cores", "memory_gib": "{} GiB"}
    units |= {"python": "Python {}", "torch": "torch {}"}
    lines = []
    for member in members:
        parts = [text.format(member.machine[key]) for key, text in units.items() if member.machine.get(key)]
        lines.append((", ".join([*parts, member.placement]), member.experiment.name, f" ({member.protocol})"))
    return [Note("Machines:"), _by_text(lines)]


def _by_text(lines: Iterable[tuple[str, ...]]) -> Points:
    return Points(tuple(f"{names}: {text}" for text, names in recipes_by_text(lines).items()))


def _study(member: StudyRecord) -> dict[str, str]:
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
