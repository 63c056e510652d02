"""What the cache saves, as one ratio of times at the same length of text. No terminal in here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kvtui.core.events import Token

BIN = 16  # positions of text that count as the same length when cached and uncached are compared
_STEP = BIN // 2  # from one bin to the next


def length_of(token: Token) -> int:
    """Positions of the model's window when a token was written, in any mode.

    A policy attends to fewer of them (``context``), and a token without the cache runs all of them.
    """
    return max(token.context, token.position + 1 - token.window_start)


def lengths_words(first: int, last: int) -> str:
    """A range of lengths in positions, without the unit: ``64–127``, or ``336`` for one length."""
    return str(first) if first == last else f"{first}–{last}"


@dataclass(frozen=True)
class Comparison:
    """Milliseconds of a token with the cache and without, both at ``first`` to ``last`` positions of text.

    Every ratio of the two on the screen is :attr:`times` of such an object, beside its :attr:`lengths`.
    """

    cached: float
    uncached: float
    first: int
    last: int

    @property
    def times(self) -> float:
        """How many times as fast the cache makes it."""
        return self.uncached / self.cached

    @property
    def lengths(self) -> str:
        """The lengths that it is of, in positions."""
        return lengths_words(self.first, self.last)


def bins_of(length: int) -> tuple[int, ...]:
    """The bins of lengths that a length belongs to, the longer one last.

    Each bin shares half of its lengths with the next, so that the cache is never switched between two of them.
    """
    last = length // _STEP
    return (last - 1, last) if last else (0,)


def bin_lengths(number: int) -> tuple[int, int]:
    """The shortest and the longest text of a bin, in positions."""
    return max(1, number * _STEP), number * _STEP + BIN - 1


def nearest(bins: Iterable[int], length: int) -> int | None:
    """The bin whose middle is nearest to a length in positions, the longer one of two; None of none."""
    return min(bins, key=lambda number: (abs((number + 1) * _STEP - length), -number), default=None)


def compared(cached: Mapping[int, float], uncached: Mapping[int, float], length: int) -> Comparison | None:
    """The comparison at the bin nearest to a length; None if no bin has both.

    Args:
        cached: milliseconds with the cache, by bin.
        uncached: the same without.
        length: of the newest token, in positions.
    """
    found = nearest((number for number in cached if cached[number] > 0 and number in uncached), length)
    return None if found is None else Comparison(cached[found], uncached[found], *bin_lengths(found))
