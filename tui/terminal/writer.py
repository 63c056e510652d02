"""Writing to the terminal in a thread of its own: a terminal that is slow, stopped or gone never holds up the keys."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

_CLOSE_SECONDS = 5.0  # for a slow terminal to take what is left; one that takes nothing must not keep the program


class Writer:
    """Writes text to a terminal in order, without ever blocking the caller.

    Args:
        descriptor: of the terminal.
        on_lost: called once, in the thread, when the terminal is gone; what is put afterwards is discarded.
    """

    def __init__(self, descriptor: int, on_lost: Callable[[], None]) -> None:
        self._descriptor, self._on_lost = descriptor, on_lost
        self._changed = threading.Condition()  # guards what follows
        self._waiting: list[str] = []
        self._closed = self._lost = False
        self._thread = threading.Thread(target=self._run, name="terminal-output", daemon=True)
        self._thread.start()

    def put(self, text: str) -> None:
        """Write this after all that was put before."""
        with self._changed:
            if not self._lost:
                self._waiting.append(text)
                self._changed.notify()

    def close(self) -> None:
        """Write what is left, unless the terminal does not take it within some seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while (text := self._next()) is not None:
            try:
                write_all(self._descriptor, text)
            except OSError:  # EIO: the terminal has been closed
                with self._changed:
                    self._lost = True
                    self._waiting.clear()
                self._on_lost()
                return

    def _next(self) -> str | None:
        """All that is waiting; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            text = "".join(self._waiting)
            self._waiting.clear()
            return text or None


def write_all(descriptor: int, text: str) -> None:
    """Write text to a descriptor.

    Raises:
        OSError: it is gone.
    """
    data = memoryview(text.encode("utf-8", "replace"))
    while data:
        data = data[os.write(descriptor, data) :]
