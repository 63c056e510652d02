"""The dashboard's end of the generator process: starts it, exchanges messages, and notices if it dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import IO, Protocol

from kvtui.core.errors import KvtuiError
from kvtui.tui.worker.hearing import SILENT_SECONDS, Hearing
from kvtui.tui.worker.protocol import (
    Ended,
    Loading,
    ModelInfo,
    Ping,
    Pong,
    Ready,
    Refused,
    Report,
    Request,
    Shutdown,
    frame,
    read_frame,
)

_GRACE_SECONDS = 0.5
_MOST_UNSENT = 1 << 20  # bytes of requests that wait for a process that does not read


class Link(Protocol):
    """What the dashboard needs from the generator process; tests use a fake."""

    def send(self, request: Request) -> None:
        """Send a request; silently lost if the process is gone, as its end is reported separately."""
        ...

    def drain(self) -> list[Report]:
        """All reports that have arrived since the last call, without waiting."""
        ...

    def restart(self) -> None:
        """Start a new process to replace one that is gone."""
        ...

    def load(self, model: str | None) -> None:
        """Start a process with another model, given as for ``--model``, to replace this one."""
        ...

    def close(self) -> None:
        """End the process."""
        ...


class WorkerLink:
    """A generator process and the pipes to it.

    Uses plain subprocess pipes: multiprocessing cannot spawn from inside a running Textual app, where standard error
    has no file descriptor. A restart works the same way as the start.

    Args:
        model: value of ``--model``, None for the bundled model.
        command: another program to run, for tests.
        patience: seconds without an answer, after which the process is reported as silent.
    """

    def __init__(
        self, model: str | None = None, command: Sequence[str] | None = None, patience: float = SILENT_SECONDS
    ) -> None:
        self._command = list(command or worker_command(model))
        self._patience = patience
        self._hearing: Hearing | None = None  # while there is a process that has not ended
        self._unsent = bytearray()  # what the pipe has not taken yet
        self._reports: SimpleQueue[Report] = SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """Id of the current process."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process. Its first report is :class:`Ready` or :class:`Refused`; :class:`Ended` if the system has
        no process, thread or temporary file for it."""
        self._reports = SimpleQueue()  # unread reports of the previous process no longer matter
        self._unsent.clear()
        try:
            self._start()
        except (OSError, RuntimeError) as error:
            self.close()
            self._reports.put(Ended(f"it cannot be started: {getattr(error, 'strerror', None) or error}"))

    def _start(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0
        )
        self._process = process
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)  # the screen must not wait for a process that is stopped
        self._hearing = Hearing(monotonic(), self._patience)
        reading = (process, self._errors, self._reports)
        reader = threading.Thread(target=self._read, args=reading, name="reports", daemon=True)
        reader.start()
        self._reader = reader

    def restart(self) -> None:
        """Start a new process to replace one that is gone."""
        self.close()
        self.start()

    def load(self, model: str | None) -> None:
        """Start a process with another model. The current one is ended first: memory may not hold both."""
        self._command = worker_command(model)
        self.restart()

    def wait_ready(
        self, timeout: float = 120.0, on_progress: Callable[[int, int], None] = lambda done, total: None
    ) -> ModelInfo:
        """Wait for the model to be loaded, and return its description.

        Args:
            timeout: seconds without any report.
            on_progress: called with (parts done, total parts).

        Raises:
            KvtuiError: loading failed, or there was no report for ``timeout`` seconds.
        """
        deadline = monotonic() + timeout
        while True:
            try:
                report = self._reports.get(timeout=max(0.0, deadline - monotonic()))
            except Empty:
                raise KvtuiError(f"the generator process did not load the model within {timeout:.0f} s") from None
            if isinstance(report, Loading):
                deadline = monotonic() + timeout
                on_progress(report.done, report.total)
            if isinstance(report, Ready):
                return report.model
            if isinstance(report, Refused):
                raise KvtuiError(report.message)
            if isinstance(report, Ended):
                raise KvtuiError(f"the generator process could not start: {report.reason}")

    def send(self, request: Request) -> None:
        """Send a request without waiting; lost if the process is gone, or has long stopped reading."""
        if self._process is not None and len(self._unsent) < _MOST_UNSENT:
            self._unsent += frame(request)
            self._flush()

    def _flush(self) -> None:
        """Write what the pipe takes now; the rest waits for the next call."""
        if self._unsent and self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                while self._unsent and (written := self._process.stdin.write(self._unsent)):
                    del self._unsent[:written]

    def drain(self) -> list[Report]:
        """All reports that have arrived since the last call, without waiting."""
        reports: list[Report] = []
        with contextlib.suppress(Empty):
            while True:
                reports.append(self._reports.get_nowait())
        self._flush()
        if any(isinstance(report, Ended) for report in reports):
            self._hearing = None
        if self._hearing is not None:
            change = self._hearing.listen(monotonic(), heard=bool(reports))
            if self._hearing.must_ask(monotonic()):
                self.send(Ping())
            reports = [report for report in (change, *reports) if report is not None]
        return [report for report in reports if not isinstance(report, Pong)]

    def close(self) -> None:
        """End the process and wait for it; it is killed if that takes longer than half a second, or if it is silent."""
        grace = 0.0 if self._hearing is not None and self._hearing.silent else _GRACE_SECONDS
        self.send(Shutdown())
        process, self._process, self._hearing = self._process, None, None
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(grace)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if self._reader is not None:
                self._reader.join()
            process.stdout.close()
        if self._errors is not None:
            self._errors.close()

    def kill(self) -> None:
        """End the process at once, without waiting for it."""
        if (process := self._process) is not None:
            process.kill()

    def _read(self, process: subprocess.Popen[bytes], errors: IO[bytes], reports: SimpleQueue[Report]) -> None:
        """Runs in a thread: pass reports on until the process ends, then report why it did."""
        assert process.stdout is not None
        try:
            while True:
                reports.put(read_frame(process.stdout))  # type: ignore[arg-type]
        except (EOFError, OSError, ValueError):
            pass
        except Exception as error:  # a damaged frame: the process can no longer be used
            process.kill()
            reports.put(Ended(f"it sent something unreadable ({error})"))
            return
        if self._process is process:  # else it ends because of close()
            reports.put(Ended(describe_end(process.wait(), _last_line(errors))))


def worker_command(model: str | None) -> list[str]:
    """The command line of the generator process."""
    # -P: the user's current folder must not offer modules to import.
    return [sys.executable, "-P", "-m", "kvtui.tui.worker.main", *([] if model is None else [model])]


def describe_end(status: int, error: str) -> str:
    """Why a process ended, in words. ``status`` as given by subprocess: negative for a signal."""
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = str(-status)
        return f"ended by signal {name}"
    return f"exit status {status}" + (f": {error}" if error else "")


def _last_line(stream: IO[bytes]) -> str:
    """The last line that the process wrote to standard error: in a traceback, the one that names the error."""
    stream.seek(0)
    lines = stream.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
