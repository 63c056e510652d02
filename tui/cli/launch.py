"""Opening the dashboard, on a model or on a stream of events: what is done before the terminal is taken."""

from __future__ import annotations

import asyncio
import gzip
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import BinaryIO, cast

from kvtui.core.errors import KvtuiError
from kvtui.core.settings import GenerationSettings
from kvtui.tui.app import KvtuiApp
from kvtui.tui.characters import printable
from kvtui.tui.cli.loading import loading_bar
from kvtui.tui.cli.signals import Ended, handled
from kvtui.tui.cli.streams import note
from kvtui.tui.cli.terminal import require_terminal
from kvtui.tui.cli.watchdog import Watchdog
from kvtui.tui.settings import INTERRUPTED, DashboardSettings
from kvtui.tui.terminal.driver import raise_error, restore_terminal, terminal_modes
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
    _forget_exported_size()
    link = WorkerLink(settings.model)
    try:
        link.start()
        with loading_bar() as on_progress:
            model = link.wait_ready(on_progress=on_progress)
        return run_app(KvtuiApp(link, model, settings), link.kill)
    finally:
        link.close()


def watch_stream(source: str, pace: float | None, follow: bool = False, fps: float | None = None) -> int:
    """Open the dashboard on a file of events, or on standard input if ``source`` is ``-``; the exit status.

    Raises:
        KvtuiError: there is no terminal or no such file, or the stream ends without an event; nothing is drawn yet.
        KeyboardInterrupt: the user pressed Ctrl-C; the terminal is as it was.
    """
    require_terminal(keyboard=False, instead="do not redirect it")
    stream, name = _open_stream(source)
    _take_keyboard()
    _forget_exported_size()
    link = StreamLink(EventReader(stream, name, follow))
    try:
        link.start()
        if not link.has_come(_PATIENCE_SECONDS):
            note(f"waiting for the first event from {name} (Ctrl-C ends this)")
        model = link.wait_ready()
        prompt = printable(link.prompt.replace("\n", "↵")[:_LONGEST_PROMPT])
        settings = DashboardSettings(prompt, generation=GenerationSettings(pace=pace), fps=fps)
        return run_app(KvtuiApp(link, model, settings))
    finally:
        link.close()


def run_app(app: KvtuiApp, kill: Callable[[], None] = lambda: None) -> int:
    """Run an app in the terminal, and return its exit status.

    A signal that asks the program to end closes the app, which restores the terminal; to the app Ctrl-C is a key. If
    the app does not close in time, the process ends by force. The status is that of a shell: 128 + number.

    Args:
        app: the app.
        kill: ends the generator process at once, without waiting.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C; the terminal is restored.
    """
    modes = terminal_modes()

    def by_force(number: int) -> None:
        kill()
        restore_terminal(modes)
        os._exit(128 + number)

    with Watchdog(by_force), handled(partial(_close, app)), _threads_crash(app):
        app.run()
    if app.return_code == INTERRUPTED:
        raise KeyboardInterrupt
    return app.return_code or 0


def _close(app: KvtuiApp, number: int, frame: FrameType | None) -> None:
    """Handle a signal."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise Ended(number) from None  # the terminal is not taken yet, or no longer
    loop.call_soon_threadsafe(app.exit, None, 128 + number)


@contextmanager
def _threads_crash(app: KvtuiApp) -> Iterator[None]:
    """While active, an error in any thread ends the app as one in its own: the screen would hide what Python prints."""

    def crash(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            app.call_later(raise_error, args.exc_value)

    before, threading.excepthook = threading.excepthook, crash
    try:
        yield
    finally:
        threading.excepthook = before


def _forget_exported_size() -> None:
    """Rich and Textual would believe COLUMNS and LINES rather than the terminal."""
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)


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
