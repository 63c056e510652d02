"""The cost of tokens: a bounded history of their model time, and statistics of it. Does not import Textual."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from kvtui.core.events import Token
from kvtui.tui.session.comparison import Comparison, bin_lengths, bins_of, length_of, nearest

LIMIT = 16_384  # tokens kept; older ones are discarded
_LATELY, _TYPICAL = 200, 30  # tokens searched for those of a kind, and tokens in the median
RECENT = 128  # tokens in the statistics
_SAMPLES = 128  # newest tokens kept in a bin, for each mode

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Kind(IntEnum):
    """How a token was computed."""

    UNCACHED = 0  # the whole context was run
    CACHED = 1  # one position was run
    REFILL = 2  # the cache was on but cold: the context was run once, to fill it


def kind_of(token: Token) -> Kind:
    """How a token was computed, given the number of positions run for it."""
    if not token.cache:
        return Kind.UNCACHED
    return Kind.REFILL if token.computed > 1 else Kind.CACHED


@dataclass(frozen=True)
class TimingSummary:
    """Milliseconds of the newest tokens in the current mode, and the resulting speed."""

    last: float
    median: float
    p95: float
    tokens_per_second: float


@dataclass(frozen=True)
class Columns:
    """The history as columns of a graph, oldest first.

    Attributes:
        milliseconds: (columns,) median of the column's tokens of its kind; for refills, the maximum.
        kinds: (columns,) :class:`Kind`: refill if there is one in the column, else that of the newest token.
        computed: (columns,) positions run for a refill, else 1.
        moved: (columns,) whether a refill followed a cached token, because the window moved or the policy changed.
            Otherwise the cache was switched on.
        first: number of the first column; column n starts at token n times the tokens per column.
    """

    milliseconds: Floats
    kinds: Integers
    computed: Integers
    moved: npt.NDArray[np.bool_]
    first: int = 0


@dataclass(frozen=True)
class OwnTimes:
    """Times of tokens, to be combined with those of other branches.

    Attributes:
        total: number of tokens.
        seconds: total model time.
        milliseconds: (tokens,) times of the newest tokens, as many as are kept.
        kinds: (tokens,) :class:`Kind` of each.
        by_length: milliseconds by bin of lengths (:data:`~kvtui.tui.session.comparison.BIN`) and kind.
    """

    total: int
    seconds: float
    milliseconds: Floats
    kinds: Integers
    by_length: Mapping[tuple[int, Kind], Sequence[float]]


NO_COLUMNS = Columns(np.zeros(0), np.zeros(0, np.int64), np.ones(0, np.int64), np.zeros(0, bool))


class TimingHistory:
    """The newest ``capacity`` tokens of a text, and medians by length of the text.

    Attributes:
        total: tokens so far, discarded ones included.
        seconds: total model time.
        length: positions of the model's window at the newest token.
        first_position: index of the first token in the whole text.
        shared: number of tokens shared with, and counted by, another branch of the text.

    Args:
        capacity: maximum number of tokens kept.
        shared: the tokens shared with another branch, to start with.
    """

    def __init__(self, capacity: int = LIMIT, shared: Sequence[Token] = ()) -> None:
        self.capacity = capacity
        # Twice the room, so that making space costs one copy in `capacity` tokens and the newest stay contiguous.
        self._milliseconds = np.zeros(2 * self.capacity)
        self._kinds = np.zeros(2 * self.capacity, dtype=np.int64)
        self._computed = np.zeros(2 * self.capacity, dtype=np.int64)
        self._end = 0
        self.total = 0
        self.seconds = 0.0
        self.length = 0
        self.first_position = 0
        self._bins: dict[tuple[int, Kind], deque[float]] = {}
        self.add(shared)
        self.shared, self._shared_seconds = self.total, self.seconds

    def add(self, tokens: Sequence[Token]) -> None:
        """Append tokens; the oldest beyond the capacity are discarded."""
        if tokens and not self.total:
            self.first_position = tokens[0].position
        self.total += len(tokens)
        self.seconds += sum(token.seconds for token in tokens)
        tokens = tokens[-self.capacity :]
        if not tokens:
            return
        if self._end + len(tokens) > 2 * self.capacity:
            self._make_room()
        kinds = list(map(kind_of, tokens))
        milliseconds = [token.seconds * 1e3 for token in tokens]
        new = slice(self._end, self._end + len(tokens))
        self._milliseconds[new] = milliseconds
        self._kinds[new] = kinds
        self._computed[new] = [token.computed for token in tokens]
        self._end = new.stop
        self.length = length_of(tokens[-1])
        for token, kind, value in zip(tokens, kinds, milliseconds, strict=True):
            if kind is not Kind.REFILL:
                for number in bins_of(length_of(token)):
                    self._bins.setdefault((number, kind), deque(maxlen=_SAMPLES)).append(value)

    def _make_room(self) -> None:
        kept = len(self)
        for values in (self._milliseconds, self._kinds, self._computed):
            values[:kept] = values[self._end - kept : self._end].copy()
        self._end = kept

    def __len__(self) -> int:
        return min(self._end, self.capacity)

    @property
    def milliseconds(self) -> Floats:
        """(tokens,) times kept, oldest first."""
        return self._milliseconds[self._end - len(self) : self._end]

    @property
    def kinds(self) -> Integers:
        """(tokens,) the kind of each."""
        return self._kinds[self._end - len(self) : self._end]

    @property
    def cached(self) -> bool:
        """Whether the newest token was computed with the cache."""
        return self._end == 0 or bool(self._kinds[self._end - 1] != Kind.UNCACHED)

    def summary(self) -> TimingSummary | None:
        """Times of the newest tokens since the cache was last switched on or off; None if there are none yet.

        A refill is not typical of a warm cache: it counts only as ``last``, and if it is alone the rest is NaN.
        """
        if not len(self):
            return None
        kinds, milliseconds = self.kinds[-RECENT:], self.milliseconds[-RECENT:]
        other_mode = np.flatnonzero((kinds == Kind.UNCACHED) == self.cached)
        start = int(other_mode[-1]) + 1 if len(other_mode) else 0
        warm = milliseconds[start:][kinds[start:] != Kind.REFILL]
        last = float(milliseconds[-1])
        if not len(warm):
            return TimingSummary(last, math.nan, math.nan, math.nan)
        median, p95 = np.percentile(warm, [50, 95])
        total = float(warm.sum())
        return TimingSummary(last, float(median), float(p95), 1e3 * len(warm) / total if total else math.nan)

    def measured(self, cached: bool) -> bool:
        """Whether there are tokens with (or without) the cache to compare."""
        kind = Kind.CACHED if cached else Kind.UNCACHED
        return any(key[1] is kind for key in self._bins)

    def own(self) -> OwnTimes:
        """Times of the tokens not counted by another branch of the text."""
        total = self.total - self.shared
        new = slice(max(len(self) - total, 0), None)
        return OwnTimes(
            total, self.seconds - self._shared_seconds, self.milliseconds[new], self.kinds[new], dict(self._bins)
        )

    def typical(self, kind: Kind) -> float | None:
        """Median seconds of the newest tokens of a kind, None if none was among the newest :data:`_LATELY`."""
        milliseconds = self.milliseconds[-_LATELY:][self.kinds[-_LATELY:] == kind]
        return float(np.median(milliseconds[-_TYPICAL:])) / 1e3 if len(milliseconds) else None

    def median(self, number: int, kind: Kind) -> float:
        """Milliseconds of the newest tokens of a kind in a bin of lengths; NaN if there are none."""
        values = self._bins.get((number, kind))
        return float(np.median(values)) if values else math.nan

    def shared_bin(self) -> int | None:
        """The bin of lengths nearest to the newest token's in which both ways were measured."""
        both = (number for number, kind in self._bins if kind is Kind.CACHED and (number, Kind.UNCACHED) in self._bins)
        return nearest(both, self.length)

    def comparison(self) -> Comparison | None:
        """Cached against uncached in the shared bin; None if there is none."""
        number = self.shared_bin()
        if number is None:
            return None
        cached, uncached = (self.median(number, kind) for kind in (Kind.CACHED, Kind.UNCACHED))
        return Comparison(cached, uncached, *bin_lengths(number)) if cached > 0 else None

    def columns(self, width: int, tokens_per_column: int, end: int | None = None) -> Columns:
        """The tokens before number ``end``, by default the newest, in at most ``width`` columns.

        Columns begin at multiples of ``tokens_per_column``, so that a token keeps its neighbours as new ones arrive.
        """
        per = tokens_per_column
        oldest = self.total - len(self)
        end = self.total if end is None else min(end, self.total)
        if end <= oldest:
            return NO_COLUMNS
        first = max((end - 1) // per - width + 1, oldest // per)
        start = max(first * per, oldest)
        before = start - first * per  # tokens of the first column that have been discarded
        count = (end - 1) // per - first + 1
        used = slice(start - oldest, end - oldest)
        milliseconds = np.full(count * per, np.inf)
        kinds = np.full(count * per, -1, dtype=np.int64)
        computed = np.ones(count * per, dtype=np.int64)
        moved = np.zeros(count * per, dtype=bool)
        filled = slice(before, before + end - start)
        milliseconds[filled] = self.milliseconds[used]
        kinds[filled] = self.kinds[used]
        computed[filled] = self._computed[self._end - len(self) : self._end][used]
        previous = np.concatenate(([-1], self.kinds))[:-1]
        moved[filled] = ((self.kinds == Kind.REFILL) & (previous == Kind.CACHED))[used]
        shape = (count, per)
        arrays = (milliseconds.reshape(shape), kinds.reshape(shape), computed.reshape(shape), moved.reshape(shape))
        return _merge(*arrays, first=first)

    def beside(self, columns: Columns, tokens_per_column: int) -> Floats:
        """(columns,) milliseconds of the tokens with the same numbers; NaN where there are none."""
        count = len(columns.kinds)
        own = self.columns(count, tokens_per_column, (columns.first + count) * tokens_per_column)
        result = np.full(count, np.nan)
        for place, value in zip(range(own.first - columns.first, count), own.milliseconds, strict=False):
            if place >= 0:
                result[place] = value
        return result


def _merge(
    milliseconds: Floats, kinds: Integers, computed: Integers, moved: npt.NDArray[np.bool_], first: int
) -> Columns:
    """Columns of (columns, tokens per column) arrays, in which a missing token has kind -1."""
    count, per = kinds.shape
    rows = np.arange(count)
    newest = per - 1 - np.argmax(kinds[:, ::-1] >= 0, axis=1)
    refilled = kinds == Kind.REFILL
    kind = np.where(refilled.any(axis=1), int(Kind.REFILL), kinds[rows, newest])
    of_kind = kinds == kind[:, None]
    ordered = np.sort(np.where(of_kind, milliseconds, np.inf), axis=1)
    number = of_kind.sum(axis=1)
    place = np.where(kind == Kind.REFILL, number - 1, (number - 1) // 2)
    ran = np.where(refilled, computed, 1).max(axis=1)
    return Columns(ordered[rows, place], kind, ran, np.logical_or.reduce(moved, axis=1), first)
