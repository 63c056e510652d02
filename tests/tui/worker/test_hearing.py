"""A generator process that does not answer: stopped, never started, or not reading."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from kvtui.core.errors import KvtuiError
from kvtui.core.settings import GenerationSettings
from kvtui.tui.worker.hearing import Hearing
from kvtui.tui.worker.link import WorkerLink
from kvtui.tui.worker.protocol import Answering, Batch, Ended, Report, Silent, Start, read_frame, write_frame

BUSY = "import threading, kvtui.tui.worker.main as m; m.{what} = lambda *a, **k: threading.Event().wait(); m.main()"


def wait_for(link: WorkerLink, kind: type[Report] | Callable[[Report], bool]) -> Report:
    deadline = monotonic() + 60
    while monotonic() < deadline:
        for report in link.drain():
            if isinstance(report, kind) if isinstance(kind, type) else kind(report):
                return report
        select.select([], [], [], 0.01)
    raise AssertionError("what the test waits for did not come")


def test_a_quiet_process_is_asked_and_one_without_an_answer_is_silent_once() -> None:
    hearing = Hearing(0.0)
    times = [time / 2 for time in range(1, 20)]
    found = [(time, hearing.listen(time, heard=False), hearing.must_ask(time)) for time in times]
    assert [time for time, _, ask in found if ask] == [1.0]
    assert [(time, change) for time, change, _ in found if change] == [(6.0, Silent(5.0))]
    assert hearing.silent
    assert hearing.listen(10.0, heard=True) == Answering()
    assert hearing.listen(10.5, heard=True) is None


def test_time_in_which_the_dashboard_was_stopped_does_not_count() -> None:
    hearing = Hearing(0.0)
    assert hearing.listen(1.0, heard=False) is None
    assert hearing.must_ask(1.0)
    assert hearing.listen(100.0, heard=False) is None
    assert hearing.listen(100.5, heard=True) is None


def test_a_stopped_process_is_silent_answers_when_it_goes_on_and_can_be_replaced(tiny_model_file: Path) -> None:
    link = WorkerLink(str(tiny_model_file), patience=0.2)
    link.start()
    try:
        link.wait_ready()
        assert link.pid is not None
        os.kill(link.pid, signal.SIGSTOP)
        assert wait_for(link, Silent) == Silent(0.2)
        os.kill(link.pid, signal.SIGCONT)
        wait_for(link, Answering)
        os.kill(link.pid, signal.SIGSTOP)
        wait_for(link, Silent)
        link.restart()
        link.wait_ready()
    finally:
        link.close()


def test_a_process_that_does_not_read_holds_nothing_up() -> None:
    link = WorkerLink(command=[sys.executable, "-c", "import signal; signal.pause()"])
    link.start()
    for run in range(100):
        link.send(Start(run, "a" * 50_000, GenerationSettings()))
    link.drain()
    link.close()


def test_a_process_that_cannot_be_started_is_one_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    link = WorkerLink()
    link.restart()
    assert link.drain() == [Ended("it cannot be started: No usable temporary directory found")]
    link.load("other")
    with pytest.raises(KvtuiError, match="No usable temporary directory"):
        link.wait_ready()
    link.close()
    none = WorkerLink(command=["/no/such/program"])
    none.start()
    assert isinstance(wait_for(none, Ended), Ended)
    none.close()


@pytest.mark.parametrize("what", ["load", "answer"])
def test_a_process_that_is_busy_ends_when_its_dashboard_is_gone(what: str) -> None:
    """While it loads; while it answers is the same to the thread that reads."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY.format(what=what)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_process_that_writes_to_nobody_ends_when_its_dashboard_is_gone(tiny_model_file: Path) -> None:
    """Its pipe is full, as nobody reads it."""
    command = [sys.executable, "-P", "-m", "kvtui.tui.worker.main", str(tiny_model_file)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        read_frame(process.stdout)  # type: ignore[arg-type]
        os.kill(process.pid, signal.SIGTSTP)  # Ctrl-Z is the dashboard's
        write_frame(process.stdin, Start(1, "a", GenerationSettings(pace=None)))  # type: ignore[arg-type]
        assert isinstance(read_frame(process.stdout), Batch)  # type: ignore[arg-type]
        process.stdin.close()
        assert process.wait(60) == 0
