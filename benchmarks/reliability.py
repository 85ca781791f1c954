"""Writes docs/contribute/reliability.md from the records of fuzz.py, kill.py and mutations.py.

python benchmarks/reliability.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taichinet.reports.document.markdown import document_markdown, generated_by
from taichinet.reports.document.model import Block, Document, Note, Points, Section, Table
from taichinet.storage.atomic import write_text

ROOT = Path(__file__).parents[1]
RECORDS = tuple(ROOT / "results/benchmarks" / name for name in ("fuzz.json", "kill.json", "mutations.json"))
PAGE = ROOT / "docs/contribute/reliability.md"

_NOT_RUN = Note("Not run yet.")
_KINDS = ("crash", "hang", "memory", "wrong", "died")

Record = Mapping[str, Any]


def main() -> None:
    """Write the page."""
    write_text(PAGE, page(*map(read, RECORDS)))


def read(path: Path) -> Record | None:
    """A record; None where it does not exist yet."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def page(fuzz: Record | None, kill: Record | None, mutations: Record | None) -> str:
    """docs/contribute/reliability.md."""
    sections = (
        Section("inputs", "Damaged inputs", _fuzz(fuzz)),
        Section("interruptions", "Interrupted commands", _kill(kill)),
        Section("mutations", "Mutations of the code", _mutations(mutations)),
    )
    lead = (
        "How the commands handle damaged inputs and interruptions, and whether the tests detect mistakes in the code. "
        "Three tools of this repository measure it. Their commands need the activated environment of the repository "
        "(`. .venv/bin/activate`).",
        "A figure holds for the commit beside it; files that have since been renamed keep the name of that commit.",
    )
    return document_markdown(Document("Reliability", lead, sections), generated_by("python benchmarks/reliability.py"))


def _fuzz(record: Record | None) -> tuple[Block, ...]:
    what = Note(
        "`python benchmarks/fuzz.py` changes small valid files (flipped bits, cuts, swapped chunks, edited JSON, PNG "
        "and zip structures) and gives them to the functions behind the commands. An input must be refused with an "
        "error that names the cause, or give correct values. A finding is one of:"
    )
    kinds = Points(
        (
            "crash: an exception that is not a `TaiChiNetError`",
            "hang: more than 10 s",
            "memory: more than 1 GiB above the memory of the process before",
            "wrong: wrong values are accepted: damaged weights, checkpoints or graphs load with other values; a mask "
            "with non-zero pixels is read as empty; readers and runner read a file differently; a fold plan splits a "
            "group",
            "died: the process ended",
        )
    )
    if record is None:
        return what, kinds, _NOT_RUN
    rows = tuple(
        (name, row["command"], *(f"{row[key]:,}" for key in ("inputs", "accepted", "refused", *_KINDS)))
        for name, row in record["targets"].items()
    )
    headings = ("Target", "Command", "Inputs", "Accepted", "Refused", *(kind.capitalize() for kind in _KINDS))
    found = tuple(
        f"{one['target']}, {one['kind']}, {one['count']} times: `{_plain(one['fault'])}`" for one in record["findings"]
    )
    summary = (
        f"{record['inputs']:,} inputs in {record['seconds']:,} s, seed {record['seed']}, {_where(record)}. Kinds of "
        f"finding: {len(found)}."
    )
    return what, kinds, Note(summary), Table(headings, (rows,), words=2), *([Points(found)] if found else [])


def _kill(record: Record | None) -> tuple[Block, ...]:
    what = Note(
        "`python benchmarks/kill.py` disturbs commands on phantoms at random moments of their whole duration: SIGKILL, "
        "SIGTERM, a full disk (writing fails at a random file size), a folder that becomes read-only, and the lock of "
        "a process that no longer exists. Then the same command is run again (`train` with `--resume`). It must "
        "complete with the files of an undisturbed run, except for timings and hidden temporary files. No process of "
        "the disturbed command may be running after 15 s, and its message must not be a traceback."
    )
    if record is None:
        return what, _NOT_RUN
    faults = list(record["counts"])

    def cell(fault: str, name: str) -> str:
        entry = record["counts"][fault].get(name)
        return f"{entry['trials'] - entry['with_findings']} of {entry['trials']}" if entry else ""

    seconds = record["undisturbed_seconds"]
    rows = tuple((name, f"{seconds[name]:.0f}", *(cell(fault, name) for fault in faults)) for name in seconds)
    bad = tuple(
        f"{trial['command']}, {trial['fault']} at {trial['moment']:.2f}: `{_plain('; '.join(trial['findings']))}`"
        for trial in record["trials"]
        if trial["findings"]
    )
    summary = (
        f"{len(record['trials'])} faults, {len(bad)} with a finding; seed {record['seed']}, {_where(record)}. Each "
        "cell counts the faults after which the result was correct."
    )
    table = Table(("Command", "Undisturbed (s)", *faults), (rows,))
    return what, Note(summary), table, *([Points(bad)] if bad else [])


def _mutations(record: Record | None) -> tuple[Block, ...]:
    what = Note(
        "`python benchmarks/mutations.py` applies mistakes that were written by hand, each a change of one expression "
        "that alters a published number without an error, and runs the tests of that file. A mutation that no test "
        "detects survives."
    )
    if record is None:
        return what, _NOT_RUN
    files: dict[str, list[str]] = {}
    for row in record["mutations"]:
        files.setdefault(row["file"], []).append(row["outcome"])
    outcomes = sorted(record["counts"])
    rows = tuple(
        (f"`{name}`", str(len(found)), *(str(found.count(outcome)) for outcome in outcomes))
        for name, found in sorted(files.items())
    )
    survivors = tuple(
        f"`{row['file']}`: `{_plain(row['old'])}` became `{_plain(row['new'])}`"
        for row in record["mutations"]
        if row["outcome"] != "killed"
    )
    counts = ", ".join(f"{record['counts'][outcome]} {outcome}" for outcome in outcomes)
    commits = ", ".join(f"`{commit}`" for commit in sorted({row["commit"] for row in record["mutations"]}))
    summary = f"{len(record['mutations'])} mutations: {counts}; commit {commits}."
    table = Table(("File", "Mutations", *(outcome.capitalize() for outcome in outcomes)), (rows,))
    return what, Note(summary), table, *([Points(survivors)] if survivors else [])


def _where(record: Record) -> str:
    machine = record["machine"]
    return f"commit `{str(record['commit'])[:12]}`, {machine['processor']}, torch {machine['torch']}"


def _plain(text: str) -> str:
    return " ".join(text.replace("`", "'").split())[:200]


if __name__ == "__main__":
    main()
