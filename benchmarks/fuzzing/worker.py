"""The worker process: makes and checks one input at a time, and measures its memory."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path

from fuzzing.target import Target, WrongValueError, random_for

MOST_MEMORY = 2**30
"""Bytes above the memory of the worker before the input."""

_GUARD = 6 * 2**30  # of address space above the baseline: what is refused here shows as MemoryError
MODULES = ("fuzzing.images", "fuzzing.data", "fuzzing.transport", "fuzzing.networks", "fuzzing.graphs")


@dataclass(frozen=True)
class Outcome:
    """Outcome of an input: "accepted", "refused", or a kind of finding with its fault and signature."""

    kind: str
    fault: str = ""
    signature: str = ""


def load_targets(modules: tuple[str, ...], seeds: Path) -> dict[str, Target]:
    """The targets of `modules`, each made with a folder for its seeds."""
    found: dict[str, Target] = {}
    for module in modules:
        made = import_module(module).targets(seeds / module.rpartition(".")[2])
        found |= {target.name: target for target in made}
    return found


def work(
    asked: Connection, answers: Connection, modules: tuple[str, ...], seeds: Path, scratch: Path, seed: int
) -> None:
    """Send the Outcome of each (target, index) from `asked` to `answers`, until None is received."""
    os.environ.update(ORT_DISABLE_TELEMETRY="1", OMP_NUM_THREADS="1")  # before a target imports torch
    if "torch" in sys.modules:  # the main module has imported it
        sys.modules["torch"].set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    known = load_targets(modules, seeds)
    baseline = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (baseline + _GUARD, resource.RLIM_INFINITY))
    answers.send({name: (target.weight, target.command) for name, target in known.items()})
    with suppress(EOFError):
        while (question := asked.recv()) is not None:
            answers.send(_try(known[question[0]], seed, question[1], scratch))


def _try(target: Target, seed: int, index: int, scratch: Path) -> Outcome:
    case = target.make(random_for(seed, target.name, index))
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    case.write(scratch)
    before = _reset_peak()
    outcome = _checked(target, case, scratch)
    grown = _peak() - before
    if grown > MOST_MEMORY:
        return Outcome(
            "memory", f"{grown / 2**20:.0f} MiB; then {outcome.kind} {outcome.fault}", f"{target.name} memory"
        )
    return outcome


def _checked(target: Target, case: object, scratch: Path) -> Outcome:
    from taichinet.errors import TaiChiNetError

    def said(fault: BaseException) -> str:
        return _without_paths(str(fault), scratch)

    refusals: tuple[type[Exception], ...] = (TaiChiNetError, *target.refusals)
    try:
        target.check(scratch, case)  # type: ignore[arg-type]
    except refusals:
        return Outcome("refused")
    except WrongValueError as fault:
        generic = "".join(letter for letter in said(fault).partition(":")[0] if not letter.isdigit())
        return Outcome("wrong", said(fault)[:500], f"{target.name} wrong {generic[:100]}")
    except MemoryError as fault:
        return Outcome("memory", f"MemoryError {_place(fault)}", f"{target.name} memory {_place(fault)}")
    except Exception as fault:  # noqa: BLE001 - any other exception is what is looked for
        where = _place(fault)
        name = type(fault).__name__
        return Outcome("crash", f"{name}: {said(fault)}"[:500] + f" ({where})", f"{target.name} crash {name} {where}")
    return Outcome("accepted")


def _without_paths(text: str, scratch: Path) -> str:
    """`text` with "." for the folders of this campaign, so that records contain no paths of the machine."""
    for folder in (scratch, scratch.parent):
        for path in (folder.resolve(), folder):
            text = text.replace(str(path), ".")
    return text


def _place(fault: BaseException) -> str:
    """The last line of taichinet's own code in the traceback."""
    frames = traceback.extract_tb(fault.__traceback__)
    own = [frame for frame in frames if "taichinet" in Path(frame.filename).parts]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.name}"


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _reset_peak() -> int:
    """Reset the peak memory of this process to its current memory, in bytes, and return it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory("VmHWM:")


def _peak() -> int:
    return _memory("VmHWM:")
