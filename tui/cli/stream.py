"""The dashboard on a stream of events: the pipe or file is opened here, and the keyboard found."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

from kvtui.core.errors import KvtuiError
from kvtui.tui.app import KvtuiApp
from kvtui.tui.cli.launch import run_app
from kvtui.tui.cli.terminal import require_terminal
from kvtui.tui.drawing.labels import printable
from kvtui.tui.settings import DashboardSettings
from kvtui.tui.worker.stream_link import StreamLink

_TERMINAL = "/dev/tty"
_LONGEST_PROMPT = 2_000  # characters of it in the prompt pane; the output shows all
_PATIENCE_SECONDS = 1.0


def watch_stream(source: str, pace: float | None) -> int:
    """Open the dashboard on a file of events, or on standard input if ``source`` is ``-``; the exit status.

    Raises:
        KvtuiError: there is no terminal or no such file, or the stream ends without an event; nothing is drawn yet.
        KeyboardInterrupt: the user pressed Ctrl-C; the terminal is as it was.
    """
    require_terminal(keyboard=False, instead="do not redirect it")
    stream, name = _open(source)
    _take_keyboard()
    link = StreamLink(stream, name)
    try:
        link.start()
        if not link.has_come(_PATIENCE_SECONDS):
            sys.stderr.write(f"kvtui: waiting for the first event from {printable(name)} (Ctrl-C ends this)\n")
        ready = link.wait_ready()
        prompt = printable(link.prompt.replace("\n", "↵")[:_LONGEST_PROMPT])
        return run_app(KvtuiApp(link, ready, DashboardSettings(prompt=prompt, pace=pace)))
    finally:
        link.close()


def _open(source: str) -> tuple[BinaryIO, str]:
    """The stream and what to call it. Standard input gets another descriptor, as 0 has to be the keyboard."""
    if source == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise KvtuiError(
                "no events come on standard input: pipe them in, as in 'kvtui generate PROMPT --json | kvtui watch -'"
            )
        return os.fdopen(os.dup(0), "rb"), "standard input"
    path = Path(source)
    if path.is_dir():
        raise KvtuiError(f"{source} is a folder: give a file of events")
    try:
        return path.open("rb"), path.name
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
