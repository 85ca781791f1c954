"""The exit code of a command for each kind of error."""

from __future__ import annotations

import pytest

from taichinet.cli import app as command_line
from taichinet.errors import ProcessError


@pytest.mark.parametrize(
    ("error", "code"),
    [(ProcessError("A worker ended."), 8), (OSError(28, "No space left on device", "runs/summary.json"), 3)],
)
def test_exit_code_is_that_of_the_error(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(command_line, "app", fail)
    with pytest.raises(SystemExit) as stopped:
        command_line.main()
    assert stopped.value.code == code
    assert "Error:" in capsys.readouterr().err
