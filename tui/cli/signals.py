"""Signals that ask a command to end: Ctrl-C, SIGTERM (timeout, a scheduler) and SIGHUP (a terminal that is closed)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

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
    """While active, this handles every signal that asks the program to end.

    Ignored ones stay ignored, as below nohup or in a background job. Outside the main thread, which alone may handle
    signals in Python, nothing changes.
    """
    main = threading.current_thread() is threading.main_thread()
    numbers = [number for number in ENDING if main and signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


class StopRequest:
    """Whether a signal has asked for the end: the first lets the work stop cleanly, the second ends it now.

    It is a source of commands for the generation loop: :class:`~kvtui.core.commands.Stop` once asked.
    """

    def __init__(self) -> None:
        self.ended: Ended | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Take in a signal."""
        if self.ended is not None:
            raise Ended(number)
        self.ended = Ended(number)

    def poll(self, timeout: float | None) -> Command | None:
        """Return Stop if a signal has come."""
        return Stop() if self.ended is not None else None


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """While active, signals that ask the program to end become a request to stop."""
    request = StopRequest()
    with handled(request.handle):
        yield request
