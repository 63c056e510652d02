"""Running the command line inside the test process, and as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

ENTRY = "from kvtui.tui.cli.entry import main; main()"


@dataclass(frozen=True)
class Outcome:
    """What a call left behind."""

    status: int
    out: str
    err: str


Kvtui = Callable[..., Outcome]


def arguments(*args: object) -> list[str]:
    """The command line of a real ``kvtui`` process."""
    return [sys.executable, "-c", ENTRY, *map(str, args)]


def run_process(*args: object, stdin: str = "") -> Outcome:
    """A real ``kvtui`` process, to its end."""
    done = subprocess.run(arguments(*args), input=stdin, capture_output=True, text=True, timeout=120, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


def assert_refused(outcome: Outcome, *words: str) -> None:
    """Status 2, nothing on standard output, one line on standard error that holds every word."""
    assert outcome.status == 2, outcome
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("kvtui: ")
    for word in words:
        assert word in outcome.err
