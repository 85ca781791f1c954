"""What holds for every command: help, names of options, completion, tables, progress and interruption."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from typer.main import get_command
from typer.testing import CliRunner

from taichinet.cli import command, completion, progress
from taichinet.cli.app import app
from taichinet.cli.tables import fitted, print_table
from taichinet.datasets.folds import PROTOCOLS
from taichinet.experiments.recipes.catalogue import SCALES, list_recipes
from taichinet.inference.runtimes.catalogue import AUTO, RUNTIMES, export_formats
from taichinet.progress import tracked
from taichinet.reports.network_rows import DEFAULT_CHANNELS, DEFAULT_SIZE, stored_rows
from taichinet.reports.networks import network_rows

HEAVY = ("torch", "numpy", "pandas", "matplotlib", "PIL", "onnxruntime", "openvino")


def walk(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All commands and groups with their names."""
    for name, entry in group.commands.items():
        yield f"{path}{name}", entry
        if hasattr(entry, "commands"):
            yield from walk(entry, f"{name} ")


ALL = dict(walk(get_command(app)))
COMMANDS = {name: entry for name, entry in ALL.items() if not hasattr(entry, "commands")}


def test_an_option_has_the_same_names_and_metavar_in_every_command() -> None:
    names, metavars = defaultdict(set), defaultdict(set)
    for name, entry in COMMANDS.items():
        for parameter in entry.params:
            if parameter.param_type_name != "option":
                assert parameter.metavar, f"{name} {parameter.name}"
                continue
            option = parameter.opts[0]
            assert option.startswith("--"), f"{name}: the first name of {option} is not the long one"
            assert parameter.help or parameter.hidden or entry.hidden, f"{name} {option} has no help"
            assert parameter.is_flag or parameter.metavar, f"{name} {option} has no metavar"
            if parameter.hidden:
                continue
            for spelling in (*parameter.opts, *parameter.secondary_opts):
                names[spelling].add((*parameter.opts, *parameter.secondary_opts))
            metavars[option].add((parameter.metavar, parameter.is_flag))
    assert {option: found for option, found in names.items() if len(found) > 1} == {}
    assert {option: found for option, found in metavars.items() if len(found) > 1} == {}
    assert names["--output"] == {("--output", "-o")}
    assert {name for name, entry in COMMANDS.items() if not any("--json" in p.opts for p in entry.params)} == {"pack"}


@pytest.mark.parametrize("width", [40, 80])
def test_help_of_every_command_fits_the_terminal_and_cuts_nothing(width: int) -> None:
    for name, entry in ALL.items():
        text = CliRunner().invoke(app, [*name.split(), "-h"], env={"COLUMNS": str(width)}).stdout
        assert "-h, --help" in text
        assert "…" not in text
        assert "..." not in text.replace("}...", "").replace("ARGS]...", "").replace(".../grouped", "")
        too_long = [line for line in text.splitlines()[1:] if len(line) > width and len(line.split()) > 1]
        assert not [line for line in too_long if not line.startswith("  -") and "[OPTIONS]" not in line], name
        words = set(text.split())
        for parameter in entry.params:
            assert not parameter.help or parameter.hidden or set(parameter.help.split()) <= words, parameter.opts


def test_help_and_static_tables_import_no_heavy_module() -> None:
    """Measured in modules and not in seconds, which depend on the machine."""
    code = (
        "import sys, contextlib, io\n"
        "from typer.main import get_command\n"
        "from taichinet.cli.app import app\n"
        "lines = [line.split() for line in sys.argv[1].split(';')]\n"
        "for words in lines:\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):\n"
        "        app(words)\n"
        "    assert out.getvalue(), words\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    lines = [*(f"{name} -h" for name in ALL), "-h", "--help", "--version", "models", "models --json"]
    done = subprocess.run([sys.executable, "-c", code, ";".join(lines)], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_completed_names_are_those_of_the_registries() -> None:
    assert set(completion.complete_recipe("")) == set(list_recipes())
    assert tuple(SCALES) == completion.SCALES
    assert completion.PROTOCOLS == PROTOCOLS
    assert (AUTO, *RUNTIMES) == completion.RUNTIMES
    assert export_formats() == completion.FORMATS


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("mod", ["models"]),
        ("data ch", ["check"]),
        ("train cpu-unet++-s", ["cpu-unet++-second-path", "cpu-unet++-strategy"]),
        ("predict --runtime o", ["onnx", "openvino"]),
        ("compare table1 --scale s", ["short"]),
    ],
)
def test_bash_completes_commands_and_names(typed: str, completed: list[str]) -> None:
    words = f"taichinet {typed}"
    variables = {"_TAICHINET_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(typed.split()))}
    code = "import sys; sys.argv = ['taichinet']\nfrom taichinet.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == completed, done.stderr


@pytest.mark.slow
def test_stored_rows_of_networks_are_those_that_are_measured() -> None:
    """After a change: `taichinet models --compute --json > src/taichinet/reports/networks.json`."""
    measured = [row for row in network_rows(DEFAULT_SIZE, DEFAULT_CHANNELS) if "@" not in row.name]  # own networks
    assert stored_rows() == measured


PATH = "/data/a-long-folder-name/another-long-folder-name/benign (12).png"


def paths_table() -> Table:
    table = Table("name", "state", "a note with several words", title="Runs")
    table.add_row("short-unet, fold 0", "done", PATH)
    table.add_row("short-unet, fold 1", "waiting", "a sentence that can be wrapped between its words, if need be")
    return table


@pytest.mark.parametrize(("width", "is_table"), [(40, False), (80, False), (96, True), (200, True)])
def test_table_on_a_terminal_is_not_cut(width: int, is_table: bool) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, legacy_windows=False)
    assert isinstance(fitted(paths_table(), console), Table) == is_table
    print_table(paths_table(), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert PATH.split()[0] in (text if width > 80 else text.replace("\n", ""))
    assert all(word in text for word in ("waiting", "sentence", "between", "need"))


def test_table_in_a_pipe_has_one_line_for_each_row() -> None:
    console = Console(file=io.StringIO(), width=40)
    print_table(paths_table(), console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert any(PATH in line for line in lines)
    assert any("a sentence that can be wrapped between its words, if need be" in line for line in lines)


def test_models_is_shown_at_40_columns_and_in_a_pipe() -> None:
    args = [sys.executable, "-m", "taichinet", "models"]
    piped = subprocess.run(args, env={**os.environ, "COLUMNS": "40"}, capture_output=True, text=True).stdout
    assert any("taichinet-lite" in line and "ICML 2019" in line for line in piped.splitlines())
    reading, writing = pty.openpty()
    with subprocess.Popen(args, env={**os.environ, "COLUMNS": "40", "TERM": "xterm"}, stdout=writing) as process:
        os.close(writing)
        shown = b""
        try:
            while part := os.read(reading, 65536):
                shown += part
        except OSError:  # the terminal is closed at the end of the process
            pass
    os.close(reading)
    assert process.returncode == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    assert "…" not in plain
    assert "  parameters: 18,325,924\r\n" in plain


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [0.0]
    monkeypatch.setattr("taichinet.cli.progress.monotonic", lambda: now[0])
    return now  # type: ignore[return-value]


def test_progress_without_a_terminal_is_a_few_lines(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress_display():
        for _ in tracked(range(100), "scoring images"):
            clock[0] += 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "scoring images: 10 of 100, 0:00:10 elapsed, about 0:01:30 remaining",
        "scoring images: 20 of 100, 0:00:20 elapsed, about 0:01:20 remaining",
        "scoring images: 40 of 100, 0:00:40 elapsed, about 0:01:00 remaining",
        "scoring images: 80 of 100, 0:01:20 elapsed, about 0:00:20 remaining",
    ]
    with progress.progress_display(quiet=True):
        assert len(list(tracked(range(100), "scoring images"))) == 100
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_is_a_bar_that_disappears() -> None:
    display = progress.ProgressDisplay()
    display.console = Console(file=io.StringIO(), force_terminal=True, width=40, color_system=None)
    display("scoring the images of a fold", 1, 3)
    assert display._bars is not None
    display._bars.refresh()
    text = display.console.file.getvalue()  # type: ignore[attr-defined]
    assert "1/3" in text
    assert "…" not in text
    display("scoring the images of a fold", 3, 3)
    assert display._bars is None


def test_every_command_says_what_is_kept_after_an_interruption() -> None:
    assert set(command.KEPT) == set(COMMANDS)
    for name, sentence in command.KEPT.items():
        parameters = {parameter.name: "VALUE" for parameter in COMMANDS[name].params}
        assert sentence.format_map(parameters).endswith(".")


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [("INT", 130, "Interrupted. "), ("TERM", 143, "Terminated. "), ("EXIT", 143, "Terminated. ")],
)
def test_signal_ends_a_command_with_its_exit_code_and_without_traceback(
    name: str, code: int, said: str, tmp_path: Path
) -> None:
    """EXIT: as a training ends, which raises SystemExit after SIGTERM."""
    interrupting = (
        "import os, signal, sys, time\n"
        "from taichinet.cli import app\n"
        "import taichinet.experiments.transport.pack as pack\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background may have it ignored\n"
        "def interrupted(*args, **kwargs):\n"
        "    if sys.argv[1] == 'EXIT':\n"
        "        sys.exit(143)\n"
        "    os.kill(os.getpid(), getattr(signal, 'SIG' + sys.argv[1]))\n"
        "    time.sleep(5)\n"
        "pack.pack_runs = interrupted\n"
        "app.app(sys.argv[2:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", interrupting, name, "archive", str(tmp_path), "-o", str(tmp_path / "packed")],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr == f"{said}{tmp_path / 'packed'} contains no incomplete archive. Run the same command again.\n"


def test_page_of_the_command_line_lists_every_command() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    for name, entry in COMMANDS.items():
        assert entry.hidden or f"| `{name}` |" in page, name
