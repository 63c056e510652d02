"""Opening the dashboard, on a model or on a stream of events: what is done before the terminal is taken."""

from __future__ import annotations

import gzip
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import BinaryIO, cast

from kvtui.core.errors import KvtuiError
from kvtui.core.settings import GenerationSettings
from kvtui.tui.app import KvtuiApp
from kvtui.tui.characters import printable
from kvtui.tui.cli.loading import loading_bar
from kvtui.tui.cli.streams import note
from kvtui.tui.cli.terminal import require_terminal
from kvtui.tui.settings import INTERRUPTED, DashboardSettings
from kvtui.tui.worker.event_reader import EventReader
from kvtui.tui.worker.link import WorkerLink
from kvtui.tui.worker.stream_link import StreamLink

_TERMINAL = "/dev/tty"
_LONGEST_PROMPT = 2_000  # characters of it in the prompt pane; the output shows all
_PATIENCE_SECONDS = 1.0


def run_dashboard(settings: DashboardSettings) -> int:
    """Open the dashboard, and return the exit status. :func:`~kvtui.tui.cli.terminal.require_terminal` has accepted
    the terminal.

    Raises:
        KvtuiError: the model cannot be loaded; raised before the terminal is touched.
        KeyboardInterrupt: the user pressed Ctrl-C; the terminal is restored.
    """
    link = WorkerLink(settings.model)
    try:
        link.start()
        with loading_bar() as on_progress:
            model = link.wait_ready(on_progress=on_progress)
        return run_app(KvtuiApp(link, model, settings))
    finally:
        link.close()


def watch_stream(source: str, pace: float | None, follow: bool = False) -> int:
    """Open the dashboard on a file of events, or on standard input if ``source`` is ``-``; the exit status.

    Raises:
        KvtuiError: there is no terminal or no such file, or the stream ends without an event; nothing is drawn yet.
        KeyboardInterrupt: the user pressed Ctrl-C; the terminal is as it was.
    """
    require_terminal(keyboard=False, instead="do not redirect it")
    stream, name = _open_stream(source)
    _take_keyboard()
    link = StreamLink(EventReader(stream, name, follow))
    try:
        link.start()
        if not link.has_come(_PATIENCE_SECONDS):
            note(f"waiting for the first event from {name} (Ctrl-C ends this)")
        model = link.wait_ready()
        prompt = printable(link.prompt.replace("\n", "↵")[:_LONGEST_PROMPT])
        return run_app(KvtuiApp(link, model, DashboardSettings(prompt, generation=GenerationSettings(pace=pace))))
    finally:
        link.close()


def run_app(app: KvtuiApp) -> int:
    """Run an app in the terminal, and return its exit status.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C; the terminal is restored.
    """
    with _signals_close(app):
        app.run()
    if app.return_code == INTERRUPTED:
        raise KeyboardInterrupt
    return app.return_code or 0


@contextmanager
def _signals_close(app: KvtuiApp) -> Iterator[None]:
    """While active, a signal that would end the process closes the app instead, which restores the terminal.

    To the app Ctrl-C is a key; another program can still send its signal. The status is that of a shell: 128 + number.
    """

    def close(number: int, frame: FrameType | None) -> None:
        app.exit(return_code=128 + number)

    before = {number: signal.signal(number, close) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _open_stream(source: str) -> tuple[BinaryIO, str]:
    """The stream and what to call it. Standard input gets another descriptor, as 0 must be the keyboard."""
    if source == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise KvtuiError(
                "no events on standard input: pipe them in, as in 'kvtui generate PROMPT --json | kvtui watch -'"
            )
        return os.fdopen(os.dup(0), "rb"), "standard input"
    path = Path(source)
    if path.is_dir():
        raise KvtuiError(f"{source} is a folder: give a file of events")
    try:
        return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb"), path.name
    except FileNotFoundError:
        raise KvtuiError(f"there is no file of events {source}") from None
    except (OSError, ValueError) as error:
        raise KvtuiError(f"cannot read {source}: {getattr(error, 'strerror', None) or error}") from None


def _take_keyboard() -> None:
    """Make standard input the terminal if it is a pipe: Textual reads keys from descriptor 0, whatever it is.

    Raises:
        KvtuiError: this process has no terminal.
    """
    if sys.stdin is not None and sys.stdin.isatty():
        return
    try:
        terminal = os.open(_TERMINAL, os.O_RDWR)
    except OSError:
        raise KvtuiError("the dashboard needs a terminal for its keys, and this process has none") from None
    os.dup2(terminal, 0)
    os.close(terminal)
