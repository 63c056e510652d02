"""Signals that ask a command to end: Ctrl-C, SIGTERM (timeout, a scheduler) and SIGHUP (a terminal that is closed)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from kvtui.core.commands import Command, Stop

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name))


class Ended(KeyboardInterrupt):
    """A signal asked the program to end. What Ctrl-C would unwind is unwound."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def status(self) -> int:
        """The exit status that a shell expects: 128 and the number of the signal."""
        return 128 + self.number


@contextmanager
def raised() -> Iterator[None]:
    """While active, every signal that asks the program to end raises :class:`Ended`. Ignored ones stay ignored."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    with handled(end):
        yield


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """While active, this handles every signal that asks the program to end. Ignored ones stay ignored."""
    before = _install(handler)
    try:
        yield
    finally:
        _restore(before)


class StopOnSignal:
    """While active, the first signal that asks the program to end lets the work stop cleanly; the second ends it now.

    It is a source of commands for the generation loop: :class:`~kvtui.core.commands.Stop` once asked.
    """

    def __init__(self) -> None:
        self.ended: Ended | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        self._before = _install(self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _restore(self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.ended is not None:
            raise Ended(number)
        self.ended = Ended(number)

    def poll(self, timeout: float | None) -> Command | None:
        """Return Stop if a signal has come."""
        return Stop() if self.ended is not None else None


def _install(handler: Any) -> dict[int, Any]:
    """Handle the signals that are not ignored (as below nohup, or in a background job); the handlers before."""
    if threading.current_thread() is not threading.main_thread():
        return {}  # Python lets only the main thread handle signals
    handled = [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in handled}


def _restore(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)
