"""Fuzzes the functions behind the commands: images, data sets, settings, weights, graphs, the runner.

    python benchmarks/fuzz.py --minutes 15 --seed 0

A call goes on where the last one of the same seed and commit ended. An input is a finding where it raises an
exception that is not a TaiChiNetError, takes more than 10 s or 1 GiB, ends the process, or is accepted with wrong
values. Findings are saved under OUT/findings, counts in results/benchmarks/fuzz.json. Exit code 1 where there is one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fuzzing.campaign import KINDS, State, campaign, read_state

from taichinet.experiments.provenance import describe_machine, source_commit
from taichinet.storage.atomic import write_json

RECORD = Path(__file__).parents[1] / "results/benchmarks/fuzz.json"


def main() -> int:
    """Run the campaign and write its record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--max-inputs", type=int, default=10**9, help="in all, with those of earlier calls")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/fuzz"), help="folder of the state and the findings")
    parser.add_argument("--target", action="append", default=[], help="this target alone; repeatable")
    parser.add_argument("--record", type=Path, default=RECORD)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    state = read_state(arguments.output / "state.json", arguments.seed, source_commit())
    only = tuple(arguments.target)
    state = campaign(state, arguments.output, 60 * arguments.minutes, arguments.max_inputs, only=only)
    entry = record(state)
    arguments.record.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.record, entry)
    print(json.dumps(entry, indent=1))
    return 1 if state.findings else 0


def record(state: State) -> dict[str, Any]:
    """The counts by target and kind, the findings by signature, and where they come from."""
    targets = {
        name: {
            "command": state.commands.get(name, ""),
            "inputs": count,
            **{kind: state.outcomes[name].get(kind, 0) for kind in ("accepted", "refused", *KINDS)},
        }
        for name, count in sorted(state.done.items())
    }
    return {
        "what": "inputs tried on the functions behind the commands",
        "seed": state.seed,
        "inputs": state.total,
        "seconds": round(state.seconds),
        "targets": targets,
        "findings": [{"signature": name, **finding} for name, finding in sorted(state.findings.items())],
        "commit": state.commit,
        "machine": describe_machine(),
    }


if __name__ == "__main__":
    sys.exit(main())
