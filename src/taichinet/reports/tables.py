"""docs/results.md: Markdown tables from the summaries that training wrote; nothing is typed by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from taichinet.datasets.catalogue import find_dataset, list_datasets
from taichinet.evaluation.undefined import EmptyTruthPolicy
from taichinet.models.catalogue import CATALOGUE
from taichinet.reports.comparison.markdown import HEADER
from taichinet.reports.comparison.words import duration, percent, scored
from taichinet.reports.departures import choices_not_printed, departures
from taichinet.reports.summaries import Group, SummaryFile
from taichinet.storage.markdown_text import inline_markdown

POLICIES: Mapping[EmptyTruthPolicy, str] = {
    "paper": "0, as the paper",
    "correct-empty-is-1": "1 if left empty",
}
OUTPUTS = {"positive": "DI of O_p", "second_path": "DI of the second path", "mean": "DI of the mean of both"}
CODES = ("dice", "jaccard", "accuracy", "precision", "sensitivity")
CODE_HEADINGS = ("DI", "JA", "ACC", "PR", "SE")
DISTANCE_HEADINGS = ("HD95 (px)", "ASSD (px)")


def results_table(results: Sequence[SummaryFile]) -> str:
    """The whole Markdown file: a section for each data set with or without normal images."""
    lines = [HEADER, "", "# Results", "", *_how_to_read()]
    sections: dict[tuple[str, bool, str], list[SummaryFile]] = {}
    for result in results:
        key = (result.dataset, result.experiment.data.include_normal, result.dataset_digest)
        sections.setdefault(key, []).append(result)
    for (dataset, with_normal, digest), members in sections.items():
        # Pictures of one name that are not the same pictures never share a table.
        alike = [key for key in sections if key[:2] == (dataset, with_normal)]
        version = f" (pictures `{digest[:12]}`)" if len(alike) > 1 else ""
        has_normal = dataset not in list_datasets() or find_dataset(dataset).has_normal
        normal = f", {'with' if with_normal else 'without'} normal images" if has_normal else ""
        lines += ["", "## " + inline_markdown(f"{dataset}{normal}{version}"), ""]
        lines += _recipes(members)
        lines += ["", "### Images with a lesion", "", *_lesion_table(members), *_footnotes(members)]
        if any(group.group == "all" and group.policy for m in members for group in _filled(m)) and with_normal:
            lines += ["", "### All images", "", *_all_table(members)]
            lines += ["", "### Normal images", "", *_normal_table(members)]
        lines += ["", "### By class and region", "", *_class_table(members)]
        if any(member.outputs for member in members):
            lines += ["", "### Which output is the prediction", "", *_outputs_table(members)]
        lines += ["", *_machines(members)]
    return "\n".join(lines) + "\n"


def _how_to_read() -> list[str]:
    return [
        "Mean ± sample standard deviation over folds of the fold's mean. All scores are at network size,",
        "distances in its pixels, but *DI native*, which compares with the mask as drawn. Protocol *grouped*",
        "never splits near-duplicates between training and test, *paper* draws at random and does. The wall",
        "time is that of all folds done; mining counts for the run that did it, others take its regions from the",
        "cache. GFLOPs are of one image at the recipe's size. An empty cell was not run, or not yet measured then.",
    ]


def _recipes(members: Sequence[SummaryFile]) -> list[str]:
    lines = ["Departures from the paper's recipe; where the paper is silent, from our default (see fidelity.md):", ""]
    told: dict[str, list[str]] = {}
    for experiment in {member.experiment.name: member.experiment for member in members}.values():
        text = "; ".join([*departures(experiment), *choices_not_printed(experiment)]) or "none"
        told.setdefault(text, []).append(f"`{experiment.name}`")
    return lines + ["- " + inline_markdown(f"{', '.join(names)}: {text}") for text, names in told.items()]


def _lesion_table(members: Sequence[SummaryFile]) -> list[str]:
    head = ["Network", "Recipe", "Folds", "Images", *CODE_HEADINGS, "DI native", *DISTANCE_HEADINGS]
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


def _footnotes(members: Sequence[SummaryFile]) -> list[str]:
    """What is not certain of the networks above, so that no score is read without it."""
    models = dict.fromkeys(member.experiment.model for member in members)
    notes = [f"- {entry.title}: {entry.note}" for model in models if (entry := CATALOGUE[model]).note]
    return ["", "Not certain:", "", *notes] if notes else []


def _all_table(members: Sequence[SummaryFile]) -> list[str]:
    head = ["Network", "Recipe", "Folds", "Empty truth scores", "Images", *CODE_HEADINGS, "DI native"]
    rows = [
        [*_names(member), POLICIES[group.policy], str(group.images), *_scores(group)]
        for member in members
        for group in _filled(member)
        if group.group == "all" and group.policy
    ]
    return _table([*head, *DISTANCE_HEADINGS], rows, words=4)


def _normal_table(members: Sequence[SummaryFile]) -> list[str]:
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


def _class_table(members: Sequence[SummaryFile]) -> list[str]:
    head = ["Network", "Recipe", "Folds", "Class or region", "Images", *CODE_HEADINGS, "DI native", *DISTANCE_HEADINGS]
    rows = []
    for member in members:
        for group in _filled(member):
            if group.group in ("lesion", "all"):
                continue
            policy = f" (empty truth: {POLICIES[group.policy]})" if group.policy else ""
            rows.append([*_names(member), group.group + policy, str(group.images), *_scores(group)])
    return _table(head, rows, words=4)


def _outputs_table(members: Sequence[SummaryFile]) -> list[str]:
    """Dice of O_p, of the second path and of their mean over the lesion images, for networks of two paths."""
    rows = [
        [*_names(member), *("" if (dice := member.outputs.get(name)) is None else f"{dice:.3f}" for name in OUTPUTS)]
        for member in members
        if member.outputs
    ]
    return _table(["Network", "Recipe", "Folds", *OUTPUTS.values()], rows, words=3)


def _machines(members: Sequence[SummaryFile]) -> list[str]:
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
    return [
        "Machines:",
        "",
        *("- " + inline_markdown(f"{', '.join(dict.fromkeys(names))}: {text}") for text, names in where.items()),
    ]


def _names(member: SummaryFile) -> list[str]:
    done = len(set(member.folds_done))
    count = str(done) if done == member.folds else f"{done} of {member.folds}"
    return [
        member.network,
        f"`{member.experiment.name}`",
        f"{count} {'fold' if member.folds == 1 else 'folds'}, {member.protocol}",
    ]


def _filled(member: SummaryFile) -> list[Group]:
    return [group for group in member.summary.groups if group.images]


def _scores(group: Group | None) -> list[str]:
    if group is None:
        return [""] * (len(CODES) + 1 + len(DISTANCE_HEADINGS))
    return [
        *(scored(group.score(name), 3) for name in CODES),
        scored(group.score("dice", "native"), 3),
        *(scored(group.score(name), 1) for name in ("hd95", "assd")),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int) -> list[str]:
    """A Markdown table whose first `words` columns are words (left), the others figures (right)."""
    rule = [":--" if number < words else "--:" for number in range(len(head))]
    return [f"| {' | '.join(inline_markdown(cell.replace('|', '/')) for cell in row)} |" for row in (head, rule, *rows)]
