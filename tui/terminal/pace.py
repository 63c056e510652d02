"""How often a terminal is drawn on: less often when it takes what is written slowly."""

from __future__ import annotations

_HELD_UP_SECONDS = 0.03  # a write that takes longer had to wait for the terminal
_SHARE = 0.5  # of what the terminal can take, so that what lies between it and the program can drain
_GROWTH = 1.02  # of the assumed rate with each write that did not have to wait
_FAST = 2e6  # bytes per second from which on nothing is limited


class Pace:
    """Finds out how many bytes per second a terminal takes.

    Nothing tells how much is in the buffers on the way to it; all that shows is that a write has to wait once they are
    full.

    Attributes:
        rate: bytes per second that it takes, as far as known; None while no write has had to wait.

    Args:
        interval: least seconds between two frames.
    """

    def __init__(self, interval: float = 0.0) -> None:
        self.rate: float | None = None
        self._interval = interval

    def after(self, size: int, seconds: float) -> float:
        """Seconds to wait after a frame of ``size`` bytes that took ``seconds`` to write."""
        if seconds > _HELD_UP_SECONDS:
            measured = size / seconds
            self.rate = measured if self.rate is None else min(measured, self.rate)
        elif self.rate is not None:
            self.rate = self.rate * _GROWTH if self.rate < _FAST else None
        drained = size / (self.rate * _SHARE) - seconds if self.rate is not None else 0.0
        return max(self._interval - seconds, drained, 0.0)
