"""docs/results.md: one line for each recipe, from the summaries that training wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taichinet.datasets.catalogue import find_dataset, list_datasets
from taichinet.evaluation.undefined import EmptyTruthPolicy
from taichinet.experiments.records import GroupRecord, StudyRecord
from taichinet.models.catalogue import CATALOGUE
from taichinet.reports.departures import choices_not_printed, departures
from taichinet.reports.document.format import SHORT, duration, percent, scored
from taichinet.reports.document.model import Block, Document, Heading, Note, Points, Section, Table

POLICIES: Mapping[EmptyTruthPolicy, str] = {
    "paper": "0, as the paper",
    "correct-empty-is-1": "1 if left empty",
}
OUTPUTS = {"positive": "DI of O_p", "second_path": "DI of the second path", "mean": "DI of the mean of both"}
OVERLAP = ("dice", "jaccard", "accuracy", "precision", "sensitivity")
DISTANCES = ("hd95", "assd")
SCORE_HEADINGS = (*(SHORT[name] for name in OVERLAP), "DI native", *(SHORT[name] for name in DISTANCES))
HOW_TO_READ = (
    "Mean ± sample standard deviation over folds of the fold's mean. All scores are at network size and distances in "
    "its pixels, except *DI native*, which is computed on the original mask. Protocol *grouped* keeps near-duplicates "
    "together; protocol *paper* draws folds at random and may put near-duplicates into training and test. The wall "
    "time is the sum over completed folds; mining counts for the run that did it, other runs read its regions from the "
    "cache. GFLOPs are for one image at the recipe's size. An empty cell was not run, or was not measured."
)


def results_document(results: Sequence[StudyRecord]) -> Document:
    """The whole page: a section for each data set with or without normal images."""
    sections: dict[tuple[str, bool, str], list[StudyRecord]] = {}
    for result in results:
        key = (result.dataset, result.experiment.data.include_normal, result.dataset_digest)
        sections.setdefault(key, []).append(result)
    made = []
    for (dataset, with_normal, digest), members in sections.items():
        # Data sets of one name with other images never share a table.
        alike = [key for key in sections if key[:2] == (dataset, with_normal)]
        version = f" (pictures `{digest[:12]}`)" if len(alike) > 1 else ""
        has_normal = dataset not in list_datasets() or find_dataset(dataset).has_normal
        normal = f", {'with' if with_normal else 'without'} normal images" if has_normal else ""
        made.append(Section("", f"{dataset}{normal}{version}", _blocks(members, with_normal)))
    return Document("Results", (HOW_TO_READ,), tuple(made))


def _blocks(members: Sequence[StudyRecord], with_normal: bool) -> tuple[Block, ...]:
    blocks = [*_recipes(members), Heading("Images with a lesion"), _lesion_table(members), *_footnotes(members)]
    if any(group.group == "all" and group.policy for m in members for group in _filled(m)) and with_normal:
        blocks += [Heading("All images"), _all_table(members), Heading("Normal images"), _normal_table(members)]
    blocks += [Heading("By class and region"), _class_table(members)]
    if any(member.outputs for member in members):
        blocks += [Heading("Which output is the prediction"), _outputs_table(members)]
    return (*blocks, *_machines(members))


def _recipes(members: Sequence[StudyRecord]) -> list[Block]:
    note = "Deviations from the paper's recipe, or from our default where the paper does not say (see fidelity.md):"
    told: dict[str, list[str]] = {}
    for experiment in {member.experiment.name: member.experiment for member in members}.values():
        text = "; ".join([*departures(experiment), *choices_not_printed(experiment)]) or "none"
        told.setdefault(text, []).append(f"`{experiment.name}`")
    return [Note(note), Points(tuple(f"{', '.join(names)}: {text}" for text, names in told.items()))]


def _lesion_table(members: Sequence[StudyRecord]) -> Table:
    head = ["Network", "Recipe", "Folds", "Images", *SCORE_HEADINGS]
    rows = []
    for member in members:
        group = next((group for group in _filled(member) if group.group == "lesion"), None)
        rows.append(
            [
                *_names(member),
                str(group.images) if group else "",
                *_scores(group),
                f"{member.parameters:,}",
                "" if member.gflops is None else f"{member.gflops:.2f}",
                duration(member.wall_seconds),
                ", ".join(f"`{commit}`" for commit in member.commits),
            ]
        )
    return _table([*head, "Parameters", "GFLOPs", "Wall time", "Commit"], rows, words=3)


def _footnotes(members: Sequence[StudyRecord]) -> list[Block]:
    """What is not certain of the networks above, so that no score is read without it."""
    models = dict.fromkeys(member.experiment.model for member in members)
    notes = tuple(f"{entry.title}: {entry.note}" for model in models if (entry := CATALOGUE[model]).note)
    return [Note("Uncertain:"), Points(notes)] if notes else []


def _all_table(members: Sequence[StudyRecord]) -> Table:
    head = ["Network", "Recipe", "Folds", "Empty truth scores", "Images", *SCORE_HEADINGS]
    rows = [
        [*_names(member), POLICIES[group.policy], str(group.images), *_scores(group)]
        for member in members
        for group in _filled(member)
        if group.group == "all" and group.policy
    ]
    return _table(head, rows, words=4)


def _normal_table(members: Sequence[StudyRecord]) -> Table:
    rows = []
    for member in members:
        normal = member.summary.normal_images
        rows.append(
            [
                *_names(member),
                str(normal.images),
                percent(normal.false_positive_rate),
                percent(normal.mean_false_positive_area, 2),
            ]
        )
    head = ["Network", "Recipe", "Folds", "Images", "With any false positive", "Mean false-positive area"]
    return _table(head, rows, words=3)


def _class_table(members: Sequence[StudyRecord]) -> Table:
    head = ["Network", "Recipe", "Folds", "Class or region", "Images", *SCORE_HEADINGS]
    rows = []
    for member in members:
        for group in _filled(member):
            if group.group in ("lesion", "all"):
                continue
            policy = f" (empty truth: {POLICIES[group.policy]})" if group.policy else ""
            rows.append([*_names(member), group.group + policy, str(group.images), *_scores(group)])
    return _table(head, rows, words=4)


def _outputs_table(members: Sequence[StudyRecord]) -> Table:
    """Dice of O_p, of the second path and of their mean over the lesion images, for networks of two paths."""
    rows = [
        [*_names(member), *("" if (dice := member.outputs.get(name)) is None else f"{dice:.3f}" for name in OUTPUTS)]
        for member in members
        if member.outputs
    ]
    return _table(["Network", "Recipe", "Folds", *OUTPUTS.values()], rows, words=3)


def _machines(members: Sequence[StudyRecord]) -> list[Block]:
    """One line for each machine and number format, with the recipes that ran there."""
    where: dict[str, list[str]] = {}
    for member in members:
        machine = member.machine
        parts = [machine.get("accelerator"), machine.get("processor")]
        parts += [
            f"{machine[key]} {word}" for key, word in (("cores", "cores"), ("memory_gib", "GiB")) if key in machine
        ]
        parts += [
            f"{word} {machine[key]}" for key, word in (("python", "Python"), ("torch", "torch")) if key in machine
        ]
        text = ", ".join(str(part) for part in (*parts, member.placement) if part)
        name = f"`{member.experiment.name}` ({member.protocol})"
        where.setdefault(text, []).append(name)
    points = tuple(f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in where.items())
    return [Note("Machines:"), Points(points)]


def _names(member: StudyRecord) -> list[str]:
    done = len(set(member.folds_done))
    count = str(done) if done == member.folds else f"{done} of {member.folds}"
    return [
        member.network,
        f"`{member.experiment.name}`",
        f"{count} {'fold' if member.folds == 1 else 'folds'}, {member.protocol}",
    ]


def _filled(member: StudyRecord) -> list[GroupRecord]:
    return [group for group in member.summary.groups if group.images]


def _scores(group: GroupRecord | None) -> list[str]:
    if group is None:
        return [""] * len(SCORE_HEADINGS)
    return [
        *(scored(group.score(name), 3) for name in OVERLAP),
        scored(group.score("dice", "native"), 3),
        *(scored(group.score(name), 1) for name in DISTANCES),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> Table:
    return Table(tuple(head), (tuple(map(tuple, rows)),), words)
