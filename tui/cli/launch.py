"""The dashboard on a model of this machine: the generator process is started before the terminal is taken."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from kvtui.tui.app import INTERRUPTED, KvtuiApp
from kvtui.tui.cli.loading import loading_bar
from kvtui.tui.settings import DashboardSettings
from kvtui.tui.worker.link import WorkerLink


def run_dashboard(settings: DashboardSettings) -> int:
    """Open the dashboard; the exit status. :func:`~kvtui.tui.cli.terminal.require_terminal` has found the terminal
    good.

    Raises:
        KvtuiError: the model cannot be loaded; before the terminal is touched.
        KeyboardInterrupt: the user pressed Ctrl-C; the terminal is as it was.
    """
    link = WorkerLink(settings.model)
    try:
        link.start()
        with loading_bar() as on_progress:
            ready = link.wait_ready(on_progress=on_progress)
        return run_app(KvtuiApp(link, ready, settings))
    finally:
        link.close()


def run_app(app: KvtuiApp) -> int:
    """Give an app the terminal; its exit status.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C; the terminal is as it was.
    """
    with _signals_close(app):
        app.run()
    if app.return_code == INTERRUPTED:
        raise KeyboardInterrupt
    return app.return_code or 0


@contextmanager
def _signals_close(app: KvtuiApp) -> Iterator[None]:
    """While active, a signal that would end the process closes the app instead, which gives the terminal back.

    Ctrl-C is a key to the app; another program can still send its signal. The status is that of a shell: 128 + number.
    """

    def close(number: int, frame: FrameType | None) -> None:
        app.exit(return_code=128 + number)

    before = {number: signal.signal(number, close) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
