"""A thread that ends the process by force when a signal has asked it to end and it does not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

from kvtui.tui.cli.signals import ENDING

PATIENCE_SECONDS = 1.5  # from the signal; the terminal is back within two


class Watchdog:
    """While active, a signal that asks the program to end is given :data:`PATIENCE_SECONDS` to take effect.

    Python runs signal handlers only in the main thread, and the app's loop must go on for the app to end. The number of
    each handled signal also comes through a pipe, at once and whatever the main thread does.

    Args:
        by_force: called with the signal's number in the watchdog's thread; does not return.
    """

    def __init__(self, by_force: Callable[[int], None]) -> None:
        self._by_force = by_force
        self._ended = threading.Event()
        self._reading, self._writing = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._before = -1

    def __enter__(self) -> Watchdog:
        os.set_blocking(self._writing, False)
        if threading.current_thread() is threading.main_thread():
            self._before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._before)
        self._ended.set()
        os.close(self._writing)
        self._thread.join()
        os.close(self._reading)

    def _watch(self) -> None:
        while numbers := os.read(self._reading, 64):
            for number in numbers:
                if number in ENDING:
                    if not self._ended.wait(PATIENCE_SECONDS):
                        self._by_force(number)
                    return
