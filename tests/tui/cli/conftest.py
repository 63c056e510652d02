"""The command line as a function."""

from __future__ import annotations

import pytest
from calling import Kvtui, Outcome

from kvtui.tui.cli.main import run


@pytest.fixture
def kvtui(capsys: pytest.CaptureFixture[str]) -> Kvtui:
    """``kvtui("generate", "A", "-n", 3)``, in this process."""

    def call(*args: object) -> Outcome:
        capsys.readouterr()
        status = run([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call
