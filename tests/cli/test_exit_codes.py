"""Which exit code ends a command for which error."""

from __future__ import annotations

import pytest

from taichinet.cli import app as command_line
from taichinet.errors import ProcessError


@pytest.mark.parametrize(
    ("error", "code"),
    [(ProcessError("A worker ended."), 8), (OSError(28, "No space left on device", "runs/summary.json"), 3)],
)
def test_the_exit_code_is_that_of_the_error(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(command_line, "app", fail)
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == code
    assert "Error:" in capsys.readouterr().err
