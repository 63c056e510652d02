"""Writing to the terminal in a thread of its own: a terminal that is slow, stopped or gone never holds up the keys."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from time import monotonic

from kvtui.tui.terminal.canvas import Canvas
from kvtui.tui.terminal.pace import Pace

_CLOSE_SECONDS = 5.0  # for a slow terminal to take what is left; one that takes nothing must not keep the program
_HURRY_SECONDS = 0.3  # in which the answer to a key is drawn
_SYNCHRONIZED = ("\x1b[?2026h", "\x1b[?2026l")


class Writer:
    """Writes frames and control sequences to a terminal without ever blocking the caller.

    Frames are merged on a :class:`Canvas` until the terminal is ready for the next.

    Args:
        descriptor: of the terminal.
        canvas: of the terminal's size; used by nobody else.
        interval: least seconds between two frames, except after a key.
        on_lost: called once, in the thread, when the terminal is gone; what is put afterwards is discarded.
    """

    def __init__(self, descriptor: int, canvas: Canvas, interval: float, on_lost: Callable[[], None]) -> None:
        self._descriptor, self._on_lost = descriptor, on_lost
        self._pace = Pace(interval)
        self._changed = threading.Condition()  # guards what follows
        self._canvas = canvas
        self._controls: list[str] = []
        self._drawn = False
        self._synchronized = False  # whether the terminal can show a frame at once
        self._next_frame = 0.0  # times of monotonic
        self._hurry_until = 0.0
        self._closed = self._lost = False
        self._thread = threading.Thread(target=self._run, name="terminal-output", daemon=True)
        self._thread.start()

    def put(self, control: str) -> None:
        """Write a control sequence, before any frame that is waiting."""
        with self._changed:
            if control in _SYNCHRONIZED:
                self._synchronized = True
            elif not self._lost:
                self._controls.append(control)
                self._changed.notify()

    def draw(self, frame: str) -> None:
        """Show a frame, as soon as the terminal is ready for it."""
        with self._changed:
            self._canvas.draw(frame)
            self._drawn = True
            self._changed.notify()

    def hurry(self) -> None:
        """A key has come: what is drawn next is its answer."""
        with self._changed:
            self._next_frame, self._hurry_until = 0.0, monotonic() + _HURRY_SECONDS
            self._changed.notify()

    def resize(self, columns: int, lines: int) -> None:
        """The terminal has another size; all of it will be drawn."""
        with self._changed:
            self._canvas.resize(columns, lines)

    def stop_drawing(self) -> None:
        """Discard frames from now on: the screen is being left."""
        with self._changed:
            self._canvas.resize(0, 0)
            self._drawn = False

    def close(self) -> None:
        """Write what is left, unless the terminal does not take it within some seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_CLOSE_SECONDS)

    # The thread

    def _run(self) -> None:
        while (text := self._next()) is not None:
            start = monotonic()
            try:
                size = write_all(self._descriptor, text)
            except OSError:  # EIO: the terminal has been closed
                with self._changed:
                    self._lost = True
                self._on_lost()
                return
            end = monotonic()
            wait = self._pace.after(size, end - start)
            with self._changed:
                self._next_frame = end + wait if end > self._hurry_until else 0.0

    def _next(self) -> str | None:
        """What to write now; None at the end."""
        with self._changed:
            while not (self._controls or self._closed or (self._drawn and monotonic() >= self._next_frame)):
                self._changed.wait(max(0.0, self._next_frame - monotonic()) if self._drawn else None)
            text = "".join(self._controls)
            self._controls.clear()
            if self._drawn and (monotonic() >= self._next_frame or self._closed):
                self._drawn = False
                frame = self._canvas.changes()
                text += frame.join(_SYNCHRONIZED) if self._synchronized else frame
            return text or None


def write_all(descriptor: int, text: str) -> int:
    """Write text to a descriptor; returns the number of bytes.

    Raises:
        OSError: it is gone.
    """
    data = memoryview(text.encode("utf-8", "replace"))
    size = len(data)
    while data:
        data = data[os.write(descriptor, data) :]
    return size
