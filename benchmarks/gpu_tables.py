"""Train the tables of the paper within a time budget, for example on a rented GPU without network access.

    python benchmarks/gpu_tables.py --data busi-224.zip --budget 14m --jobs 4 --archive results-archive
    python benchmarks/gpu_tables.py --costs docs/contribute/gpu.md --speeds RECORD.json

The stages below are given to one `taichinet compare`, in their order, so that a run that does not fit into the rest of
the budget leaves its place to a shorter one. The same command continues. Exit codes are those of `compare`: 0 all runs
are done, 7 some failed, 9 the budget ended before all were done, 130 interrupted. See docs/contribute/gpu.md.

With --costs, nothing is trained: the table of times in docs/contribute/gpu.md is written, from the operations of each
stage and the speeds in --speeds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from measuring import write_between

from taichinet.cli import app as command_line
from taichinet.cli.compare_budget import parse_time
from taichinet.errors import SettingError, TaiChiNetError, unknown_name
from taichinet.experiments.experiment import Experiment, parse_assignments
from taichinet.experiments.grid.cells import name_data, part_recipes
from taichinet.experiments.grid.cost import (
    FORWARDS_PER_STEP,
    Work,
    forward_flop,
    mining_flop,
    published_works,
    training_flop,
)
from taichinet.experiments.grid.suite import Suite, SuitePart, table_suite, vary_suite
from taichinet.experiments.identity import recipe_settings
from taichinet.experiments.records import RESULT_FILE, SUMMARY_FILE, StudyRecord, read_record
from taichinet.reports.document.format import duration
from taichinet.storage.documents import read_json

RESERVE = (0.15, 45.0)  # for packing: this share of the budget, at most these seconds
TARGET = {"taichinet": 1200.0, "unet": 3000.0}  # images/s of training
SIZE, WIDTH = 224, 32  # of the speeds
VARIANT = "CUDA graph"  # with all faster parts
DDTI_SHARE = 400 / 3644  # images of the processed release of DDTI, by those of TN-SCUI2020


@dataclass(frozen=True)
class Stage:
    """A step of the plan."""

    title: str
    suite: Suite


def plan_stages() -> dict[str, Stage]:
    """The stages by name, in the order in which they are trained."""
    both = ("taichinet", "unet")
    busi = SuitePart(data="busi", recipes=both, normal=False, test_on=("ddti",))
    untested = busi.model_copy(update={"test_on": ()})
    return {
        "networks": Stage("TaiChiNet and U-Net", Suite(parts=(busi,))),
        "table1": Stage("Table I: models 1 to 7", table_suite("table1")),
        "table4": Stage("Table IV: without and with normal images", table_suite("table4")),
        "table2": Stage("Table II: mutual learning", table_suite("table2")),
        "table3": Stage("Table III: heads", table_suite("table3")),
        "paper-folds": Stage(
            "TaiChiNet and U-Net on the paper's random folds", Suite(parts=(untested,), protocols=("paper",))
        ),
        "seeds": Stage("TaiChiNet and U-Net with three seeds", Suite(parts=(untested,), seeds=(0, 1, 2))),
        "ddti": Stage("DDTI in place of TN-SCUI2020 (Table VI)", _stand_in("table6", "ddti", ("busi",))),
        "drishti-gs": Stage("Drishti-GS in place of REFUGE (Table VII)", _stand_in("table7", "drishti-gs", ())),
    }


def _stand_in(table: str, data: str, test_on: tuple[str, ...]) -> Suite:
    """The suite of a table with another data set."""
    suite = table_suite(table)
    parts = tuple(part.model_copy(update={"data": data, "test_on": test_on}) for part in suite.parts)
    return suite.model_copy(update={"parts": parts})


@dataclass(frozen=True)
class Study:
    """One recipe with one protocol and one seed: all folds."""

    suite: Suite
    experiment: Experiment
    dataset: str
    protocol: str

    @property
    def key(self) -> str:
        """Equal for studies that fill the same rows: Model 1 is the U-Net of Table IV."""
        return study_key(self.experiment, self.dataset, self.protocol)

    @property
    def results(self) -> list[Path]:
        """The result files of all folds, in the folder of all runs."""
        folds = 1 if self.protocol == "official" else self.experiment.data.folds
        folder = Path(self.dataset, self.experiment.name, self.protocol)
        return [folder / f"fold-{fold}" / RESULT_FILE for fold in range(folds)]


def study_key(experiment: Experiment, dataset: str, protocol: str) -> str:
    """Digest-like text of what a study computes: its settings without the name, data set, protocol and seeds."""
    seeds = (experiment.training.seed, experiment.mining.seed)
    return json.dumps([dataset, protocol, seeds, recipe_settings(experiment)], sort_keys=True, default=str)


def studies_of(suite: Suite) -> list[Study]:
    """The studies of a suite, in its order."""
    studies = []
    for part in suite.parts:
        for recipe in part.recipes:
            single = part.model_copy(update={"recipes": (recipe,)})
            for protocol in suite.protocols_of(part):
                for seed in suite.seeds or (None,):
                    changes = {"parts": (single,), "protocols": (protocol,), "seeds": () if seed is None else (seed,)}
                    one = suite.model_copy(update=changes)
                    studies.append(Study(one, part_recipes(one, single)[0], part.data, protocol))
    return studies


def select_stages(only: Sequence[str], start: str | None, given: Iterable[str]) -> dict[str, Stage]:
    """The stages of `only`, otherwise those from `start` on whose data set is given; SettingError for other names."""
    stages = plan_stages()
    for name in [*only, *([start] if start else [])]:
        if name not in stages:
            raise unknown_name("stage", name, tuple(stages))
    names = list(stages)
    chosen = list(only) or names[names.index(start) if start else 0 :]
    absent = {name for name in chosen if not {part.data for part in stages[name].suite.parts} <= set(given)}
    if absent and (only or absent == set(chosen)):
        name = next(name for name in chosen if name in absent)
        data = stages[name].suite.parts[0].data
        raise SettingError(f"The stage {name} needs the data set {data}. Add --data {data}=PATH.")
    for name in (name for name in chosen if name in absent):
        print(f"Left out, as its data set is not given: {name}", file=sys.stderr)
    return {name: stages[name] for name in names if name in chosen and name not in absent}


def without_tests(suite: Suite, given: Iterable[str]) -> Suite:
    """`suite` without evaluations on data sets that are not given."""
    known = set(given)
    parts = tuple(
        part.model_copy(update={"test_on": tuple(name for name in part.test_on if name in known)})
        for part in suite.parts
    )
    return suite.model_copy(update={"parts": parts})


def completed_keys(folders: Iterable[Path]) -> set[str]:
    """Keys of the studies in folders of results of which all folds are completed."""
    keys = set()
    for folder in folders:
        found = sorted(folder.glob(f"*/*/*/{SUMMARY_FILE}"))
        if not found:
            raise SettingError(
                f"--done {folder} contains no DATASET/RECIPE/PROTOCOL/{SUMMARY_FILE}. Give a folder of results."
            )
        for record in (read_record(path, StudyRecord) for path in found):
            if set(range(record.folds)) <= set(record.folds_done):
                keys.add(study_key(record.experiment, record.dataset, record.protocol))
    return keys


def train(options: argparse.Namespace, began: float) -> int:
    """Train the selected stages, print what is done and left of each, and return the exit code of `compare`."""
    given = name_data(options.data)
    budget = None if options.budget is None else parse_time(options.budget)
    stages = select_stages(options.only, options.start, given)
    changes = {"scale": options.scale, "set": parse_assignments(options.set)}
    studies = {
        name: studies_of(vary_suite(without_tests(stage.suite, given), **changes)) for name, stage in stages.items()
    }
    done = completed_keys(options.done)
    wanted: dict[str, Study] = {}
    for study in (study for group in studies.values() for study in group if study.key not in done):
        wanted.setdefault(study.key, study)
    code = _compare(list(wanted.values()), options, budget, began) if wanted else 0
    for name, group in studies.items():
        print(_describe(stages[name].title, group, wanted, options.output))
    return code


def _compare(studies: list[Study], options: argparse.Namespace, budget: float | None, began: float) -> int:
    """Run `taichinet compare` on the studies in this process, and return its exit code."""
    with TemporaryDirectory() as temporary:
        files = [Path(temporary) / f"{number:03}.yaml" for number in range(len(studies))]
        for file, study in zip(files, studies, strict=True):
            file.write_text(yaml.safe_dump(study.suite.model_dump(mode="json")), encoding="utf-8")
        words = ["compare", *map(str, files), "--output", str(options.output), "--jobs", str(options.jobs)]
        words += [word for data in options.data for word in ("--data", data)]
        if budget is not None:
            share, most = RESERVE
            left = budget - min(share * budget, most) - (time.monotonic() - began)
            words += ["--budget", f"{max(int(left), 1)}s"]
        if options.archive is not None:
            words += ["--archive", str(options.archive), *(["--archive-weights"] if options.archive_weights else [])]
        sys.argv = ["taichinet", *words]
        try:
            command_line.main()
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _describe(title: str, studies: list[Study], wanted: Mapping[str, Study], out: Path) -> str:
    """One line: how many folds of a stage are done. A study of another name with the same settings counts."""
    done = total = 0
    for study in studies:
        total += len(study.results)
        trained = wanted.get(study.key)
        done += len(study.results) if trained is None else sum((out / path).is_file() for path in trained.results)
    left = f", {total - done} left" if done < total else ""
    return f"{title}: {done} of {total} folds done{left}"


def read_speeds(path: Path) -> dict[str, float]:
    """Images/s of training by network, from a record of gpu_training.py: those with all faster parts."""
    entries = read_json(path)
    measured = {network: entry for network, entry in entries.items() if isinstance(entry, dict) and VARIANT in entry}
    speeds = {network: float(entry[VARIANT]["images_per_second"]) for network, entry in measured.items()}
    if "taichinet" not in speeds:
        raise SettingError(f"{path} has no speed of taichinet with '{VARIANT}'. Give a record of gpu_training.py.")
    return speeds


def seconds_of(works: Iterable[Work], mined: Iterable[Work], speeds: Mapping[str, float]) -> float:
    """Seconds of trainings and mining stages. A network without a speed has as many FLOP/s as TaiChiNet."""
    flops = {
        name: images * FORWARDS_PER_STEP * forward_flop(name, SIZE, {"width": WIDTH}) for name, images in speeds.items()
    }
    trained = sum(training_flop(work) / flops.get(work.experiment.model, flops["taichinet"]) for work in works)
    return trained + sum(mining_flop(work) for work in mined) / flops.get("unet++", flops["taichinet"])


def cost_table(speeds: Mapping[str, float]) -> list[str]:
    """Lines of a Markdown table: the new work of each stage after the earlier ones, and its time."""
    lines = [
        "| stage | option | new trainings | PFLOP | at the measured speed | all up to here | at the target speed |",
        "| --- | --- | --: | --: | --: | --: | --: |",
    ]
    trained: dict[str, Work] = {}
    mined: dict[str, Work] = {}
    total = 0.0
    for name, stage in plan_stages().items():
        works = {work.key: work for work in _works(stage.suite) if work.key not in trained}
        mining = {w.mining_key: w for w in works.values() if mining_flop(w) and w.mining_key not in mined}
        trained, mined = trained | works, mined | mining
        flop = sum(map(training_flop, works.values())) + sum(map(mining_flop, mining.values()))
        measured, target = (seconds_of(works.values(), mining.values(), rates) for rates in (speeds, TARGET))
        total += measured
        times = " | ".join(duration(seconds) for seconds in (measured, total, target))
        lines.append(f"| {stage.title} | `{name}` | {len(works)} | {flop / 1e15:.1f} | {times} |")
    return lines


def _works(suite: Suite) -> list[Work]:
    """The works of a stage from published numbers of images; there is none for DDTI."""
    if suite.parts[0].data != "ddti":
        return published_works([suite])
    works = published_works([table_suite("table6")])
    return [
        replace(work, images=round(work.images * DDTI_SHARE), held_out=round(work.held_out * DDTI_SHARE))
        for work in works
    ]


def write_costs(page: Path, path: Path) -> None:
    """Replace the table of times in `page`."""
    speeds = read_speeds(path)
    names = ", ".join(f"{name} {speed:g} images/s" for name, speed in speeds.items())
    goal = ", ".join(f"{name} {speed:g} images/s" for name, speed in TARGET.items())
    lines = [f"Measured speed ({path.name}): {names}. Target speed: {goal}.", "", *cost_table(speeds)]
    write_between(page, "costs", lines)


def main() -> None:
    """Train the tables, or write their cost in time."""
    began = time.monotonic() - time.process_time()  # before the imports
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = ", ".join(plan_stages())
    parser.add_argument("--data", action="append", default=[], help="bundle or data set, [NAME=]PATH; repeatable")
    parser.add_argument("--output", "-o", type=Path, default=Path("runs"), help="folder of all runs (default: runs)")
    parser.add_argument("--budget", metavar="TIME", help="time for this command with packing, e.g. 14m or 1h30m")
    parser.add_argument("--archive", type=Path, metavar="DIR", help="pack the completed runs at the end")
    parser.add_argument("--archive-weights", action="store_true", help="also pack the weights, as float16")
    parser.add_argument("--jobs", "-j", type=int, default=1, help="parallel runs on this machine (default: 1)")
    parser.add_argument("--scale", default="busi", help="scale of the recipes (default: busi, as in the paper)")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help=f"stages, e.g. a,b: {stages}")
    parser.add_argument("--from", dest="start", metavar="STAGE", help="this stage and all later ones")
    parser.add_argument(
        "--done", action="append", type=Path, default=[], metavar="DIR", help="skip completed studies; repeatable"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in compare; repeatable")
    parser.add_argument("--costs", type=Path, metavar="PAGE", help="train nothing, write the times into this page")
    parser.add_argument("--speeds", type=Path, help="with --costs: record of gpu_training.py")
    options = parser.parse_args()
    if (options.costs is None) != (options.speeds is None):
        parser.error("--costs and --speeds are given together")
    try:
        if options.costs is not None:
            write_costs(options.costs, options.speeds)
            return
        code = train(options, began)
    except TaiChiNetError as error:
        print(f"Error: {error}", file=sys.stderr)
        code = error.exit_code
    except OSError as error:
        print(f"Error: {error.strerror or error} ({error.filename}). Check the path.", file=sys.stderr)
        code = 3
    sys.exit(code)


if __name__ == "__main__":
    main()
